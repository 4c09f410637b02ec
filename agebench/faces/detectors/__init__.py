"""Face detectors behind one small protocol: boxes, scores and five landmarks, in pixels of the given picture.

A detector is a module here, or an entry point of the group `agebench.detectors`, with `choose(model, home)`, which
returns a `DetectorChoice` or raises Missing, and `load(choice)`, which returns a `Detector`. If it has `RANK` and
`available(home)`, `auto` considers it, lowest rank first.

Each detector has weaknesses (measured; see `detect_faces`): detectors of the SCRFD family miss faces that fill their
picture, the running time of yuface is quadratic in the picture size, and all of them fail on some unusual shapes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agebench import registry
from agebench.errors import UsageError

TAKES_MODEL = "insightface"  # the detector that `--detector-model` is for
MIN_SCORE = 0.5
SURE_SCORE = 0.7  # faces below this score are doubtful, and a second detector looks again
LONG_SIDE = 640  # pixels; larger pictures are reduced to this size before detection
POLICY = 1  # raise it when detect_faces changes its results: observations of other policies are not reused
SMALL_FACE = 0.2  # of the picture's short side: a single smaller face may be a detail of a larger face that was missed


@dataclass(frozen=True)
class DetectorChoice:
    """A chosen detector, as plain data that is sent to worker processes and stored in the manifest."""

    kind: str  # its name in the registry
    name: str  # as stored with every face, and safe as a folder name
    version: str
    weights: str = ""  # the ONNX file, for insightface
    weights_sha256: str = ""
    second: DetectorChoice | None = None  # looks again if this one found no face or only a doubtful one

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> DetectorChoice:
        """The inverse of `dataclasses.asdict`. Raises TypeError for facts from another version."""
        second = facts.get("second")
        return cls(**(facts | {"second": cls.from_facts(second) if second else None}))

    def backed_by(self, second: DetectorChoice) -> DetectorChoice:
        """This detector with a second one after it (triage)."""
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

    kind: `auto` or a name in the registry. model: an ONNX file, a pack's folder, or a pack's name, for a detector that
    needs one. home: the folder that holds `.insightface`. Raises Missing (exit 3) if it is not installed or has no
    weights, UsageError (exit 2) if the two contradict each other or the name is unknown.
    """
    if kind == "auto":
        kind = TAKES_MODEL if model is not None else registry.first_available("detectors", home) or "mtcnn"
    if model is not None and kind != TAKES_MODEL:
        raise UsageError(f"`--detector {kind}` and `--detector-model` contradict each other.", "Give one of them.")
    return cast(DetectorChoice, registry.find("detectors", kind).choose(model, home))


def load_detector(choice: DetectorChoice) -> Detector:
    """Set up a chosen detector in this process. Raises Missing if its weights are gone or are not a detector."""
    if choice.second is not None:
        return Triage(load_detector(replace(choice, second=None)), load_detector(choice.second))
    return cast(Detector, registry.find("detectors", choice.kind).load(choice))


@dataclass(frozen=True)
class Triage:
    """Two detectors: the second, slower one looks only if the first is in doubt."""

    first: Detector
    second: Detector

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise TypeError("a triage is run by detect_faces")


def detect_faces(detector: Detector, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Faces in one picture, the largest first: (F, 15) as `Detector`, in pixels of `rgb`.

    Pictures are reduced to 640 pixels on the long side. If no face or only a small face is found, detection runs again
    with a margin of half the picture's size on every side, and the results are merged: faces that fill their picture
    are missed without a margin, small faces with one. In a `Triage`, the second detector does the same if the first
    found no face that it is sure of, and both results are merged.
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
    """Faces with a positive area and finite numbers, because evidence must hold no NaN."""
    return faces[np.isfinite(faces).all(axis=1) & (faces[:, 2] > 0) & (faces[:, 3] > 0)]


def _merge(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Non-maximum suppression over both passes (intersection over union above 0.4)."""
    import cv2

    faces = np.concatenate([first, second])
    if len(faces) < 2:
        return faces
    keep = cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 4].tolist(), MIN_SCORE, 0.4)
    return faces[np.sort(np.asarray(keep, dtype=int).ravel())]
