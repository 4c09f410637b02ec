"""A queue at one point in time: who answers which records, which ones match filters, and their positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.manifest.record_view import Overview
from agebench.review.queue import Answers, Queue, assigned


@dataclass(frozen=True)
class Filters:
    """Which of the waiting records to show. ages: inclusive."""

    check: str | None = None
    ages: tuple[int, int] | None = None
    part: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Reviewers:
    """Who shares the work: each record goes to one of them, a share `overlap` (0 to 1) to two."""

    names: tuple[str, ...] = ()
    overlap: float = 0.0
    seed: int = 0


class Snapshot:
    """A queue at one point in time, with what is derived from it."""

    def __init__(
        self, queue: Queue, names: pl.DataFrame, folders: dict[str, Any], reviewers: Reviewers, before: Snapshot | None
    ) -> None:
        self.queue, self.names, self.folders = queue, names, folders
        self.number: int = before.number + 1 if before else 1
        self.ids: NDArray[np.int64] = queue.rows["record_id"].cast(pl.Int64).to_numpy()
        self.place = {int(record): place for place, record in enumerate(self.ids)}
        self.gone = _places_of_gone(before, self.place)
        self.mine = _shares(queue, reviewers)
        self.chosen: dict[Filters, NDArray[np.bool_]] = {}
        self.done: dict[str, NDArray[np.bool_]] = {}  # by reviewer, according to the answers `done_by`
        self.done_by: Answers | None = None
        self.changed: set[int] = set()  # records whose file has changed since
        self.present: dict[
            tuple[int, int], dict[tuple[str, str], str | None]
        ] = {}  # current pictures of audits, by n and seed
        self.overview: tuple[Overview, str] | None = None
        counts = queue.rows.select(pl.col("reasons").explode()).drop_nulls().group_by("reasons").len()
        counts = counts.sort("len", "reasons", descending=[True, False])
        self.checks = [(str(name), int(n)) for name, n in counts.iter_rows()]
        self.parts = [str(part) for part in sorted(queue.rows["part"].unique())]

    def start(self, after: int | None, at: int | None) -> int:
        """The place at which to start: behind the record `after`, or at the record `at`."""
        record = after if at is None else at
        if record is None:
            return 0
        place = self.place.get(record)
        return self.gone.get(record, 0) if place is None else place + (at is None)

    def asked_twice(self, record_id: int) -> bool:
        """Whether two reviewers are to answer the record, independently."""
        place = self.place.get(record_id)
        return place is not None and sum(bool(mask[place]) for mask in self.mine.values()) > 1

    def choose(self, filters: Filters) -> NDArray[np.bool_]:
        """Which records match the filters."""
        if filters not in self.chosen:
            if len(self.chosen) > 50:
                self.chosen.clear()
            left = self.queue.left(check=filters.check, ages=filters.ages, part=filters.part, subject=filters.subject)
            mask = np.zeros(len(self.ids), bool)
            mask[left["place"].to_numpy()] = True
            self.chosen[filters] = mask
        return self.chosen[filters]


def _places_of_gone(before: Snapshot | None, place: dict[int, int]) -> dict[int, int]:
    """For records that have left the queue: the place of the next one that is still in it."""
    found: dict[int, int] = {}
    following = 0
    for record in reversed(before.ids.tolist() if before else []):
        if record in place:
            following = place[record]
        else:
            found[record] = following
    return found


def _shares(queue: Queue, reviewers: Reviewers) -> dict[str, NDArray[np.bool_]]:
    """Which records of the queue are assigned to whom."""
    if not reviewers.names:
        return {}
    rows = queue.rows.select("part", "path").iter_rows()
    whose = [
        assigned((part, path), reviewers.names, overlap=reviewers.overlap, seed=reviewers.seed) for part, path in rows
    ]
    return {name: np.array([name in names for names in whose], bool) for name in reviewers.names}
