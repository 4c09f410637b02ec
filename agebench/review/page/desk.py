"""What the page works on: a queue and answers in memory, records read when somebody looks at them.

Nobody holds the manifest: it is opened for the milliseconds of a read and closed. Answers go to the file of decisions
and are on disk before they are acknowledged.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.errors import AgebenchError, DecisionError, UsageError
from agebench.manifest import open_manifest
from agebench.manifest.looking import Look, look_at
from agebench.manifest.records import folders_of, record_names
from agebench.review import audit
from agebench.review.decisions import Answer, Box, Decision, append, decisions_file, new_decision, read
from agebench.review.queue import Answers, Queue, assigned, load_queue

KEPT_LOOKS = 400
POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Filters:
    """Which of the waiting records are meant. ages: inclusive."""

    check: str | None = None
    ages: tuple[int, int] | None = None
    part: str | None = None
    subject: str | None = None


@dataclass(frozen=True)
class Reviewers:
    """Who shares the work: each record belongs to one of them, a share `overlap` (0 to 1) to two."""

    names: tuple[str, ...] = ()
    overlap: float = 0.0
    seed: int = 0


class _Snapshot:
    """A queue as it was read once, and what was worked out about it."""

    def __init__(self, queue: Queue, names: pl.DataFrame, folders: dict[str, Any], number: int) -> None:
        self.queue, self.names, self.folders, self.number = queue, names, folders, number
        self.ids: NDArray[np.int64] = queue.rows["record_id"].cast(pl.Int64).to_numpy()
        self.place = {int(record): place for place, record in enumerate(self.ids)}
        self.chosen: dict[Filters, NDArray[np.bool_]] = {}
        self.mine: dict[str, NDArray[np.bool_]] = {}
        self.done: dict[str, NDArray[np.bool_]] = {}


class Desk:
    """The queue of one manifest with the answers that are there. Safe to use from several threads.

    Raises as `open_manifest`, and DecisionError where the file of decisions is damaged.
    """

    def __init__(self, manifest: Path, *, reviewers: Reviewers | None = None, now: Queue | None = None) -> None:
        self.manifest = manifest
        self.file = decisions_file(manifest)
        self.reviewers = reviewers or Reviewers()
        self._lock = threading.RLock()
        self._looks: OrderedDict[int, Look] = OrderedDict()
        self._stop = threading.Event()
        self._file_stamp: tuple[int, int] | None = None
        self.trouble: str | None = None
        self.notes: list[str] = []
        self.answers = Answers()
        self.snapshot = self._read(1)
        self._read_answers()

    # --- following the files ------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Look for a changed manifest or file of decisions now and then, until `close`."""
        threading.Thread(target=self._follow, name="follow", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        """Read queue and answers again where their files have changed; keep what is there where that fails."""
        try:
            if self.snapshot.queue.changed():
                snapshot = self._read(self.snapshot.number + 1)
                with self._lock:
                    self.snapshot = snapshot
                    self._looks.clear()
            self._read_answers()
            self.trouble = None
        except AgebenchError as error:
            self.trouble = f"{error.message} {error.next_step or ''}".strip()

    def _read(self, number: int) -> _Snapshot:
        queue = load_queue(self.manifest)
        with open_manifest(self.manifest) as con:
            names, folders = record_names(con), folders_of(con)
        return _Snapshot(queue, names, folders, number)

    def _read_answers(self) -> None:
        try:
            found = self.file.stat()
            stamp = found.st_mtime_ns, found.st_size
        except FileNotFoundError:
            stamp = (0, 0)
        with self._lock:
            if stamp == self._file_stamp:
                return
            decisions, notes = read(self.file)
            self.answers, self._file_stamp = Answers(decisions), stamp
            self.notes += [note for note in notes if note not in self.notes]
            self.snapshot.done.clear()

    # --- what waits ---------------------------------------------------------------------------------------------

    def waiting(
        self, by: str, filters: Filters, *, after: int | None = None, limit: int = 8
    ) -> tuple[list[int], int, int]:
        """(ids of the next records, how many wait, how many the filters leave in all).

        after: the record whose place they follow, that one left out; from the end the order goes on at the beginning.
        """
        with self._lock:
            now = self.snapshot
            chosen = self._chosen(now, filters) & self._mine(now, by)
            open_ = chosen & ~self._done(now, by)
            start = now.place.get(after, -1) + 1 if after is not None else 0
            places = np.flatnonzero(open_)
            behind = np.searchsorted(places, start)
            ordered = np.concatenate([places[behind : behind + limit], places[: min(int(behind), limit)]])[:limit]
            ids = [int(now.ids[place]) for place in ordered if int(now.ids[place]) != after]
            return ids, len(places), int(chosen.sum())

    def checks(self) -> list[tuple[str, int]]:
        """Checks with waiting records, and how many, the most first."""
        rows = self.snapshot.queue.rows
        counts = rows.select(pl.col("reasons").explode()).drop_nulls().group_by("reasons").len()
        return [(str(name), int(n)) for name, n in counts.sort("len", "reasons", descending=[True, False]).iter_rows()]

    def parts(self) -> list[str]:
        return sorted(self.snapshot.queue.rows["part"].unique().to_list())

    def _chosen(self, now: _Snapshot, filters: Filters) -> NDArray[np.bool_]:
        if filters not in now.chosen:
            if len(now.chosen) > 50:
                now.chosen.clear()
            left = now.queue.left(check=filters.check, ages=filters.ages, part=filters.part, subject=filters.subject)
            mask = np.zeros(len(now.ids), bool)
            mask[left["place"].to_numpy()] = True
            now.chosen[filters] = mask
        return now.chosen[filters]

    def _mine(self, now: _Snapshot, by: str) -> NDArray[np.bool_]:
        names = self.reviewers.names
        if by not in names:  # nobody shares the work, or a guest who may answer anything
            return np.ones(len(now.ids), bool)
        if by not in now.mine:
            how = {"overlap": self.reviewers.overlap, "seed": self.reviewers.seed}
            rows = now.queue.rows.select("part", "path").iter_rows()
            now.mine[by] = np.array([by in assigned((part, path), names, **how) for part, path in rows], bool)  # type: ignore[arg-type]
        return now.mine[by]

    def _done(self, now: _Snapshot, by: str) -> NDArray[np.bool_]:
        """What drops out for a reviewer: answered by anybody, or by them where the work is shared."""
        who = by if self.reviewers.names else ""
        if who not in now.done:
            if len(now.done) > 50:
                now.done.clear()
            answered = self.answers.answered(now.queue, who or None)
            mask = np.zeros(len(now.ids), bool)
            if answered:
                names = pl.DataFrame(list(answered), schema={"part": pl.Utf8, "path": pl.Utf8}, orient="row")
                mask[now.queue.rows.join(names, on=["part", "path"], how="semi")["place"].to_numpy()] = True
            now.done[who] = mask
        return now.done[who]

    # --- one record ---------------------------------------------------------------------------------------------

    def name(self, record_id: int) -> tuple[str, str] | None:
        """(part, path) of a record of the manifest; None where there is none."""
        names = self.snapshot.names
        if not 0 <= record_id < len(names):
            return None
        part, path = names.row(record_id)
        return str(part), str(path)

    def look(self, record_id: int) -> Look | None:
        """What is known of a record (see `manifest.looking`); None where there is none. Raises as `open_manifest`."""
        with self._lock:
            if record_id in self._looks:
                self._looks.move_to_end(record_id)
                return self._looks[record_id]
            number = self.snapshot.number
        with open_manifest(self.manifest) as con:
            found = look_at(con, record_id)
        if found is not None:
            with self._lock:
                if number == self.snapshot.number:
                    self._looks[record_id] = found
                    while len(self._looks) > KEPT_LOOKS:
                        self._looks.popitem(last=False)
        return found

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(
        self,
        record_id: int,
        *,
        by: str,
        answer: Answer,
        age: int | None = None,
        box: Box | None = None,
        note: str | None = None,
        shown: dict[str, Any] | None = None,
        is_audit: bool = False,
    ) -> Decision:
        """Record an answer; on disk when this returns. Raises UsageError, DecisionError, StorageError."""
        return self.answer_all(
            [record_id], by=by, answer=answer, age=age, box=box, note=note, shown=shown, is_audit=is_audit
        )[0]

    def answer_all(
        self,
        record_ids: Sequence[int],
        *,
        by: str,
        answer: Answer,
        age: int | None = None,
        box: Box | None = None,
        note: str | None = None,
        shown: dict[str, Any] | None = None,
        is_audit: bool = False,
    ) -> list[Decision]:
        """Record one answer about several records: all are on disk when this returns, or none is."""
        with self._lock:
            made = []
            for record_id in record_ids:
                part, path, sha256, claimed = self._subject(record_id)
                if answer in ("keep", "face") and not is_audit and not 0 <= (-1 if claimed is None else claimed) <= 99:
                    raise UsageError(
                        f"{part} {path} claims the age {claimed}, so it cannot be kept as it is.",
                        "Set its age, or reject it.",
                    )
                kind = "audit" if is_audit else "decision"
                before = self.answers.latest((part, path), by, "audit" if is_audit else "decision")
                made.append(
                    _decision(
                        before,
                        by=by,
                        kind=kind,
                        part=part,
                        path=path,
                        sha256=sha256,
                        answer=answer,
                        age=age,
                        box=box,
                        note=note,
                        shown=shown,
                    )
                )
            self._write(made)
            for who, mask in self.snapshot.done.items():
                if who in ("", by) and not is_audit:
                    places = [self.snapshot.place[r] for r in record_ids if r in self.snapshot.place]
                    mask[places] = True
            return made

    def undo(self, by: str) -> Decision | None:
        """Take the reviewer's latest answer back; what was taken back, or None where there is nothing to undo."""
        with self._lock:
            last = self.answers.latest_of(by)
            if last is None:
                return None
            self._write([
                _decision(last, by=by, kind="undo", part=last.part, path=last.path, sha256=last.sha256, undoes=last.id)
            ])  # fmt: skip
            self.snapshot.done.clear()
            return last

    def record_of(self, part: str, path: str) -> int | None:
        """The record_id of a record in the queue, by its name."""
        rows = self.snapshot.queue.rows.filter((pl.col("part") == part) & (pl.col("path") == path))
        return int(rows["record_id"][0]) if len(rows) else None

    def _subject(self, record_id: int) -> tuple[str, str, str | None, int | None]:
        place = self.snapshot.place.get(record_id)
        if place is not None:  # without the manifest, which somebody may be writing
            row = self.snapshot.queue.rows.row(place, named=True)
            return row["part"], row["path"], row["sha256"], row["age"]
        found = self.look(record_id)
        if found is None:
            raise UsageError(f"There is no record {record_id}.", "Load the page again.")
        return found.part, found.path, found.evidence["sha256"], found.age

    def _write(self, made: list[Decision]) -> None:
        self.notes += append(self.file, *made)
        before = self._file_stamp
        for decision in made:
            self.answers.add(decision)
        size = sum(len(decision.line()) for decision in made)
        found = self.file.stat()
        # Only where nobody else wrote in between is the file known to hold what is known here.
        if before is not None and found.st_size == before[1] + size:
            self._file_stamp = found.st_mtime_ns, found.st_size

    # --- the audit ----------------------------------------------------------------------------------------------

    def audits(self) -> list[audit.Sample]:
        """The samples that lie beside the manifest, the latest first."""
        return audit.samples_of(self.manifest)

    def to_read(self, sample: audit.Sample, by: str) -> list[dict[str, Any]]:
        """What of a sample is still to be read by this reviewer, in order, with `record_id`."""
        with self._lock:
            rows = audit.to_read(sample, self._lines(), by)
        names = pl.DataFrame(
            {"part": [r["part"] for r in rows], "path": [r["path"] for r in rows]},
            schema={"part": pl.Utf8, "path": pl.Utf8},
        )
        numbered = names.join(
            self.snapshot.names.with_row_index("record_id").unique(["part", "path"], keep="first"),
            on=["part", "path"], how="left", maintain_order="left",
        )  # fmt: skip
        return [
            row | {"record_id": record_id}
            for row, record_id in zip(rows, numbered["record_id"].to_list(), strict=True)
            if record_id is not None
        ]

    def estimate(self, sample: audit.Sample) -> audit.Estimate:
        with self._lock:
            return audit.estimate(sample, self._lines())

    def _lines(self) -> list[Decision]:
        return [line for lines in self.answers.lines.values() for line in lines]


def _decision(after: Decision | None, **values: Any) -> Decision:
    try:
        return new_decision(after=after, **values)
    except DecisionError as error:
        raise UsageError(error.message, error.next_step) from error


def as_json(value: Any) -> Any:
    """Values of a manifest as JSON has them: what is no number is null, dates are ISO texts."""
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)
