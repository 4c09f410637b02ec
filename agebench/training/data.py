"""What a training reads: pictures by row, and which of them make up each batch.

Everything here is a function of (seed, step), so a resumed training sees the same batches as an uninterrupted one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from agebench.errors import NothingCurated, RecipeError, UsageError
from agebench.manifest.fingerprints import frame_digest

Ints = NDArray[np.int64]
GROUP_YEARS = 5  # ages that are balanced together
SHORTEST = 4  # draws per epoch of the most frequent records, once balanced
FINER = 5  # times as many with discounts, most of which are small
COLUMNS = ("part", "path", "sha256", "age", "group_id", "photograph_id", "split", "copies")


class Pictures(Protocol):
    """Faces by row, `(S, S, 3)` uint8 RGB. Picklable, and cheap to pickle: reader processes open it again by its path.

    It may also have `read_many(rows) -> (N, S, S, 3)`, which is used where it exists.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class TrainingData:
    """Labelled pictures: entry i of every array is one record.

    rows: (N,) index of its face in `pictures`. ages: (N,) whole years 0..99. copies: (N,) draws per epoch, 0 drops it.
    records: the same records as a frame with at least the columns of `COLUMNS`, kept with the run. `split` is the side
    of each (see `training.splits`).
    fingerprint: SHA-256 of what the records were drawn from: runs with the same recipe and fingerprint differ only in
    the seed.
    """

    pictures: Pictures
    rows: Ints
    ages: Ints
    copies: Ints
    records: pl.DataFrame
    fingerprint: str

    @classmethod
    def from_records(
        cls, pictures: Pictures, rows: Sequence[int] | Ints, records: pl.DataFrame, fingerprint: str | None = None
    ) -> TrainingData:
        """`records` (the columns of `COLUMNS`) beside the picture rows that hold their faces.

        fingerprint: that of the records themselves by default.
        Raises UsageError where columns are missing or the lengths differ, NothingCurated where no record is drawn.
        """
        if missing := [name for name in COLUMNS if name not in records.columns]:
            raise UsageError(f"The training records lack {', '.join(missing)}.", f"Expected {', '.join(COLUMNS)}.")
        if len(rows) != len(records):
            raise UsageError(f"{len(records)} training records but {len(rows)} picture rows.")
        wrong = records.filter(pl.col("age").is_between(0, 99).not_().fill_null(True))
        if len(wrong):
            raise UsageError(
                f"{len(wrong)} training records have no age within 0–99, the first is {wrong['path'][0]}.",
                "Curate the release with a recipe that rejects them.",
            )
        ages = records["age"].cast(pl.Int64).to_numpy()
        copies = records["copies"].cast(pl.Int64).to_numpy()
        if not (copies > 0).any():
            raise NothingCurated("Every record has 0 copies.", "Curate the release, then plan with `agebench balance`.")
        own = fingerprint or frame_digest(records.select(COLUMNS))
        return cls(pictures, np.asarray(rows, dtype=np.int64), ages, copies, records, own)

    def on_side(self, side: str) -> NDArray[np.bool_]:
        """Which records are drawn on this side of the split, (N,) bool."""
        return (self.records["split"] == side).to_numpy() & (self.copies > 0)


def balanced_copies(ages: Ints, copies: Ints, by: float, discounts: NDArray[np.float64] | None = None) -> Ints:
    """Draws per epoch, (N,), by which groups of five ages are drawn more evenly.

    A group of n draws gets n^(1 − by) of them, by = 0 (every record as often as before) to 1 (every group as often as
    the others). To keep whole numbers, an epoch becomes longer: the rate of the most frequent records is 4 draws, or 20
    with discounts. ages: (N,) years. copies: (N,) draws before. discounts: (N,) the share of its draws, 0 to 1, that
    each record loses.
    """
    if (not by and discounts is None) or not (copies > 0).any():
        return copies
    groups = ages // GROUP_YEARS
    factors = np.bincount(groups, copies).clip(min=1)[groups] ** -by
    rates = factors / factors[copies > 0].min() * SHORTEST
    if discounts is not None:
        rates = rates * FINER * (1 - discounts)
    return np.asarray(np.round(copies * rates), dtype=np.int64)


