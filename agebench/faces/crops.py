"""Making missing crops in worker processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from agebench.errors import Interrupted
from agebench.faces.alignment import WHOLE_PICTURE, face_crop, template
from agebench.faces.crop_store import CropPictures, CropStore, Key, crops_folder, encode
from agebench.pictures import Locator, decode, read_bytes
from agebench.pool import Crashed, run_batches
from agebench.recipes import Crop
from agebench.remote import Folder

BATCH = 64
SHARD_BYTES = 64 * 2**20


class CropRequest(NamedTuple):
    """One crop to make. `landmarks`: ten numbers, or None for the whole picture."""

    part: str
    path: str
    sha256: str
    face_no: int
    landmarks: tuple[float, ...] | None


def crop_requests(rows: pl.DataFrame) -> list[CropRequest]:
    """One request per different crop. rows: part, path, sha256, face_no, landmarks; a NULL face_no is the whole
    picture."""
    frame = (
        rows.select("part", "path", "sha256", pl.col("face_no").fill_null(WHOLE_PICTURE), "landmarks")
        .filter(pl.col("sha256").is_not_null())
        .unique(["sha256", "face_no"], keep="first", maintain_order=True)
    )
    return [
        CropRequest(part, path, sha256, face_no, tuple(landmarks) if landmarks is not None else None)
        for part, path, sha256, face_no, landmarks in frame.iter_rows()
    ]


def make_crops(
    wanted: Sequence[CropRequest],
    folders: Mapping[str, Folder],
    store: CropStore,
    *,
    workers: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[tuple[CropRequest, str]]:
    """Make the wanted crops that the store lacks; returns those that cannot be made, with the fault.

    Raises Interrupted on Ctrl-C, after writing what was made, and StorageError.
    """
    missing = [request for request in wanted if (request.sha256, request.face_no) not in store.places]
    failed: list[tuple[CropRequest, str]] = []
    keys: list[Key] = []
    images: list[bytes] = []
    done = held = 0

    def flush() -> None:
        nonlocal held
        if keys:
            store.add(keys, images)
            keys.clear()
            images.clear()
            held = 0

    if not missing:
        return failed
    batches = (missing[i : i + BATCH] for i in range(0, len(missing), BATCH))
    enough = max(1, min(workers, -(-len(missing) // BATCH)))
    results = run_batches(crop_batch, batches, workers=enough, setup=set_up, setup_args=(dict(folders), store.crop))
    try:
        for result in results:
            outcomes = [(result.item, None, "crashed")] if isinstance(result, Crashed) else result
            for request, image, fault in outcomes:
                done += 1
                if image is None:
                    failed.append((request, fault or "unknown"))
                    continue
                keys.append((request.sha256, request.face_no))
                images.append(image)
                held += len(image)
            if held > SHARD_BYTES:
                flush()
            if on_progress:
                on_progress(done, len(missing))
        flush()
    except KeyboardInterrupt as error:
        flush()
        raise Interrupted(
            f"Stopped after {done:,} of {len(missing):,} crops; they are kept.", "The same command continues from here."
        ) from error
    finally:
        results.close()
    return failed


_setting: tuple[Locator, Crop] | None = None


def set_up(folders: dict[str, Folder], crop: Crop) -> None:
    """Runs once in every worker process."""
    global _setting
    _setting = (Locator(folders), crop)


def crop_batch(batch: Sequence[CropRequest]) -> list[tuple[CropRequest, bytes | None, str | None]]:
    """(request, encoded crop, fault) for every request."""
    if _setting is None:
        raise RuntimeError("set_up has not run in this process")
    return [(request, *_crop(request, *_setting)) for request in batch]


def _crop(request: CropRequest, locator: Locator, crop: Crop) -> tuple[bytes | None, str | None]:
    fault = locator.stat(request.part, request.path)[2]  # it may have been replaced by a link since it was observed
    place, _ = locator.find(request.part, request.path)
    if place is None or fault:
        return None, fault
    data, fault = read_bytes(place)
    if fault:
        return None, fault
    if hashlib.sha256(data).hexdigest() != request.sha256:
        return None, "changed since it was observed"
    points = None if request.landmarks is None else np.asarray(request.landmarks, dtype=np.float64).reshape(5, 2)
    picture, fault = decode(data, sha256=request.sha256)
    if picture is None:
        return None, fault
    target = template(crop.size, crop.zoom)
    face = face_crop(picture.rgb, None if points is None else points * picture.scale, crop.size, target, crop.border)
    return encode(face, crop.encoding), None


CROPS = Path("crops")
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class CroppedRecords:
    """Records and their crops: `pictures[i]` is the face of row i of `records`. `faults`: records without one, and
    why."""

    records: pl.DataFrame
    pictures: CropPictures
    faults: dict[str, int]
    damaged_shards: int


def crop_records(
    records: pl.DataFrame,
    folders: Mapping[str, Folder],
    *,
    dataset: str,
    detector: str | None,
    crop: Crop,
    workers: int | None = None,
    on_progress: Advance | None = None,
) -> CroppedRecords:
    """Crops of `records` (part, path, sha256, face_no, landmarks, …); for a record without a face, the whole
    picture."""
    store = CropStore(crops_folder(CROPS, dataset, crop, detector or "none"), crop)
    failed = make_crops(
        crop_requests(records),
        folders,
        store,
        workers=workers or os.cpu_count() or 1,
        on_progress=on_progress,
    )
    faults: dict[str, int] = {}
    for _, fault in failed:
        faults[fault] = faults.get(fault, 0) + 1
    keyed = records.with_columns(pl.col("face_no").fill_null(WHOLE_PICTURE))
    keys = list(zip(keyed["sha256"].to_list(), keyed["face_no"].to_list(), strict=True))
    have = [key in store.places for key in keys]
    pictures = store.pictures([key for key, there in zip(keys, have, strict=True) if there])
    return CroppedRecords(records.filter(pl.Series(have, dtype=pl.Boolean)), pictures, faults, len(store.damaged))
