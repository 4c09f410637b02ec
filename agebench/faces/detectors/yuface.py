"""yuface: libfacedetection, with its weights in the wheel. Its time is quadratic in the picture size."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces.detectors import MIN_SCORE, POLICY, Detector, DetectorChoice

RANK = 20


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it."""
    return importlib.util.find_spec("yuface") is not None


def choose(model: Path | None, home: Path | None) -> DetectorChoice:
    if importlib.util.find_spec("yuface") is None:
        raise Missing(
            "The detector yuface is not installed: it has wheels for CPython 3.11 only.",
            "Use `--detector mtcnn`, or install agebench on Python 3.11.",
        )
    version = importlib.metadata.version("yuface")
    return DetectorChoice("yuface", f"yuface-{version}-p{POLICY}", version)


def load(choice: DetectorChoice) -> Detector:
    from yuface.yuface import detect

    def yuface(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = detect(np.ascontiguousarray(rgb[:, :, ::-1]))  # BGR; int16 rows: score %, x, y, w, h, landmarks
        found = found[found[:, 0] > 100 * MIN_SCORE]
        return np.concatenate([found[:, 1:5], found[:, :1] / 100.0, found[:, 5:15]], axis=1).astype(np.float32)

    return yuface