def discounts_of(records: pl.DataFrame, distrust: float) -> NDArray[np.float64] | None:
    """The share of its draws that each record loses because its age may be wrong, (N,) 0 to 1; None if `distrust` is 0.

    records: with `label_suspicion`, 0 to 1; NULL counts as 0. Raises RecipeError if no record has a suspicion.
    """
    if not distrust:
        return None
    if "label_suspicion" not in records.columns or (len(records) and records["label_suspicion"].is_null().all()):
        raise RecipeError(
            "train.distrust needs label suspicion, and these records have none.",
            "Curate them with an estimator (`--estimator ready`), or set train.distrust to 0.",
        )
    return distrust * records["label_suspicion"].cast(pl.Float64).fill_null(0.0).to_numpy()


def epoch_order(copies: Ints, seed: int, epoch: int) -> Ints:
    """The draws of one epoch, (sum of copies,): every index as often as it has copies, shuffled by (seed, epoch)."""
    draws = np.repeat(np.arange(len(copies)), copies)
    return np.random.default_rng([seed, epoch]).permutation(draws)


class Batches:
    """The picture rows and ages of the batches from `start` to `steps`, for one of `world` processes.

    Batches cross the ends of epochs, so that every batch is full; only one epoch's order is in memory.
    """

    def __init__(
        self, rows: Ints, ages: Ints, copies: Ints, batch: int, seed: int, start: int, steps: int, rank: int, world: int
    ) -> None:
        self.rows, self.ages, self.copies = rows, ages, copies
        self.batch, self.seed, self.start, self.steps = batch, seed, start, steps
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[tuple[Ints, Ints]]:
        length = int(self.copies.sum())
        epoch, order = -1, np.empty(0, dtype=np.int64)
        for step in range(self.start, self.steps):
            drawn, position, end = [], step * self.batch, (step + 1) * self.batch
            while position < end:
                if position // length != epoch:
                    epoch = position // length
                    order = epoch_order(self.copies, self.seed, epoch)
                take = min(end - position, length - position % length)
                drawn.append(order[position % length :][:take])
                position += take
            mine = np.concatenate(drawn)[self.rank :: self.world]
            yield self.rows[mine], self.ages[mine]


class _Reader:
    """Reads a batch for the loader. It holds only the pictures: the tables stay in the training process."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError("batches are read whole, by __getitems__")

    def __getitems__(self, batch: tuple[Ints, Ints]) -> tuple[Tensor, Tensor]:
        rows, ages = batch
        return torch.from_numpy(read(self.pictures, rows)), torch.from_numpy(ages)


def _leave_interrupts_to_the_training(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal, but the training still needs the batches of its last step
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_read(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch


def read(pictures: Pictures, rows: Ints) -> NDArray[np.uint8]:
    """The pictures at `rows`, (N, S, S, 3) uint8 RGB, writable."""
    many = getattr(pictures, "read_many", None)
    read = np.asarray(many(rows)) if many else np.stack([pictures[int(row)] for row in rows])
    return read if read.flags.writeable else read.copy()


def loader(pictures: Pictures, batches: Batches, workers: int, pin: bool) -> DataLoader[tuple[Tensor, Tensor]]:
    """Batches as tensors, pictures (B, S, S, 3) uint8 and ages (B,) years, read ahead by `workers` processes."""
    return DataLoader(
        _Reader(pictures),  # type: ignore[arg-type]
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_as_read,  # type: ignore[arg-type]
        num_workers=workers,
        worker_init_fn=_leave_interrupts_to_the_training,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
    )


def check_size(pictures: Pictures, row: int, size: int) -> None:
    """Raises RecipeError if the pictures are not `size` pixels square."""
    shape = np.asarray(pictures[row]).shape
    if shape != (size, size, 3):
        raise RecipeError(f"crop.size is {size} pixels, but the pictures are {'×'.join(map(str, shape))}.")
