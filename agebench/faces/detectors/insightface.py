"""insightface: the detector of a pack, or one ONNX file of the SCRFD or RetinaFace family.

Such detectors miss faces that fill their picture; see `detect_faces`.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces import weights
from agebench.faces.detectors import LONG_SIDE, MIN_SCORE, POLICY, Detector, DetectorChoice
from agebench.files import file_hash

RANK = 10


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it: there is a pack with a detector on this machine."""
    return importlib.util.find_spec("insightface") is not None and _any_pack(home) is not None


def _any_pack(home: Path | None) -> Path | None:
    """The first pack in ~/.insightface/models with a detector (larger packs first, by name)."""
    return next((p for p in weights.packs(home) if _detector_file(p)), None)


def _detector_file(pack: Path) -> Path | None:
    """The ONNX file of a pack that detects faces: named `det_*` or `scrfd_*` in the published packs."""
    return next((p for p in sorted(pack.glob("*.onnx")) if p.name.startswith(("det_", "scrfd"))), None)


def choose(model: Path | None, home: Path | None) -> DetectorChoice:
    if importlib.util.find_spec("insightface") is None:
        raise Missing("insightface is not installed.", "`pip install 'agebench[insightface]'` brings it.")
    model = model or _any_pack(home)
    if model is None:
        raise Missing(
            "There is no insightface pack in ~/.insightface/models.",
            "Put one there (its licence is for non-commercial research), or give `--detector-model FILE.onnx`, "
            "or use `--detector yuface` or `--detector mtcnn`.",
        )
    path = model
    if not path.exists():
        path = (home or Path.home()) / ".insightface" / "models" / str(model)
    if path.is_dir():
        file = _detector_file(path)
        if file is None:
            raise Missing(f"The folder {path} has no face detector (det_*.onnx or scrfd*.onnx).")
        path = file
    if not path.is_file():
        raise Missing(
            f"There are no detector weights at {model}.",
            "`--detector-model` takes an ONNX file, a pack's folder or name.",
        )
    _detector(path)  # a file that is not a detector is reported now, not by every worker
    digest = file_hash(path)
    version = importlib.metadata.version("insightface")
    name = f"{path.stem}-{digest[:8]}-{version}-p{POLICY}"
    return DetectorChoice("insightface", name, version, str(path.resolve()), digest)


def load(choice: DetectorChoice) -> Detector:
    return _detector(weights.verified(choice.weights, choice.weights_sha256, "detector"))


def _detector(path: Path) -> Detector:
    model = weights.load_model(path, "detection")
    model.prepare(ctx_id=0 if "CUDAExecutionProvider" in model.session.get_providers() else -1, det_thresh=MIN_SCORE)
    size = model.input_size or (LONG_SIDE, LONG_SIDE)
    if not getattr(model, "use_kps", True):
        raise Missing(f"{path} gives no landmarks, which alignment needs.", "Use a file with five key points (`…kps`).")

    def insightface(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        boxes, points = model.detect(np.ascontiguousarray(rgb[:, :, ::-1]), input_size=tuple(size))
        rows = np.zeros((len(boxes), 15), dtype=np.float32)
        rows[:, :2] = boxes[:, :2]
        rows[:, 2:4] = boxes[:, 2:4] - boxes[:, :2]
        rows[:, 4] = boxes[:, 4]
        rows[:, 5:] = np.asarray(points, dtype=np.float32).reshape(len(boxes), 10)
        return rows

    return insightface
