"""What all lines of a file of decisions come to: for every record what its reviewers say together.

Pure functions of the set of lines: neither their order nor that of merged files matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from agebench.review.decisions import Decision, Kind

SAME_FACE = 0.5  # intersection over union from which two boxes mean one face

_LATEST: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.Utf8, "at": pl.Utf8, "by": pl.Utf8, "part": pl.Utf8, "path": pl.Utf8, "sha256": pl.Utf8, "answer": pl.Utf8,
    "age": pl.Int32, "box": pl.Array(pl.Float64, 4), "note": pl.Utf8,
}  # fmt: skip


def taken_back(decisions: Iterable[Decision]) -> set[str]:
    """Ids of the lines that undos take back. An undo can be undone; one counts only for its own reviewer's line about
    the same record, and undos that take back each other in a circle do nothing."""
    by_id = {d.id: d for d in decisions}
    target: dict[str, str] = {}
    against: dict[str, int] = {}
    for d in by_id.values():
        other = by_id.get(d.undoes) if d.undoes else None
        if other is not None and (d.by, d.part, d.path) == (other.by, other.part, other.path):
            target[d.id] = other.id
            against[other.id] = against.get(other.id, 0) + 1
    ready = [undo for undo in target if undo not in against]
    undone: set[str] = set()
    while ready:
        undo = ready.pop()
        other_id = target[undo]
        if undo not in undone:
            undone.add(other_id)
        against[other_id] -= 1
        if not against[other_id] and other_id in target:
            ready.append(other_id)
    return undone


def standing(decisions: Sequence[Decision], kind: Kind = "decision") -> list[Decision]:
    """The answers of a kind that are not taken back, in their order."""
    undone = taken_back(decisions)
    return [d for d in decisions if d.kind == kind and d.id not in undone]


def latest_answers(decisions: Sequence[Decision]) -> pl.DataFrame:
    """Of every reviewer the latest `(at, id)` about each record that is not taken back, in order of record and
    reviewer.

    Columns: id, at, by, part, path, sha256, answer, age (years), box (4, pixels), note.
    """
    found = standing(decisions)
    columns = {name: [getattr(d, name) for d in found] for name in _LATEST}
    return (
        pl.DataFrame(columns, schema=_LATEST)
        .sort("at", "id")
        .unique(["part", "path", "by"], keep="last", maintain_order=True)
        .sort("part", "path", "by")
    )


def resolve(decisions: Sequence[Decision], records: pl.DataFrame) -> pl.DataFrame:
    """One row a record that has answers, by record_id.

    records: record_id, part, path, age (the claimed one), sha256 (NULL: unreadable), looked (whether the file was
    looked at: where it was not, no picture can have changed). Returned: record_id, status, answer (keep, reject, age;
    NULL where nothing is decided), age, box (4, pixels), by (reviewers, joined by `;`), at, note, answers (their
    number). status: `decided`; `conflict` where reviewers disagree (about keeping, the age, or which face is meant);
    `changed` where every answer is about another picture than the present one.
    """
    rows = compared(decisions, records)
    latest = pl.col("at").arg_max()
    decided = pl.col("status") == "decided"
    answer = pl.when(pl.col("answer") == "face").then(pl.lit("keep")).otherwise("answer")
    return (
        rows.group_by("record_id", maintain_order=True)
        .agg(
            pl.col("status").first(),
            answer=answer.last(),
            age=pl.col("age").last(),
            box=pl.col("box").drop_nulls().last(),
            by=pl.col("by").unique().sort().str.join(";"),
            at=pl.col("at").get(latest),
            note=pl.col("note").drop_nulls().last(),
            answers=pl.len().cast(pl.Int32),
        )
        .with_columns(pl.when(decided).then(pl.col(name)).alias(name) for name in ("answer", "age", "box"))
        .sort("record_id")
    )


def compared(decisions: Sequence[Decision], records: pl.DataFrame) -> pl.DataFrame:
    """The answers that count for each record, by record and (at, id), each with the record's status (see `resolve`).

    Columns of `latest_answers`, and record_id, claimed, outcome (`reject`, or `keep N`: with the age N), status. Where
    some answers are about the present picture, those about another one are left out.
    """
    rows = latest_answers(decisions).join(
        records.rename({"age": "claimed", "sha256": "present"}), on=["part", "path"], how="inner"
    )
    kept = pl.col("answer") != "reject"
    rows = rows.with_columns(
        current=pl.col("sha256").eq_missing(pl.col("present")) | ~pl.col("looked"),
        outcome=pl.when(kept)
        .then(pl.concat_str(pl.lit("keep "), pl.coalesce("age", "claimed").cast(pl.Utf8).fill_null("?")))
        .otherwise(pl.lit("reject")),
    ).sort("record_id", "at", "id")
    any_current = pl.col("current").any().over("record_id")
    rows = rows.with_columns(stale=~any_current).filter(pl.col("current") | pl.col("stale"))
    theirs = pl.col("box").drop_nulls().last().over("record_id")
    rows = rows.with_columns(other=pl.when(pl.col("box").is_not_null()).then(theirs))
    rows = rows.with_columns(other_face=_overlap("box", "other") < SAME_FACE)
    disagree = (pl.col("outcome").n_unique() > 1) | pl.col("other_face").any()
    status = (
        pl.when("stale")
        .then(pl.lit("changed"))
        .when(disagree.over("record_id"))
        .then(pl.lit("conflict"))
        .otherwise(pl.lit("decided"))
    )
    return rows.with_columns(status=status).select(*_LATEST, "record_id", "claimed", "outcome", "status")


def without_records(decisions: Sequence[Decision], records: pl.DataFrame) -> int:
    """How many records that have answers are not among `records` (part, path)."""
    named = latest_answers(decisions).select("part", "path").unique()
    return len(named.join(records, on=["part", "path"], how="anti"))


def _overlap(one: str, two: str) -> pl.Expr:
    """Intersection over union of two columns of boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = ([pl.col(name).arr.get(i) for i in range(4)] for name in (one, two))
    width = pl.min_horizontal(ax + aw, bx + bw) - pl.max_horizontal(ax, bx)
    height = pl.min_horizontal(ay + ah, by + bh) - pl.max_horizontal(ay, by)
    shared = pl.max_horizontal(width, 0.0) * pl.max_horizontal(height, 0.0)
    return shared / (aw * ah + bw * bh - shared)
