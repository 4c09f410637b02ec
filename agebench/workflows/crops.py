"""The crops that a model needs of some records: what is missing is made, what cannot be made is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from agebench.crops import WHOLE_PICTURE, CropPictures, CropStore, crops_folder, make_crops
from agebench.crops.make import wishes
from agebench.recipes import Crop
from agebench.remote import Folder

CROPS = Path("crops")
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class CroppedRecords:
    """Records with a crop each: `pictures[i]` is the face of row i of `records`. `faults`: what has none, and why."""

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
    """Crops of `records` (part, path, sha256, face_no, landmarks, …); a record without a face is cropped whole."""
    store = CropStore(crops_folder(CROPS, dataset, crop.size, detector or "none"), crop.size, crop.encoding)
    failed = make_crops(
        wishes(records),
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
