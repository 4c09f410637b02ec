"""Crop shards: Arrow IPC files keyed by (sha256, face_no), listed with their hashes in `index.json`.

A folder holds one size, zoom, border and detector; each shard states the alignment version and encoding of its crops.
A shard is named by its hash, written under a temporary name, renamed, then listed under a lock, so that several
processes may add to one folder; a shard that is not listed does not exist. Readers map shards into memory, and other
processes open them by path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from filelock import FileLock
from numpy.typing import NDArray

from agebench.errors import StorageError
from agebench.faces.alignment import ALIGNMENT_VERSION
from agebench.files import file_hash, read_file, write_whole
from agebench.recipes import Crop

SCHEMA = pa.schema([("sha256", pa.string()), ("face_no", pa.int16()), ("image", pa.large_binary())])
Key = tuple[str, int]
Encoding = Literal["raw", "jpeg"]


def crops_folder(base: Path, dataset: str, crop: Crop, detector: str) -> Path:
    """`crops/<dataset>/<size>-<detector>`; zoom and border are named where they are not the default:
    `<size>x<zoom>-<border>-<detector>`."""
    zoom = f"x{crop.zoom:g}" if crop.zoom != 1 else ""
    border = f"-{crop.border}" if crop.border != "black" else ""
    return base / dataset / f"{crop.size}{zoom}{border}-{detector}"


def encode(crop: NDArray[np.uint8], encoding: Encoding) -> bytes:
    """A crop (S, S, 3) RGB as raw bytes or as JPEG of quality 95."""
    import cv2  # importing it takes 0.1 s, which a curation with nothing new to observe need not spend

    if encoding == "raw":
        return crop.tobytes()
    done, data = cv2.imencode(".jpg", crop[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise ValueError("OpenCV could not encode a crop")
    return bytes(data.tobytes())


def decode_crop(data: Any, encoding: Encoding, size: int) -> NDArray[np.uint8]:
    """The inverse of `encode`: (size, size, 3) RGB."""
    import cv2

    flat = np.frombuffer(data, dtype=np.uint8)
    if encoding == "raw":
        return flat.reshape(size, size, 3)
    return np.asarray(cv2.imdecode(flat, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


class CropStore:
    """One folder of shards: its crops of this alignment version and encoding, and adding more.

    crop: how all of them are cut and stored; the folder is that of its size, zoom and border.
    """

    def __init__(self, folder: Path, crop: Crop) -> None:
        self.folder = folder
        self.crop = crop
        self.index: dict[str, dict[str, Any]] = {}
        self.damaged: list[str] = []  # shards whose bytes have changed since they were written; to be made again
        self._places: dict[Key, tuple[int, int]] | None = None
        listing = folder / "index.json"
        if listing.is_file():
            listed = _listed(listing)
            if listed is None:  # cut off, for example by a power failure: all crops are made again
                self.damaged.append(listing.name)
            for name, facts in (listed or {}).items():
                if not self._is_ours(facts):
                    continue
                if _intact(folder / name, facts["sha256"]):
                    self.index[name] = facts
                else:
                    self.damaged.append(name)

    def _is_ours(self, facts: dict[str, Any]) -> bool:
        return facts.get("encoding") == self.crop.encoding and facts.get("alignment") == ALIGNMENT_VERSION

    @property
    def places(self) -> dict[Key, tuple[int, int]]:
        """Key → (shard number, row)."""
        if self._places is None:
            self._places = {}
            for number, name in enumerate(self.index):
                table = _open(self.folder / name)
                keys = zip(table["sha256"].to_pylist(), table["face_no"].to_pylist(), strict=True)
                self._places.update((key, (number, row)) for row, key in enumerate(keys))
        return self._places

    def add(self, keys: Sequence[Key], images: Sequence[bytes]) -> None:
        """Write one shard. Raises StorageError on a full disk, with the earlier shards unharmed."""
        table = pa.table(
            {"sha256": [k[0] for k in keys], "face_no": [k[1] for k in keys], "image": list(images)}, schema=SCHEMA
        )
        with pa.ipc.new_file(sink := pa.BufferOutputStream(), SCHEMA) as writer:
            writer.write_table(table)
        data = memoryview(sink.getvalue())
        digest = hashlib.sha256(data).hexdigest()
        name = f"shard-{digest[:20]}.arrow"
        write_whole(self.folder / name, data)
        facts = {"sha256": digest, "rows": len(table), "encoding": self.crop.encoding, "alignment": ALIGNMENT_VERSION}
        try:
            with FileLock(self.folder / "index.lock"):
                listed = _listed(self.folder / "index.json") or {}
                listed = {n: f for n, f in listed.items() if n not in self.damaged} | {name: facts}
                index = json.dumps({"size": self.crop.size, "shards": listed}, indent=1)
                write_whole(self.folder / "index.json", index.encode())
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(
                f"Cannot write crops to {self.folder}: {error}.", "Correct this and run the command again."
            ) from error
        self.index |= {n: f for n, f in listed.items() if self._is_ours(f)}
        self._places = None

    def pictures(self, keys: Sequence[Key]) -> CropPictures:
        """The crops of `keys`, in order. Raises KeyError if one is missing."""
        places = np.array([self.places[key] for key in keys], dtype=np.int64).reshape(-1, 2)
        return CropPictures([self.folder / name for name in self.index], places, self.crop.size, self.crop.encoding)


class CropPictures:
    """A sequence of crops, each (size, size, 3) uint8 RGB, read from memory-mapped shards; pickles by path."""

    def __init__(self, shards: list[Path], places: NDArray[np.int64], size: int, encoding: Encoding) -> None:
        self.shards = shards
        self.places = places
        self.size = size
        self.encoding: Encoding = encoding
        self._images: dict[int, list[pa.LargeBinaryArray]] = {}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, item: int) -> NDArray[np.uint8]:
        shard, row = (int(v) for v in self.places[item])
        if shard not in self._images:
            self._images[shard] = _open(self.shards[shard])["image"]
        return decode_crop(self._images[shard][row].as_buffer(), self.encoding, self.size)

    def read_many(self, items: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """(N, size, size, 3)."""
        out = np.empty((len(items), self.size, self.size, 3), np.uint8)
        for i, item in enumerate(items):
            out[i] = self[int(item)]
        return out

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "places": self.places, "size": self.size, "encoding": self.encoding}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def _listed(listing: Path) -> dict[str, dict[str, Any]] | None:
    """The shards of an `index.json`; None if it is missing or broken."""
    try:
        shards = json.loads(read_file(listing))["shards"]
        return {Path(name).name: {**facts, "sha256": str(facts["sha256"])} for name, facts in shards.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _open(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(os.fspath(path))).read_all()


def _intact(path: Path, digest: str) -> bool:
    return path.is_file() and file_hash(path) == digest
