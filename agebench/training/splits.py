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
PASSES = 4  # over the groups, until validation has its share
WIDELY = 4  # copies to train on per copy to validate with: a photograph that has more of them trains
ROUNDS = 8  # of moving groups between folds
UNEVEN = 0.02  # of a fold's records: folds may differ by that to keep the copies of a photograph together
Ints = NDArray[np.int64]


def validation_split(records: pl.DataFrame, share: float, seed: int) -> pl.Series:
    """The side of each record: `train`, `validation`, or `left out`.

    Groups are taken one by one, the largest first. Each joins validation with probability (records still wanted) /
    (records still to come), unless it would add more than is still wanted, or its records are the last ones of some age
    to train on. The groups are gone through again until validation has `share` of the records, to within one group's
    size, or no further group fits. If no group fits at all, the smallest that can be spared validates, if it holds at
    most twice the records that were wanted; if there is none, nothing validates.

    Of a photograph with copies on both sides, those of the training side are left out; if they are more than `WIDELY`
    times as many as those of validation, the latter are. A group of which less than half would remain trains.

    share: of the records, at least 0 and below 1. The split depends only on the seed and the records, not on their
    order. Raises UsageError for another share.
    """
    if not 0 <= share < 1:
        raise UsageError(f"The validation share is {share}; expected 0 or more, below 1.")
    split = _Split(records, f"{seed}")
    if share == 0 or len(split.sizes) < 2:
        return split.sides()
    sizes, draws = split.sizes.tolist(), split.draws
    most = wanted = min(max(round(share * split.records), 1), split.records - 1)
    for _ in range(PASSES):
        to_come = int(split.sizes[~split.validating].sum())
        for place in np.flatnonzero(~split.validating).tolist():
            if draws[place] * to_come < wanted - split.validates:
                split.take(place, wanted - split.validates)
            to_come -= sizes[place]
        if split.validates == wanted:
            break
        draws = draws * 256 % 1  # further bits of the same draws
    for place in range(len(sizes) - 1, -1, -1):
        if split.validates:
            break
        if sizes[place] > 2 * most or split.take(place, 2 * most):
            break
    return split.sides()


class _Split:
    """A split in the making. validating: (G,) bool, groups by decreasing size; validates: records on that side."""

    def __init__(self, records: pl.DataFrame, seed: str) -> None:
        self.group, self.sizes, self.draws = _groups(records, seed)
        self.records, self.validates = len(records), 0
        self.photograph = np.unique(_photographs(records), return_inverse=True)[1].reshape(-1)
        self.ages = records["age"].to_numpy()
        self.of_group, self.group_ends = np.argsort(self.group, kind="stable"), np.cumsum(self.sizes)
        self.copies = np.bincount(self.photograph)
        self.of_photograph, self.photograph_ends = np.argsort(self.photograph, kind="stable"), np.cumsum(self.copies)
        self.validating = np.zeros(len(self.sizes), dtype=bool)
        self.held = np.zeros(len(self.copies), dtype=np.int64)  # copies of each photograph in validating groups
        self.trains = np.bincount(self.ages) if len(records) else np.zeros(0, dtype=np.int64)

    def take(self, place: int, most: int) -> bool:
        """Move a group to validation; False if that would add more than `most` records, or should not be."""
        size = int(self.sizes[place])
        rows = self.of_group[self.group_ends[place] - size : self.group_ends[place]]
        photographs, count = np.unique(self.photograph[rows], return_counts=True)
        copies, before = self.copies[photographs], self.held[photographs]
        after = before + count
        keeps, kept = _validates(after, copies), _validates(before, copies)
        gain = int((after * keeps).sum() - (before * kept).sum())
        if gain > most or 2 * gain < size:
            return False
        # no longer trained on: its own records, unless they were left out already, and copies that are left out now
        lost = [rows[~np.repeat(kept, count)[np.argsort(np.argsort(self.photograph[rows], kind="stable"))]]]
        for photograph in photographs[keeps & ~kept & (copies > after)].tolist():
            end = int(self.photograph_ends[photograph])
            same = self.of_photograph[end - int(self.copies[photograph]) : end]
            lost.append(same[~self.validating[self.group[same]] & (self.group[same] != place)])
        ages, gone = np.unique(self.ages[np.concatenate(lost)], return_counts=True)
        if (self.trains[ages] <= gone).any():
            return False
        self.trains[ages] -= gone
        self.held[photographs] = after
        self.validating[place] = True
        self.validates += gain
        return True

    def sides(self) -> pl.Series:
        """The side of each record."""
        held_out = self.validating[self.group]
        here = _validates(self.held, self.copies)[self.photograph]
        sides = np.where(held_out == here, np.where(here, VALIDATION, TRAIN), LEFT_OUT)
        return pl.Series("split", sides, dtype=pl.String)


