"""The state of the page: the queue and all answers in memory; records are read when somebody opens them.

The manifest is not kept open: each read opens it for milliseconds and closes it. Answers go to the decisions file and
are on disk before they are acknowledged.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.errors import AgebenchError, DecisionError, NothingCurated, UsageError
from agebench.manifest.plans import curated_fingerprint
from agebench.manifest.record_view import Overview, RecordView, overview, tile_faces, view_record
from agebench.manifest.records import folders_of, record_names
from agebench.manifest.store import open_manifest
from agebench.review import audit
from agebench.review.agreement import Agreement, agreement
from agebench.review.decisions import Decision, append, decisions_file, new_decision, new_id, read
from agebench.review.queue import Answers, load_queue, second_looks
from agebench.review.resolution import answered_names, must_fit, resolve
from agebench.review.rows import ages_of_faces, answered_records, lines_folded, must_be_there, name_frame
from agebench.review.server.given import PageAnswer, PageReading, ShownRecord, must_be_as_shown, seal_of
from agebench.review.server.readings import PATIENCE, Readings, must_be_as_drawn
from agebench.review.server.snapshot import Filters, Reviewers, Snapshot

KEPT_VIEWS = 400
KEPT_FACES = 20_000
POLL_SECONDS = 2.0


class ReviewSession:
    """The queue of one manifest and its answers. Safe to use from several threads.

    Raises as `open_manifest`, and DecisionError if the decisions file is damaged or missing.
    """

    def __init__(self, manifest: Path, *, reviewers: Reviewers | None = None) -> None:
        self.manifest = manifest
        self.file = decisions_file(manifest)
        self.reviewers = reviewers or Reviewers()
        self._lock = threading.RLock()
        self._views: OrderedDict[tuple[int, bool], RecordView] = OrderedDict()  # by record and `independent`
        self._faces: dict[int, list[float] | None] = {}  # of records shown beside others
        self._stop = threading.Event()
        self._file_stamp: tuple[int, int] | None = None  # of the decisions file when it held exactly `answers`
        self._since: list[Decision] = []  # written here since the last read of the file began
        self.trouble: str | None = None
        self.notes: list[str] = []
        self.answers = Answers()
        self.readings = Readings(manifest, lines=self.lines, now=lambda: self.snapshot)
        self._folded = 0  # lines of the decisions file that are folded into the manifest
        self._read_answers()  # first, because the queue depends on them: see `second_looks`
        self.snapshot = self._read(None)
        self._must_be_there()

    # --- following the files ------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Check for a changed manifest or decisions file every few seconds, until `close`."""
        threading.Thread(target=self._follow, name="follow", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _follow(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.refresh()

    def refresh(self) -> None:
        """Read the queue and the answers again if their files have changed; keep the old ones if that fails."""
        try:
            self._read_answers()
            now = self.snapshot
            if now.queue.changed():
                snapshot = self._read(now)
                if snapshot.queue.judged_at is None:
                    raise NothingCurated(
                        f"{self.manifest} has not been judged.", "`agebench curate` judges its records."
                    )
                with self._lock:
                    self.snapshot = snapshot
                    self._views.clear()
                    self._faces.clear()
            self.trouble = None
        except AgebenchError as error:
            self.trouble = f"{error.message} {error.next_step or ''}".strip()
        except OSError as error:
            self.trouble = f"{error.filename or self.manifest}: {error.strerror or error}."

    def _read(self, before: Snapshot | None) -> Snapshot:
        shared = self.reviewers
        with self._lock:
            also = second_looks(self.answers, shared.names, overlap=shared.overlap, seed=shared.seed)
        queue = load_queue(self.manifest, also)
        with open_manifest(self.manifest) as con:
            names, folders = record_names(con), folders_of(con)
            self._folded = lines_folded(con)
        return Snapshot(queue, names, folders, self.reviewers, before)

    def _read_answers(self) -> None:
        """Read the decisions file if somebody else wrote to it; answers can be recorded meanwhile."""
        with self._lock:
            self._must_be_there()
            stamp = self._stamp()
            if stamp == self._file_stamp:
                return
            self._since = []
        decisions, notes = read(self.file)
        answers = Answers(decisions)
        with self._lock:
            for decision in self._since:
                answers.add(decision)
            size = stamp[1] + sum(len(decision.line()) for decision in self._since)
            now = self._stamp()
            self.answers, self._file_stamp = answers, now if now[1] == size else stamp
            self.notes += [note for note in notes if note not in self.notes]

    def _must_be_there(self) -> None:
        """Raises DecisionError if the decisions file disappeared with answers in it; the answers in memory are kept."""
        must_be_there(self.file, self._folded, self.manifest)
        if self.answers.lines and not self.file.exists():
            raise DecisionError(
                f"{self.file} is gone, and answers were in it.",
                "Put it back; or, to go on without those answers, create an empty one.",
            )

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self.file.stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_size

    # --- what waits ---------------------------------------------------------------------------------------------

    def waiting(
        self, by: str, filters: Filters, *, after: int | None = None, at: int | None = None, limit: int = 8
    ) -> tuple[list[int], int, int]:
        """(ids of the next records, how many are waiting, how many match the filters in all).

        after: start behind this record, without it; at: start at this record, if it is waiting. At the end, the queue
        continues from the beginning. Raises UsageError if `by` is not one of the reviewers.
        """
        self._must_be_known(by)
        with self._lock:
            now = self.snapshot
            chosen = now.choose(filters)
            if self.reviewers.names:
                chosen = chosen & now.mine[by]
            places = np.flatnonzero(chosen & ~self._done(now, by))
            behind = int(np.searchsorted(places, now.start(after, at)))
            ordered = np.concatenate([places[behind : behind + limit], places[: min(behind, limit)]])[:limit]
            ids = [int(now.ids[place]) for place in ordered]
            return [one for one in ids if at is not None or one != after], len(places), int(chosen.sum())

    def left(self, by: str | None = None) -> int:
        """How many records are waiting for a reviewer, or for anybody."""
        with self._lock:
            now = self.snapshot
            done = self._done(now, by or "")
            return int((now.mine[by] & ~done if by else ~done).sum())

    def tiles(self, record_ids: Sequence[int]) -> list[dict[str, Any]]:
        """What a grid shows of waiting records: id, seal, path, age (in force), suggested_age, reasons, readable, and
        its faces (see `manifest.record_view.tile_faces`), each with its own suggested_age. Raises
        as `open_manifest`."""
        now = self.snapshot
        with open_manifest(self.manifest, wait=PATIENCE) as con:
            faces, ages = tile_faces(con, record_ids), ages_of_faces(con, record_ids)
        found = []
        for place in [now.place[record_id] for record_id in record_ids if record_id in now.place]:
            row = now.queue.rows.row(place, named=True)
            tile = faces.get(row["record_id"], {"width": None, "height": None, "faces": [], "meant": None})
            for number, face in enumerate(tile["faces"]):
                other = ages.get((row["record_id"], face["face_no"]))
                face["suggested_age"] = row["suggested_age"] if number == tile["meant"] else other
            found.append({
                "id": row["record_id"], "seal": seal_of(row["part"], row["path"], row["sha256"]), "path": row["path"],
                "age": row["age"], "suggested_age": row["suggested_age"], "reasons": row["reasons"],
                "readable": row["sha256"] is not None and row["error"] is None,
            } | tile)  # fmt: skip
        return found

    def reasons(self, record_id: int) -> list[str]:
        """Why a record is in the queue; empty if it is not."""
        now = self.snapshot
        place = now.place.get(record_id)
        return [] if place is None else list(now.queue.rows.row(place, named=True)["reasons"] or [])

    def _must_be_known(self, by: str) -> None:
        names = self.reviewers.names
        if names and by not in names:
            raise UsageError("This page is shared among " + ", ".join(names) + ".", "Choose your name above.")

    def _done(self, now: Snapshot, by: str) -> NDArray[np.bool_]:
        """Which records drop out for a reviewer: those answered by anybody, or, if the work is shared, by this one."""
        who = by if by in self.reviewers.names else ""
        if now.done_by is not self.answers:  # the decisions file was read again
            now.done, now.done_by = {}, self.answers
        if who not in now.done:
            if len(now.done) > 50:
                now.done.clear()
            answered = self.answers.answered(now.queue, who or None)
            mask = np.zeros(len(now.ids), bool)
            if answered:
                rows = now.queue.rows.join(name_frame(answered), on=["part", "path"], how="semi")
                mask[rows["place"].to_numpy()] = True
            now.done[who] = mask
        return now.done[who]

    # --- one record ---------------------------------------------------------------------------------------------

    def name(self, record_id: int) -> tuple[str, str] | None:
        """(part, path) of a record; None if there is no such record."""
        names = self.snapshot.names
        if not 0 <= record_id < len(names):
            return None
        part, path = names.row(record_id)
        return str(part), str(path)

    def view(self, record_id: int, *, independent: bool = False) -> RecordView | None:
        """What is known about a record (see `manifest.record_view`); None if there is no such record. independent:
        without people's answers. Raises as `open_manifest`."""
        key = record_id, independent
        with self._lock:
            if key in self._views:
                self._views.move_to_end(key)
                return self._views[key]
            number = self.snapshot.number
        with open_manifest(self.manifest, wait=PATIENCE) as con:
            found = view_record(con, record_id, answered=not independent)
        if found is not None:
            with self._lock:
                if number == self.snapshot.number:
                    self._views[key] = found
                    if len(self._faces) > KEPT_FACES:
                        self._faces.clear()
                    self._faces |= {row["record_id"]: row["face"] for row in (*found.relatives, *found.duplicates)}
                    while len(self._views) > KEPT_VIEWS:
                        self._views.popitem(last=False)
        return found

    def content(self, record_id: int) -> str | None:
        """The sha256 in a record's evidence; None if it has none, or if it is not in memory."""
        now = self.snapshot
        place = now.place.get(record_id)
        if place is not None:
            return now.queue.rows["sha256"][place]
        with self._lock:
            view = self._views.get((record_id, False))
        return None if view is None else view.evidence.get("sha256")

    def face(self, record_id: int, face_no: int | None = None) -> list[float] | None:
        """x, y, w, h of a face, and the picture's width and height, in pixels; None if there is no such face. face_no:
        None for the face that the evidence is about. Raises as `open_manifest`."""
        with self._lock:
            if face_no is None and record_id in self._faces:
                return self._faces[record_id]
        view = self.view(record_id)
        if view is None:
            return None
        wanted = view.evidence["face_no"] if face_no is None else face_no
        for face in view.faces:
            if face["face_no"] == wanted:
                size = view.evidence["width"], view.evidence["height"]
                return [float(value) for value in (face["x"], face["y"], face["w"], face["h"], *size)]
        return None

    def overview(self) -> tuple[Overview, str]:
        """The overview of the curation, and the fingerprint of its curated rows. Raises as `open_manifest`."""
        now = self.snapshot
        if now.overview is None:
            with open_manifest(self.manifest, wait=PATIENCE) as con:
                now.overview = overview(con), curated_fingerprint(con)
            with self._lock:
                shown = [one for check in now.overview[0].checks for one in check["examples"]]
                self._faces |= {one["record_id"]: one["face"] for one in shown}
        return now.overview

    def people(self) -> tuple[Agreement, pl.DataFrame]:
        """How far reviewers agree, and how many records have each outcome: status, answer, records. Raises as
        `open_manifest`."""
        decisions = self.lines()
        with open_manifest(self.manifest, wait=PATIENCE) as con:
            records = answered_records(con, answered_names(decisions))
        counts = resolve(decisions, records).group_by("status", "answer").agg(records=pl.len())
        return agreement(decisions, records), counts.sort("status", "answer", descending=[True, False])

    # --- answers ------------------------------------------------------------------------------------------------

    def answer(self, given: Sequence[PageAnswer], *, by: str, mode: str = "page") -> list[Decision]:
        """Record answers that were sent together: when this returns, all are on disk; if it raises, none is. mode:
        `page` or `grid`.

        Raises UsageError (the answer does not fit, or the record is no longer what was shown), StorageError, and as
        `open_manifest` for a record that is not in the queue.
        """
        self._must_be_known(by)
        subjects = [
            self._subject(one.record_id) for one in given
        ]  # before taking the lock, because it may have to wait
        batch = new_id() if len(given) > 1 else None
        with self._lock:
            made = []
            for one, subject in zip(given, subjects, strict=True):
                must_be_as_shown(one.record_id, one.seal, subject)
                if one.record_id in self.snapshot.changed and one.answer != "reject":
                    raise UsageError(
                        f"The file of {subject.part} {subject.path} has changed since it was curated.",
                        "Skip it; `agebench curate` reads it again.",
                    )
                name = subject.part, subject.path
                known = {d.id for d in self.answers.standing(name)}
                line = _decision(
                    self.answers.latest(name, by), by=by, kind="decision", part=name[0], path=name[1],
                    sha256=subject.sha256, answer=one.answer, age=one.age, box=one.box, note=one.note,
                    claimed=subject.claimed, settles=[answer for answer in one.settles if answer in known], batch=batch,
                    shown={"mode": mode, "suggested_age": subject.suggested_age, "reasons": subject.reasons},
                )  # fmt: skip
                must_fit(line, subject.facts(one, mode))
                made.append(line)
            self._write(made)
            for one, decision in zip(given, made, strict=True):
                self._mark(decision, one.record_id)
            return made

    def read_blind(self, one: PageReading, *, by: str, sample: audit.Sample) -> Decision:
        """Record one step of an audit reading (see `deciding.read_blind`). Raises as `answer`."""
        self._must_be_known(by)
        subject = self._subject(one.record_id)
        name = subject.part, subject.path
        drawn = must_be_as_drawn(sample, *name, subject.sha256)
        with self._lock:
            must_be_as_shown(one.record_id, one.seal, subject)
            before = audit.looked(self.answers.lines.get(name, []), by, name, subject.sha256, one.reading)
            audit.must_come_next("this record" if before is None else " ".join(name), before, one.looks)
            about: dict[str, Any] = {"by": by, "part": name[0], "path": name[1], "sha256": subject.sha256,
                                     "reading": one.reading, "shown": {"mode": "audit"}}  # fmt: skip
            if one.looks is not None:
                line = _decision(None, kind="estimate", looks=one.looks, **about)
            else:
                about |= {"claimed": drawn["age"], "answer": one.answer, "age": one.age, "note": one.note}
                line = _decision(self.answers.latest(name, by, "audit"), kind="audit", looks=before, **about)
            self._write([line])
            return line

    def undo(self, by: str, *, sample: audit.Sample | None = None) -> list[Decision]:
        """Undo the reviewer's latest answer and those sent together with it; returns what was undone, which may be
        nothing. sample: undo only readings of that audit; without it, no readings."""
        self._must_be_known(by)
        among = {(r["part"], r["path"]) for r in sample.records} if sample else None
        with self._lock:
            taken = self.answers.latest_of(by, "audit" if sample else "decision", among)
            if taken:
                self._write([
                    _decision(d, by=by, kind="undo", part=d.part, path=d.path, sha256=d.sha256, undoes=d.id)
                    for d in taken
                ])  # fmt: skip
                for decision in taken:
                    self._mark(decision, self.record_of(decision.part, decision.path))
            return taken

    def record_of(self, part: str, path: str) -> int | None:
        """The record_id of the record with that name; None if there is none."""
        named = (pl.col("part") == part) & (pl.col("path") == path)
        rows = self.snapshot.queue.rows.filter(named)
        if rows.is_empty():
            rows = self.snapshot.names.with_row_index("record_id").filter(named)
        return None if rows.is_empty() else int(rows["record_id"][0])

    def _subject(self, record_id: int) -> ShownRecord:
        now = self.snapshot
        place = now.place.get(record_id)
        if place is not None:  # without opening the manifest, which may be being written
            row = now.queue.rows.row(place, named=True)
            return ShownRecord(
                row["part"], row["path"], row["sha256"], row["age"], row["error"], row["width"], row["height"],
                row["suggested_age"], row["reasons"] or [], row["faces"],
            )  # fmt: skip
        found = self.view(record_id)
        if found is None:
            raise UsageError(f"There is no record {record_id}.", "Load the page again.")
        known = found.evidence
        return ShownRecord(
            found.part, found.path, known["sha256"], known["age"], known["file_error"], known["width"], known["height"],
            known.get("suggested_age"), [reason["check"] for reason in found.reasons],
            len(found.faces),
        )  # fmt: skip

    def _write(self, made: list[Decision]) -> None:
        """Append lines and take them into memory; update the stamp if nobody else wrote in between. Raises
        DecisionError if the file has disappeared."""
        self._must_be_there()
        self.notes += append(self.file, *made)
        self._since += made
        for decision in made:
            self.answers.add(decision)
        now = self._stamp()
        if self._file_stamp and now[1] == self._file_stamp[1] + sum(len(decision.line()) for decision in made):
            self._file_stamp = now

    def _mark(self, decision: Decision, record_id: int | None) -> None:
        """Take a record out of the queue, or put it back, according to its answers."""
        now = self.snapshot
        place = now.place.get(-1 if record_id is None else record_id)
        if place is None:
            return
        row = now.queue.rows.row(place, named=True)
        if (row["part"], row["path"]) != (decision.part, decision.path):  # renumbered since it was shown
            now.done.clear()
            return
        for who, mask in now.done.items():
            mask[place] = self.answers.drops_out(
                (decision.part, decision.path), row["sha256"], row["reasons"], judged_at=now.queue.judged_at,
                by=who or None,
            )  # fmt: skip

    def lines(self) -> list[Decision]:
        """Every line of the decisions file: as last read, and those written here since."""
        with self._lock:
            return [line for lines in self.answers.lines.values() for line in lines]


def _decision(after: Decision | None, **values: Any) -> Decision:
    try:
        return new_decision(after=after, **values)
    except DecisionError as error:
        raise UsageError(error.message, error.next_step) from error
