"""Validation splits and folds: whole subjects, assigned by size, and no photograph on both sides.

records: a frame with part, path, age, group_id (the subject) and photograph_id (the photograph; several subjects may
have copies of it); if either is NULL, the record is a group or photograph of its own.
"""

from __future__ import annotations

import hashlib
import heapq

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.errors import UsageError

TRAIN, VALIDATION, LEFT_OUT = "train", "validation", "left out"
KEYS = ("part", "path", "group_id", "photograph_id")


def validation_split(records: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """The side of each record: `train`, `validation`, or `left out`.

    Groups are taken one by one, the largest first. Each joins validation with probability (records still wanted) /
    (records still to come), unless it is larger than what is still wanted. So validation gets `share` of the records to
    within one group's size, and a giant group trains. A group that holds all records of some age also trains. A record
    of a validation group whose photograph is also trained on, under another subject, is left out.

    share: of the records, at least 0 and below 1. If it is above 0, of two or more groups at least one validates.
    The split depends only on the seed and the records, not on their order. Raises UsageError for another share.
    """
    if not 0 <= share < 1:
        raise UsageError(f"The validation share is {share}; expected 0 or more, below 1.")
    group, sizes, draws = _groups(records, f"{seed}")
    validating = np.zeros(len(sizes), dtype=bool)
    wanted, to_come = min(round(share * len(group)), len(group) - 1), len(group)
    ages = records["age"].to_numpy()[np.argsort(group, kind="stable")]
    training = np.bincount(ages)
    ends = np.cumsum(sizes).tolist()
    for place, (size, draw, end) in enumerate(zip(sizes.tolist(), draws.tolist(), ends, strict=True)):
        if size <= wanted and draw * to_come < wanted:
            own, count = np.unique(ages[end - size : end], return_counts=True)
            if (training[own] > count).all():
                validating[place] = True
                training[own] -= count
                wanted -= size
        to_come -= size
    if share > 0 and len(sizes) > 1 and not validating.any():
        validating[-1] = True
    held_out = validating[group]
    photograph = _photographs(records)
    both = held_out & np.isin(photograph, photograph[~held_out])
    return pl.Series("split", np.where(both, LEFT_OUT, np.where(held_out, VALIDATION, TRAIN)))


def fold_of(records: pl.DataFrame, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each record, (N,) 0..folds−1: whole groups, the largest first, each into the smallest fold so far.

    So folds differ by at most the size of one group. One photograph can still be in several folds, under several
    subjects: see `training_for`.
    """
    group, sizes, _ = _groups(records, f"{seed}:fold")
    smallest = [(0, fold) for fold in range(folds)]
    of_group = np.empty(len(sizes), dtype=np.int64)
    for place, size in enumerate(sizes.tolist()):
        held, fold = heapq.heappop(smallest)
        of_group[place] = fold
        heapq.heappush(smallest, (held + size, fold))
    return of_group[group]


def training_for(records: pl.DataFrame, held_out: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Records to train on when others are held out, (N,) bool: all but those held out and copies of their photographs.
    held_out: (N,) bool, whole groups."""
    photograph = _photographs(records)
    return ~held_out & ~np.isin(photograph, photograph[held_out])


def largest_group(records: pl.DataFrame) -> int:
    """The number of records in the largest group."""
    return int(_groups(records, "")[1].max(initial=0))


def _groups(records: pl.DataFrame, seed: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """(group of each record (N,), size of each group (G,), its random draw in 0..1 (G,)), groups by decreasing size,
    then by draw."""
    names, group, sizes = np.unique(_named(records, "group_id"), return_inverse=True, return_counts=True)
    digests = (hashlib.md5(f"{seed}:{name}".encode(), usedforsecurity=False).digest() for name in names)
    draws = np.array([int.from_bytes(digest[:6], "big") for digest in digests], dtype=np.float64) / 2.0**48
    order = np.lexsort((names, draws, -sizes))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[group.reshape(-1)], sizes[order], draws[order]


def _photographs(records: pl.DataFrame) -> NDArray[np.str_]:
    return _named(records, "photograph_id")


def _named(records: pl.DataFrame, column: str) -> NDArray[np.str_]:
    alone = pl.format("{}/{}", "part", "path")
    return records.select(pl.col(column).cast(pl.String).fill_null(alone)).to_series().to_numpy().astype(str)
