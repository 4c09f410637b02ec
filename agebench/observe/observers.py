"""Which observers look at a picture, and the one look that all of them share: one read, one decode."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agebench.observe import measures
from agebench.observe.detectors import LONG_SIDE, Detector, DetectorChoice, detect_faces, load_detector
from agebench.observe.embedders import Embedder, EmbedderChoice, load_embedder
from agebench.observe.estimators import Estimator, EstimatorChoice, load_estimator
from agebench.pictures import Locator, Picture, decode, read_bytes
from agebench.remote import Folder

DECODE_SIDE = 2 * LONG_SIDE  # pixels that the observers need on the long side; larger JPEGs are decoded reduced
USEFUL_FACE = 20  # pixels: smaller faces get no age and no embedding
MOST_FACES = 12  # of one picture, the largest first, that get an age and an embedding


@dataclass(frozen=True)
class Observers:
    """Everything that looks at a picture, in plain data that travels to worker processes."""

    detector: DetectorChoice | None = None
    estimators: tuple[EstimatorChoice, ...] = ()
    embedder: EmbedderChoice | None = None

    @property
    def versions(self) -> dict[str, str]:
        """Observer → version. What looks at faces depends on the detector, whose numbers they go by."""
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
    """One file to look at. fault: known from the file system. sha256, faces: of the content that was there last time
    (faces: face_no, x, y, w, h, landmarks); todo: the observers that have not seen it. alone: its subject has too few
    pictures to be recognised, so that no embedding is needed."""

    part: str
    path: str
    bytes: int | None = None
    mtime: int | None = None
    fault: str | None = None
    sha256: str | None = None
    todo: list[str] | None = None
    faces: list[dict[str, Any]] | None = None
    alone: bool = False


class Watch:
    """What a worker sets up once: where files are, and its observers with their weights."""

    def __init__(self, folders: dict[str, Folder], observers: Observers) -> None:
        self.locator = Locator(folders)
        self.observers = observers
        self.detector: Detector | None = load_detector(observers.detector) if observers.detector else None
        self.estimators: list[tuple[EstimatorChoice, Estimator]] = [
            (e, load_estimator(e)) for e in observers.estimators
        ]
        self.embedder: Embedder | None = load_embedder(observers.embedder) if observers.embedder else None

    def look(self, file: File) -> dict[str, Any]:
        """One row of `PART_SCHEMA`."""
        row: dict[str, Any] = {
            "part": file.part, "path": file.path, "bytes": file.bytes, "mtime": file.mtime, "error": file.fault,
        }  # fmt: skip
        if file.fault:
            return row
        place, fault = self.locator.find(file.part, file.path)
        if place is None:
            return row | {"error": fault}
        data, fault = read_bytes(place)
        if fault:
            return row | {"error": fault}
        row["sha256"] = hashlib.sha256(data).hexdigest()
        versions = self.observers.versions
        known = row["sha256"] == file.sha256
        todo = set(file.todo or ()) & versions.keys() if known else set(versions)
        if file.alone:
            todo = {observer for observer in todo if not observer.startswith("embedding:")}
        if not todo:
            return row
        picture, fault = decode(data, at_least=DECODE_SIDE, sha256=row["sha256"])
        if picture is None:
            return row | {"error": fault}
        observed: list[dict[str, str | None]] = []
        row["observed"] = observed
        if "image" in todo:
            row["image"] = {
                "format": picture.format, "width": picture.width, "height": picture.height,
                "channels": picture.channels, **measures.measure(picture.rgb),
            }  # fmt: skip
            observed.append({"observer": "image", "version": measures.VERSION})
        if self.detector is None or self.observers.detector is None:
            return row
        name, error = f"faces:{self.observers.detector.name}", None
        faces = file.faces or []
        if name in todo:
            try:
                faces = self._detect(self.detector, picture)
            except Exception as raised:  # noqa: BLE001 - detectors raise types of their own; it is the record's fault
                faces, error = [], _told(raised)
            row |= {"detector": self.observers.detector.name, "faces": faces}
            observed.append({"observer": name, "version": versions[name], "error": error})
        if any(observer.startswith(("age:", "embedding:")) for observer in todo):
            self._look_at_faces(row, picture, faces, todo)
        return row

    def _detect(self, detector: Detector, picture: Picture) -> list[dict[str, Any]]:
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

    def _look_at_faces(
        self, row: dict[str, Any], picture: Picture, faces: list[dict[str, Any]], todo: set[str]
    ) -> None:
        useful = [face for face in faces if face["w"] * face["h"] >= USEFUL_FACE**2][:MOST_FACES]
        numbers = [face["face_no"] for face in useful]
        boxes = np.array([[face[side] for side in "xywh"] for face in useful]).reshape(-1, 4) * picture.scale
        points = np.array([face["landmarks"] for face in useful]).reshape(-1, 5, 2) * picture.scale
        versions, observed = self.observers.versions, row["observed"]
        row["ages"], row["embeddings"] = [], []
        for choice, estimate in self.estimators:
            name = f"age:{choice.name}"
            if name not in todo:
                continue
            error = None
            try:
                ages, spreads, shares = estimate(picture.rgb, boxes, points)
                row["ages"] += [
                    {
                        "face_no": number, "estimator": choice.name, "age": _number(ages[i]),
                        "spread": _number(spreads[i]), "probabilities": None if shares is None else shares[i].tolist(),
                    }
                    for i, number in enumerate(numbers)
                ]  # fmt: skip
            except Exception as raised:  # noqa: BLE001 - as above
                error = _told(raised)
            observed.append({"observer": name, "version": versions[name], "error": error})
        if self.embedder is not None and self.observers.embedder is not None:
            name, error = f"embedding:{self.observers.embedder.name}", None
            if name not in todo:
                return
            try:
                vectors = self.embedder(picture.rgb, points)
                row["embeddings"] = [
                    {"face_no": n, "model": self.observers.embedder.name, "vector": vector.tolist()}
                    for n, vector in zip(numbers, vectors, strict=True)
                ]
            except Exception as raised:  # noqa: BLE001 - as above
                error = _told(raised)
            observed.append({"observer": name, "version": versions[name], "error": error})


def _number(value: NDArray[np.floating] | float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"[:200]
