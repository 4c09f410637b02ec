"""Aligned faces with their ages, for your own training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from agebench.errors import NothingCurated
from agebench.faces.crops import Advance, crop_records
from agebench.manifest.places import choose_plan, find_manifest, must_be_judged
from agebench.manifest.plans import PlanFacts
from agebench.manifest.records import folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import Border, Crop
from agebench.training.data import Ints, epoch_order
from agebench.training.rows import training_rows
from agebench.training.splits import TRAIN, VALIDATION, validation_split

Transform = Callable[[Tensor], Any]


class FaceDataset(Dataset[tuple[Any, int]]):
    """Aligned faces of a manifest's curated records, as `torch_dataset` makes them.

    `dataset[i]` is (picture, age): a (3, size, size) uint8 RGB tensor, or what `transform` makes of it; whole years.
    It pickles by path, so it goes to the worker processes of a DataLoader.

    Attributes:
        records: One row a face, in the same order: record_id, part, path, age (years), subject_id, name, group_id,
            photograph_id, sha256, face_no.
        ages: (N,) whole years.
        plan: The balance plan, None without one.
    """

    def __init__(
        self, pictures: Any, records: pl.DataFrame, plan: PlanFacts | None, transform: Transform | None
    ) -> None:
        self.pictures, self.records, self.plan, self.transform = pictures, records, plan, transform
        self.ages: Ints = records["age"].cast(pl.Int64).to_numpy()

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        picture = torch.from_numpy(np.array(self.pictures[int(index)]).transpose(2, 0, 1))
        return (self.transform(picture) if self.transform else picture), int(self.ages[index])

    def split(self, share: float = 0.1, seed: int = 0) -> tuple[Ints, Ints]:
        """Indices for training and for validation. No subject or photograph is on both sides: a validation record whose
        photograph is also trained on is in neither (see `agebench.training.splits`).

        Args:
            share: Share of the records to validate with, 0 to below 1.
            seed: Seed of the draw.

        Returns:
            (training, validation), int64 arrays.

        Raises:
            UsageError: The share is outside 0 to 1.
        """
        side = validation_split(self.records, share, seed)
        return np.flatnonzero(side == TRAIN), np.flatnonzero(side == VALIDATION)

    def sampler(self, indices: Ints | None = None, seed: int = 0) -> PlanSampler:
        """The balance plan as a sampler for a DataLoader: every face as often as the plan's rule draws it, reshuffled
        for each epoch (`set_epoch`).

        Args:
            indices: Use only these faces (see `split`), and apply the rule to them alone; all by default.
            seed: Seed of the order.
        """
        where = np.arange(len(self)) if indices is None else np.asarray(indices)
        copies = self.plan.copies(self.records[where]).to_numpy() if self.plan else np.ones(len(where), dtype=np.int64)
        return PlanSampler(copies, where, seed)


class PlanSampler(Sampler[int]):
    """Every index as often as it has copies (both (N,)), shuffled by (seed, epoch); `set_epoch` sets the epoch."""

    def __init__(self, copies: Ints, indices: Ints, seed: int) -> None:
        self.copies, self.indices, self.seed, self.epoch = copies, indices, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return int(self.copies.sum())

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.copies, self.seed, self.epoch)
        return iter(self.indices[order].tolist())


def torch_dataset(
    manifest: str | Path | None = None,
    *,
    size: int = 112,
    zoom: float = 1.0,
    border: Border = "black",
    plan: str | None = None,
    transform: Transform | None = None,
    workers: int | None = None,
    on_progress: Advance | None = None,
) -> FaceDataset:
    """The aligned faces of a manifest's curated records with their ages, for a training loop of your own.

    Records whose picture cannot be read are left out.

    Args:
        manifest: A file, or a name in `manifests/` (see `Manifest`).
        size: Side of the crops, pixels. Missing crops are made and kept in `crops/`.
        zoom: How much larger the face is than in a crop from hairline to chin, 1 to 3.
        border: What a crop shows outside of its picture: `black`, or `mirror`, the picture's mirror image.
        plan: Balance plan by name; the newest by default, or every record once if there is none.
        transform: Applied to each picture, a (3, size, size) uint8 RGB tensor.
        workers: Processes that make missing crops, one per core by default.
        on_progress: Called with the progress of cropping.

    Raises:
        ManifestNotFound: There is no such manifest.
        NothingCurated: No curated record has a picture that can be read.
        UsageError: A name is unknown.
        StalePlan: The curated records have changed since the plan was made.
        StorageError: The crops cannot be written.
        Interrupted: Ctrl-C.
    """
    path = find_manifest(manifest)
    with open_manifest(path) as con:
        must_be_judged(con, path)
        facts = choose_plan(con, path, plan)
        rows = training_rows(con).drop("label_suspicion", "phash", "inset_phash", "edges")
        dataset, detector, folders = get_meta(con, "dataset") or "", get_meta(con, "detector"), folders_of(con)
    cropped = crop_records(
        rows,
        folders,
        dataset=dataset,
        detector=detector,
        crop=Crop(size=size, zoom=zoom, border=border),
        workers=workers,
        on_progress=on_progress,
    )
    if cropped.records.is_empty():
        raise NothingCurated(f"{path} has no curated record whose picture can be read.", "Curate it again.")
    return FaceDataset(cropped.pictures, cropped.records.drop("landmarks"), facts, transform)
