"""What a worker process does with a batch of files: one read and one decode each, shared by all observers."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from agebench.manifest.observations import PART_SCHEMA
from agebench.observe import measures
from agebench.observe.detectors import LONG_SIDE, Detector, DetectorChoice, detect_faces, load_detector
from agebench.pictures import Locator, Picture, decode, read_bytes

# (part, path, bytes, mtime, fault known from the file system)
File = tuple[str, str, int | None, int | None, str | None]

DECODE_SIDE = 2 * LONG_SIDE  # pixels that the observers need on the long side; larger JPEGs are decoded reduced


class Observers:
    """What a worker sets up once: where files are, and the detector."""

    def __init__(self, folders: dict[str, Path], choice: DetectorChoice | None) -> None:
        self.locator = Locator(folders)
        self.choice = choice
        self.detector: Detector | None = load_detector(choice) if choice else None

    def look(self, file: File) -> dict[str, Any]:
        """One row of `PART_SCHEMA`."""
        part, path, size, mtime, fault = file
        row: dict[str, Any] = {"part": part, "path": path, "bytes": size, "mtime": mtime, "error": fault}
        if fault:
            return row
        place, fault = self.locator.find(part, path)
        if place is None:
            return row | {"error": fault}
        data, fault = read_bytes(place)
        row["sha256"] = hashlib.sha256(data).hexdigest() if not fault else None
        picture, fault = (None, fault) if fault else decode(data, at_least=DECODE_SIDE, sha256=row["sha256"])
        if picture is None:
            return row | {"error": fault}
        row["image_version"] = measures.VERSION
        row["image"] = {
            "format": picture.format, "width": picture.width, "height": picture.height, "channels": picture.channels,
            **measures.measure(picture.rgb),
        }  # fmt: skip
        if self.detector is not None and self.choice is not None:
            row["detector"], row["detector_version"] = self.choice.name, self.choice.version
            try:
                row["faces"] = self._faces(self.detector, picture)
            except Exception as error:  # noqa: BLE001 - detectors raise types of their own; it is the record's fault
                row["detector_error"] = f"{type(error).__name__}: {str(error).strip()}"[:200]
        return row

    def _faces(self, detector: Detector, picture: Picture) -> list[dict[str, Any]]:
        faces = []
        for found in detect_faces(detector, picture.rgb):
            x, y, w, h = (float(v) for v in found[:4])
            sharpness = measures.face_sharpness(picture.rgb, x, y, w, h)
            x, y, w, h, *landmarks = (float(v) / picture.scale for v in (*found[:4], *found[5:15]))
            faces.append(
                {
                    "x": x,
                    "y": y,
                    "w": w,
                    "h": h,
                    "score": float(found[4]),
                    "sharpness": sharpness,
                    "landmarks": landmarks,
                }
            )
        return faces


_observers: Observers | None = None


def set_up(folders: dict[str, Path], choice: DetectorChoice | None) -> None:
    """Runs once in every worker process."""
    global _observers
    _observers = Observers(folders, choice)


def look_at_batch(files: Sequence[File]) -> pa.Table:
    """Rows of `PART_SCHEMA` for a batch of files."""
    if _observers is None:
        raise RuntimeError("set_up has not run in this process")
    return pa.Table.from_pylist([_observers.look(file) for file in files], schema=PART_SCHEMA)


def seconds_per_picture(files: Sequence[File]) -> float:
    """How long a look takes in a worker, after a first one that warms up."""
    if _observers is None:
        raise RuntimeError("set_up has not run in this process")
    _observers.look(files[0])
    began = time.monotonic()
    for file in files:
        _observers.look(file)
    return (time.monotonic() - began) / len(files)
