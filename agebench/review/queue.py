"""The queue: records in review, the most valuable answers first, in an order that stays the same while people work."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from agebench.manifest.renewal import made_at
from agebench.manifest.store import open_manifest
from agebench.review.decisions import Decision, Kind
from agebench.review.resolution import standing
from agebench.review.rows import name_frame, queue_rows

Record = tuple[str, str]  # part, path
# Reasons of records whose answers do not decide them.
OPEN = ("reviewers_disagree", "picture_changed", "claim_changed", "answer_does_not_fit")


@dataclass(frozen=True)
class Queue:
    """The records in review, as they were when the manifest was read; the manifest is closed again.

    rows, in the order in which they are to be answered: place (from 0), record_id, part, path, age (in force),
    subject_id, block and near_block (records with the same number stay together), sha256, error (why it cannot
    be read), reasons (list), label_suspicion, suggested_age (years), certainty, rarity (0 to 1), worth (their sum),
    width, height (of the picture, pixels), faces (how many were found).
    """

    manifest: Path
    judged_at: str | None
    stamp: tuple[int, ...]
    rows: pl.DataFrame = field(repr=False)

    def changed(self) -> bool:
        """Whether the manifest has been judged again since. Opens it only if the file has changed. Raises as
        `open_manifest`."""
        if _stamp(self.manifest) == self.stamp:
            return False
        with open_manifest(self.manifest) as con:
            return made_at(con, "verdicts") != self.judged_at

    def left(
        self,
        answered: Iterable[Record] = (),
        *,
        check: str | None = None,
        ages: tuple[int, int] | None = None,
        part: str | None = None,
        subject: str | None = None,
    ) -> pl.DataFrame:
        """The rows that are waiting, in order, without those of `answered`. check: one of the record's reasons; ages:
        inclusive."""
        rows = self.rows
        if check is not None:
            rows = rows.filter(pl.col("reasons").list.contains(check))
        if ages is not None:
            rows = rows.filter(pl.col("age").is_between(*ages))
        if part is not None:
            rows = rows.filter(pl.col("part") == part)
        if subject is not None:
            number = pl.col("subject_id").str.replace("^[a-z]+:", "")  # `celeb:90` is found as 90 too
            rows = rows.filter((pl.col("subject_id") == subject) | (number == subject))
        names = list(answered)
        if names and len(rows):
            rows = rows.join(name_frame(names), on=["part", "path"], how="anti", maintain_order="left")
        return rows


def load_queue(manifest: Path, also: Iterable[Record] = ()) -> Queue:
    """Read the queue of a manifest and close it (0.3 s for 500,000 records). also: see `second_looks`. Raises as
    `open_manifest`."""
    stamp = _stamp(manifest)
    with open_manifest(manifest) as con:
        judged_at = made_at(con, "verdicts")
        rows = queue_rows(con, also)
    return Queue(manifest, judged_at, stamp, in_order(rows))


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Order the rows of `review.rows.queue_rows` by what an answer is worth; the columns are those of `Queue`.

    certainty that something is wrong: 1 if answers have to be settled, else 1 - (1 - label_suspicion) / 2 ^ (number of
    checks that fired). rarity of the age class: the share that it is short of what the balance plan wants per class
    (without a plan: of the largest class). worth: their sum. Near duplicates stay together, and so do the records of
    one group (subject), because one look often answers several; each block stands where its most valuable record does.
    """
    wanted = pl.coalesce("per_class", "largest_class").cast(pl.Float64)
    lacks = (1 - pl.col("in_class") / wanted).clip(0, 1).fill_nan(0).fill_null(0)
    open_ = pl.any_horizontal(pl.col("reasons").list.contains(reason) for reason in OPEN)
    alone = 2**40 + pl.col("record_id").cast(pl.Int64)
    doubted = 1 - (1 - pl.col("label_suspicion").fill_null(0).clip(0, 1)) * pl.lit(0.5).pow(pl.col("checks"))
    return (
        rows.with_columns(pl.col("reasons").str.split(";"))
        .with_columns(
            certainty=pl.when(open_).then(1.0).otherwise(doubted),
            rarity=pl.when(pl.col("age").is_between(0, 99)).then(lacks).otherwise(0.0),
            block=pl.coalesce("group_id", alone),
            near_block=pl.coalesce("near_group", alone),
        )
        .with_columns(worth=pl.col("certainty") + pl.col("rarity"))
        .with_columns(
            block_worth=pl.col("worth").max().over("block"),
            near_worth=pl.col("worth").max().over("block", "near_block"),
        )
        .sort(
            "block_worth", "block", "near_worth", "near_block", "worth", "record_id",
            descending=[True, False, True, False, True, False],
        )
        .with_row_index("place")
        .select(
            "place", "record_id", "part", "path", "age", "subject_id", "block", "near_block", "sha256", "error",
            "reasons", "label_suspicion", "suggested_age", "certainty", "rarity", "worth", "width", "height", "faces",
        )
    )  # fmt: skip