def _validates(held: Ints, copies: Ints) -> NDArray[np.bool_]:
    """Whether photographs validate, of whose copies so many are in validating groups."""
    return (held > 0) & (copies - held <= WIDELY * held)


def fold_of(records: pl.DataFrame, folds: int, seed: int) -> Ints:
    """The fold of each record, (N,) 0..folds−1: whole groups, the largest first.

    Each goes into the fold that already has the most copies of its photographs, weighed by what their separation would
    cost in training records (see `training_for`); of equal ones, into the smallest fold so far. Then groups are moved
    where that costs less. Folds differ by at most the size of the largest group or, if that is more, by `UNEVEN` of a
    fold. One photograph can still be in several folds, under several subjects.
    """
    group, sizes, _ = _groups(records, f"{seed}:fold")
    if not len(sizes):
        return group
    slack = max(int(sizes[0]), int(UNEVEN * len(records) / folds))
    held, of_group = np.zeros(folds, dtype=np.int64), np.full(len(sizes), -1, dtype=np.int64)
    places, count, photograph, cost = _shared(group, _photographs(records))
    ends = np.cumsum(count)
    there = np.zeros((len(cost), folds), dtype=np.int32)  # groups of each fold that have the photograph
    choices = np.eye(folds, dtype=np.int64)
    for _ in range(ROUNDS):
        moved = 0
        for place, begin, end in zip(places.tolist(), (ends - count).tolist(), ends.tolist(), strict=True):
            own, size, now = photograph[begin:end], sizes[place], of_group[place]
            if now >= 0:
                there[own, now] -= 1
                held[now] -= size
            together = 2 * (cost[own] @ (there[own] > 0))
            even = np.ptp(held + size * choices, axis=1) <= slack
            if now >= 0:  # of equal folds it stays where it is
                even[now] = True
                together[now] += 1
            best = np.lexsort((held, np.where(even, -together, 1)))[0]
            there[own, best] += 1
            held[best] += size
            of_group[place] = best
            moved += int(best != now)
        if not moved:
            break
    smallest = [(int(size), fold) for fold, size in enumerate(held)]
    heapq.heapify(smallest)
    for place in np.flatnonzero(of_group < 0).tolist():
        so_far, fold = heapq.heappop(smallest)
        of_group[place] = fold
        heapq.heappush(smallest, (so_far + int(sizes[place]), fold))
    return of_group[group]


def _shared(group: Ints, names: NDArray[np.str_]) -> tuple[Ints, Ints, Ints, Ints]:
    """(groups that share photographs with others, how many each shares, these photographs group by group, the records
    of every photograph)."""
    code = np.unique(names, return_inverse=True)[1].reshape(-1)
    pairs = np.unique(np.stack([group, code], 1), axis=0)
    pairs = pairs[np.bincount(pairs[:, 1])[pairs[:, 1]] > 1]
    places, count = np.unique(pairs[:, 0], return_counts=True)
    return places, count, pairs[:, 1], np.bincount(code)


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
