"""Which observers look at a picture; they all share one read and one decode."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agebench.curation.observing import measures
from agebench.faces.detectors import LONG_SIDE, Detector, DetectorChoice, detect_faces, load_detector
from agebench.faces.embedders import Embedder, EmbedderChoice, load_embedder
from agebench.faces.estimators import Estimator, EstimatorChoice, load_estimator
from agebench.pictures import Locator, Picture, decode, read_bytes
from agebench.remote import Folder

DECODE_SIDE = 2 * LONG_SIDE  # pixels that the observers need on the long side; larger JPEGs are decoded at reduced size
HELD_BYTES = 32 * 2**20  # of decoded pictures that a worker processes together
USEFUL_FACE = 20  # pixels: smaller faces get no age and no embedding
MOST_FACES = 12  # faces per picture, largest first, that get an age and an embedding


@dataclass(frozen=True)
class Observers:
    """All observers of a picture, as plain data that can be sent to worker processes."""

    detector: DetectorChoice | None = None
    estimators: tuple[EstimatorChoice, ...] = ()
    embedder: EmbedderChoice | None = None

    @property
    def versions(self) -> dict[str, str]:
        """Observer → version. Observers of faces depend on the detector, whose face numbers they use."""
        found = {"image": measures.VERSION}
        if self.detector is None:
            return found
        found[f"faces:{self.detector.name}"] = self.detector.version
        for estimator in self.estimators:
            found[f"age:{estimator.name}"] = f"{estimator.version} on {self.detector.name}"
        if self.embedder is not None:
            found[f"embedding:{self.embedder.name}"] = f"{self.embedder.version} on {self.detector.name}"
        return found


class File(NamedTuple):
    """One file to look at. fault: known from the file system. sha256, faces: of the content seen last time (faces:
    face_no, x, y, w, h, landmarks); todo: the observers that have not seen it. alone: its subject has too few pictures
    to be recognised, so no embedding is needed."""

    part: str
    path: str
    bytes: int | None = None
    mtime: int | None = None
    fault: str | None = None
    sha256: str | None = None
    todo: list[str] | None = None
    faces: list[dict[str, Any]] | None = None
    alone: bool = False


@dataclass
class _Observation:
    """A file being processed: what is to be observed, and the picture if needed. faces: known or found."""

    row: dict[str, Any]
    faces: list[dict[str, Any]] = field(default_factory=list)
    todo: set[str] = field(default_factory=set)
    picture: Picture | None = None


class PictureObserver:
    """A worker's setup: where files are, and its observers with their weights."""

    def __init__(self, folders: dict[str, Folder], observers: Observers) -> None:
        self.locator = Locator(folders)
        self.versions = observers.versions
        detector, embedder = observers.detector, observers.embedder
        self.detector: tuple[DetectorChoice, Detector] | None = (
            (detector, load_detector(detector)) if detector else None
        )
        self.estimators: list[tuple[EstimatorChoice, Estimator]] = [
            (e, load_estimator(e)) for e in observers.estimators
        ]
        self.embedder: tuple[EmbedderChoice, Embedder] | None = (
            (embedder, load_embedder(embedder)) if embedder else None
        )

    def observe(self, files: Iterable[File]) -> Iterator[dict[str, Any]]:
        """A row of `PART_SCHEMA` for each file, in order.

        Each step is done for several pictures before the next step, so that its code and tables stay in the processor's
        caches, which a detector would otherwise evict after every picture.
        """
        observations: list[_Observation] = []
        held = 0
        for file in files:
            observations.append(look := self._open(file))
            held += look.picture.rgb.nbytes if look.picture else 0
            if held > HELD_BYTES:
                yield from self._rows(observations)
                observations, held = [], 0
        yield from self._rows(observations)

    def _open(self, file: File) -> _Observation:
        """Read and decode once, for all observers."""
        row: dict[str, Any] = {
            "part": file.part, "path": file.path, "bytes": file.bytes, "mtime": file.mtime, "error": file.fault,
        }  # fmt: skip
        if file.fault:
            return _Observation(row)
        place, row["error"] = self.locator.find(file.part, file.path)
        if place is None:
            return _Observation(row)
        data, row["error"] = read_bytes(place)
        if row["error"]:
            return _Observation(row)
        row["sha256"] = hashlib.sha256(data).hexdigest()
        known = row["sha256"] == file.sha256
        todo = set(file.todo or ()) & self.versions.keys() if known else set(self.versions)
        if file.alone:
            todo = {observer for observer in todo if not observer.startswith("embedding:")}
        if not todo:
            return _Observation(row)
        picture, row["error"] = decode(data, at_least=DECODE_SIDE, sha256=row["sha256"])
        if picture is not None:
            row["observed"] = []
        return _Observation(row, file.faces or [], todo, picture)

    def _rows(self, observations: list[_Observation]) -> list[dict[str, Any]]:
        """Run every observer, one after the other."""
        seen = [(look, look.picture) for look in observations if look.picture is not None]
        for look, picture in seen:
            if "image" in look.todo:
                look.row["image"] = {
                    "format": picture.format, "width": picture.width, "height": picture.height,
                    "channels": picture.channels, **measures.measure(picture.rgb),
                }  # fmt: skip
                self._note(look, "image")
        if self.detector is not None:
            choice, detector = self.detector
            for look, picture in seen:
                if f"faces:{choice.name}" in look.todo:
                    self._find_faces(look, picture, choice, detector)
            for look, picture in seen:
                if any(observer.startswith(("age:", "embedding:")) for observer in look.todo):
                    self._look_at_faces(look, picture)
        return [look.row for look in observations]

    def _note(self, look: _Observation, observer: str, error: str | None = None) -> None:
        look.row["observed"].append({"observer": observer, "version": self.versions[observer], "error": error})

    def _find_faces(self, look: _Observation, picture: Picture, choice: DetectorChoice, detector: Detector) -> None:
        error = None
        try:
            look.faces = _faces(detector, picture)
        except Exception as raised:  # noqa: BLE001 - detectors raise types of their own; it is the record's fault
            look.faces, error = [], _describe(raised)
        look.row |= {"detector": choice.name, "faces": look.faces}
        self._note(look, f"faces:{choice.name}", error)

    def _look_at_faces(self, look: _Observation, picture: Picture) -> None:
        useful = [face for face in look.faces if face["w"] * face["h"] >= USEFUL_FACE**2][:MOST_FACES]
        numbers = [face["face_no"] for face in useful]
        boxes = np.array([[face[side] for side in "xywh"] for face in useful]).reshape(-1, 4) * picture.scale
        points = np.array([face["landmarks"] for face in useful]).reshape(-1, 5, 2) * picture.scale
        look.row["ages"], look.row["embeddings"] = [], []
        for choice, estimate in self.estimators:
            name, error = f"age:{choice.name}", None
            if name not in look.todo:
                continue
            try:
                ages, spreads, shares = estimate(picture.rgb, boxes, points)
                look.row["ages"] += [
                    {
                        "face_no": number, "estimator": choice.name, "age": _number(ages[i]),
                        "spread": _number(spreads[i]), "probabilities": None if shares is None else shares[i].tolist(),
                    }
                    for i, number in enumerate(numbers)
                ]  # fmt: skip
            except Exception as raised:  # noqa: BLE001 - as above
                error = _describe(raised)
            self._note(look, name, error)
        if self.embedder is None:
            return
        model, embed = self.embedder
        name, error = f"embedding:{model.name}", None
        if name not in look.todo:
            return
        try:
            vectors = embed(picture.rgb, points)
            look.row["embeddings"] = [
                {"face_no": n, "model": model.name, "vector": vector.tolist()}
                for n, vector in zip(numbers, vectors, strict=True)
            ]
        except Exception as raised:  # noqa: BLE001 - as above
            error = _describe(raised)
        self._note(look, name, error)


def _faces(detector: Detector, picture: Picture) -> list[dict[str, Any]]:
    faces = []
    for number, found in enumerate(detect_faces(detector, picture.rgb)):
        box = [float(v) for v in found[:4]]
        x, y, w, h, *landmarks = (float(v) / picture.scale for v in (*box, *found[5:15]))
        faces.append(
            {
                "face_no": number, "x": x, "y": y, "w": w, "h": h, "score": float(found[4]),
                "sharpness": measures.face_sharpness(picture.rgb, *box), "landmarks": landmarks,
            }
        )  # fmt: skip
    return faces


def _number(value: NDArray[np.floating] | float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"[:200]