class Answers:
    """The lines of a decisions file, indexed by record; lines can be added one by one."""

    def __init__(self, decisions: Iterable[Decision] = ()) -> None:
        self.lines: dict[Record, list[Decision]] = {}
        self._ids: set[str] = set()
        self._by: dict[str, list[Decision]] = {}
        for decision in decisions:
            self.add(decision)

    def add(self, decision: Decision) -> None:
        """Add a line; a known one changes nothing."""
        if decision.id not in self._ids:
            self._ids.add(decision.id)
            if decision.kind != "undo":
                self._by.setdefault(decision.by, []).append(decision)
            self.lines.setdefault((decision.part, decision.path), []).append(decision)

    def standing(self, record: Record, kind: Kind = "decision") -> list[Decision]:
        """The answers about a record that are not undone, the earliest first."""
        return sorted(standing(self.lines.get(record, []), kind), key=lambda d: d.order)

    def latest(self, record: Record, by: str, kind: Kind = "decision") -> Decision | None:
        """A reviewer's latest answer about a record; None if there is none."""
        return next((d for d in reversed(self.standing(record, kind)) if d.by == by), None)

    def latest_of(self, by: str, kind: Kind = "decision", among: Container[Record] | None = None) -> list[Decision]:
        """The answers that an undo undoes: the reviewer's latest one of a kind and those given together with it
        (`batch`), in order; empty if there is none. among: only about these records."""
        mine = [d for d in self._by.get(by, []) if d.kind == kind and (among is None or (d.part, d.path) in among)]
        mine.sort(key=lambda d: d.order, reverse=True)
        last = next((d for d in mine if self._stands(d)), None)
        if last is None or last.batch is None:
            return [last] if last else []
        return [d for d in reversed(mine) if d.batch == last.batch and self._stands(d)]

    def _stands(self, decision: Decision) -> bool:
        return decision in self.standing((decision.part, decision.path), decision.kind)

    def answered(self, queue: Queue, by: str | None = None) -> set[Record]:
        """Records of a queue that are answered and so drop out of it. by: only by this reviewer; None: by anybody.

        Answers about another picture than the current one do not count. If earlier answers left the record in review,
        only answers given since the records were judged count.
        """
        rows = queue.rows.join(name_frame(self.lines), on=["part", "path"], how="semi").select(
            "part", "path", "sha256", "reasons"
        )
        return {
            (part, path)
            for part, path, sha256, reasons in rows.iter_rows()
            if self.drops_out((part, path), sha256, reasons, judged_at=queue.judged_at, by=by)
        }

    def drops_out(
        self, record: Record, sha256: str | None, reasons: Sequence[str], *, judged_at: str | None, by: str | None
    ) -> bool:
        """Whether a record of the queue is answered (see `answered`)."""
        mine = [d for d in self.standing(record) if d.sha256 == sha256 and by in (None, d.by)]
        if any(reason in OPEN for reason in reasons):
            mine = [d for d in mine if _after(d, judged_at)]
        return bool(mine)


def assigned(record: Record, reviewers: Sequence[str], *, overlap: float = 0.0, seed: int = 0) -> tuple[str, ...]:
    """Who is to answer a record: one of the reviewers, and for a share `overlap` (0 to 1) of records a second one too.

    This depends only on the names (not on their order), the record and the seed, so it is the same everywhere.
    """
    names = sorted(set(reviewers))
    drawn = hashlib.sha256(f"{seed}/{record[0]}/{record[1]}".encode()).digest()
    first, second, share = (int.from_bytes(drawn[i : i + 8]) for i in (0, 8, 16))
    one = first % len(names)
    if len(names) > 1 and share < overlap * 2**64:
        return names[one], names[(one + 1 + second % (len(names) - 1)) % len(names)]
    return (names[one],)


def second_looks(answers: Answers, reviewers: Sequence[str], *, overlap: float = 0.0, seed: int = 0) -> list[Record]:
    """Records that two of the reviewers are to answer (see `assigned`) and only one has answered: they stay in the
    other one's queue even if that answer has decided them, unless it settled a disagreement."""
    found = []
    for record in answers.lines if overlap > 0 else ():
        whose = assigned(record, reviewers, overlap=overlap, seed=seed)
        said = answers.standing(record) if len(whose) > 1 else []
        settled = any(d.settles for d in said)
        if not settled and len({d.by for d in said} & set(whose)) == 1:
            found.append(record)
    return found


def _after(decision: Decision, judged_at: str | None) -> bool:
    return judged_at is None or decision.at.removesuffix("Z") > judged_at.removesuffix("+00:00")


def _stamp(manifest: Path) -> tuple[int, ...]:
    try:
        found = manifest.stat()
    except FileNotFoundError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino
