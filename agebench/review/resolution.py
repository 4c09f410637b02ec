"""Resolve the lines of a decisions file: for every record, what all of its reviewers' answers together decide.

Pure functions of the set of lines: neither their order nor the order of merged files matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from agebench.errors import UsageError
from agebench.review.decisions import Decision, Kind

SAME_FACE = 0.5  # two boxes with at least this intersection over union mean the same face
OPEN = ("conflict", "unfit", "claim_changed", "changed")  # statuses that leave a record in review
_LATEST: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.Utf8, "at": pl.Utf8, "by": pl.Utf8, "part": pl.Utf8, "path": pl.Utf8, "sha256": pl.Utf8, "answer": pl.Utf8,
    "age": pl.Int32, "box": pl.Array(pl.Float64, 4), "note": pl.Utf8,
}  # fmt: skip
_SAID: dict[str, pl.DataType | type[pl.DataType]] = {"claimed": pl.Int32, "settles": pl.List(pl.Utf8)}
_PICTURE = {"error": pl.Utf8, "width": pl.Int32, "height": pl.Int32, "unchosen_faces": pl.Int32}


def taken_back(decisions: Iterable[Decision]) -> set[str]:
    """Ids of the lines that are undone. An undo can itself be undone. It counts only for a line of the same reviewer
    about the same record; undos that undo each other in a circle do nothing, and an estimate cannot be undone."""
    by_id = {d.id: d for d in decisions}
    target: dict[str, str] = {}
    against: dict[str, int] = {}
    for d in by_id.values():
        other = by_id.get(d.undoes) if d.undoes else None
        if (
            other is not None
            and other.kind != "estimate"
            and (d.by, d.part, d.path) == (other.by, other.part, other.path)
        ):
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
    """The answers of a kind that are not undone, in their order."""
    undone = taken_back(decisions)
    return [d for d in decisions if d.kind == kind and d.id not in undone]


def latest_answers(decisions: Sequence[Decision]) -> pl.DataFrame:
    """Every reviewer's latest answer about each record, by `(at, id)` and without those undone, in order of record and
    reviewer.

    Columns: id, at, by, part, path, sha256, answer, age (years), box (4, pixels), note; claimed_then (the claimed age
    as it was shown, years; NULL if none was) and settles (ids).
    """
    found = standing(decisions)
    return (
        pl.DataFrame({name: [getattr(d, name) for d in found] for name in (*_LATEST, *_SAID)}, schema=_LATEST | _SAID)
        .rename({"claimed": "claimed_then"})
        .sort("at", "id")
        .unique(["part", "path", "by"], keep="last", maintain_order=True)
        .sort("part", "path", "by")
    )


def resolve(decisions: Sequence[Decision], records: pl.DataFrame) -> pl.DataFrame:
    """One row for each record that has answers, by record_id.

    records: record_id, part, path, age (claimed), sha256 (NULL: unreadable), looked (whether the file was read: if not,
    its picture is not known to have changed), and, if known, error (why the picture cannot be read), width, height
    (pixels). Returned: record_id, status, answer (keep, reject, age; NULL if nothing is decided), age, box (4, pixels),
    by (reviewers, joined by `;`), at, note, answers (their number).

    status: `decided`; `conflict` if reviewers disagree (about keeping, the age, or the face) and nobody has settled it.
    If no answer counts: `unfit` if one does not fit the record; `claim_changed` if one keeps an age that the release no
    longer claims; `changed` if all are about another picture than the current one.

    Of several records with the same name, answers are about the first, but a rejection rejects all.
    """
    rows = compared(decisions, records)
    counts = pl.col("counts")
    decided = pl.col("status") == "decided"
    answer = pl.when(pl.col("answer") == "face").then(pl.lit("keep")).otherwise("answer")
    found = (
        rows.group_by("record_id", maintain_order=True)
        .agg(
            pl.col("status").first(),
            answer=answer.filter(counts).last(),
            age=pl.col("age").filter(counts).last(),
            box=pl.col("box").filter(counts).drop_nulls().last(),
            by=pl.col("by").filter(counts).unique().sort().str.join(";"),
            at=pl.col("at").filter(counts).max(),
            note=pl.col("note").filter(counts).drop_nulls().last(),
            answers=pl.len().cast(pl.Int32),
        )
        .with_columns(pl.when(decided).then(pl.col(name)).alias(name) for name in ("answer", "age", "box"))
    )
    name = pl.struct("part", "path")
    namesakes = records.sort("record_id").select("record_id", first=pl.col("record_id").first().over(name))
    return (
        namesakes.join(found.rename({"record_id": "first"}), on="first", how="inner")
        .filter((pl.col("record_id") == pl.col("first")) | (pl.col("answer") == "reject"))
        .drop("first")
        .sort("record_id")
    )


def compared(decisions: Sequence[Decision], records: pl.DataFrame) -> pl.DataFrame:
    """The answers to compare for each record, by record and (at, id), each with the record's status (see `resolve`).

    Columns of `latest_answers` up to `note`, and record_id, claimed, outcome (`reject`, or `keep N` with the age N),
    disagree (whether the record's reviewers disagree), counts (whether the status comes from this answer: for a settled
    record, only the one that settles it), status. If some answers of a record are usable, the others (unfit, or about
    another picture or claim) are left out.
    """
    once = _one_of_each_name(records).rename({"age": "claimed", "sha256": "present"})
    rows = _with_misfits(latest_answers(decisions).join(once, on=["part", "path"], how="inner"))
    rows = rows.with_columns(
        outcome=pl.when(pl.col("answer") != "reject")
        .then(pl.concat_str(pl.lit("keep "), pl.coalesce("age", "claimed").cast(pl.Utf8).fill_null("?")))
        .otherwise(pl.lit("reject")),
        trouble=_trouble(),
    ).sort("record_id", "at", "id")
    least = pl.col("trouble").min().over("record_id")
    rows = rows.filter(pl.col("trouble") == least)
    theirs = pl.col("box").drop_nulls().last().over("record_id")
    rows = rows.with_columns(other=pl.when(pl.col("box").is_not_null()).then(theirs))
    rows = rows.with_columns(other_face=_overlap("box", "other") < SAME_FACE)
    disagree = (pl.col("outcome").n_unique() > 1) | pl.col("other_face").any()
    rows = rows.with_columns(disagree=disagree.over("record_id"))
    settles = pl.col("id").is_in(_settling(rows).implode())
    rows = rows.with_columns(settled=settles.any().over("record_id"), settles=settles)
    status = (
        pl.when(pl.col("trouble") > 0)
        .then(pl.col("trouble").replace_strict(_TROUBLES, default=None, return_dtype=pl.Utf8))
        .when(pl.col("disagree") & ~pl.col("settled"))
        .then(pl.lit("conflict"))
        .otherwise(pl.lit("decided"))
    )
    counts = ~pl.col("settled") | pl.col("settles")
    return rows.with_columns(status=status, counts=counts).select(
        *_LATEST, "record_id", "claimed", "outcome", "disagree", "counts", "status"
    )


_TROUBLES = {1: "unfit", 2: "claim_changed", 3: "changed"}


def _trouble() -> pl.Expr:
    """Why an answer is not usable, as a key of `_TROUBLES`; 0 if it is."""
    current = pl.col("sha256").eq_missing(pl.col("present")) | ~pl.col("looked")
    other_claim = _keeps_claim() & (pl.col("claimed_then") != pl.col("claimed")).fill_null(
        pl.col("claimed_then").is_not_null()
    )
    return pl.when(~current).then(3).when(other_claim).then(2).when(pl.col("misfit").is_not_null()).then(1).otherwise(0)


def _keeps_claim() -> pl.Expr:
    return pl.col("answer").is_in(["keep", "face"])


def _misfit(
    answer: str,
    box: Sequence[float] | None,
    claimed: int | None,
    error: str | None,
    width: int | None,
    height: int | None,
    unchosen_faces: int | None,
) -> str | None:
    """Why an answer does not fit its record: a key of `_MISFITS`; None if it fits.

    The page, the terminal, imports and folding all use this rule. claimed: years; error: why the picture cannot be
    read, None if it can; width, height: pixels, None if not known; unchosen_faces: the number of faces if the answer
    had to choose one and did not, else None.
    """
    if answer in ("keep", "face") and not (claimed is not None and 0 <= claimed <= 99):
        return "claim"
    if answer != "reject" and error is not None:
        return "picture"
    if box is not None:
        x, y, w, h = box
        middles = ((x + w / 2, width), (y + h / 2, height))
        if any(size is not None and not 0 <= middle <= size for middle, size in middles):
            return "box"
    return "face" if (unchosen_faces or 0) > 1 else None


def _with_misfits(rows: pl.DataFrame) -> pl.DataFrame:
    """With the column misfit (see `_misfit`)."""
    values = rows.select("answer", "box", "claimed", "error", "width", "height", "unchosen_faces").iter_rows()
    return rows.with_columns(misfit=pl.Series([_misfit(*row) for row in values], dtype=pl.Utf8))


_MISFITS = {
    "claim": (
        "{name} claims {claims}, so it cannot be kept as it is.",
        "Give the right age, or reject it.",
    ),
    "picture": (
        "The picture of {name} cannot be read ({error}), so it cannot be kept.",
        "Put the right file in its place and curate again, or reject the record.",
    ),
    "box": (
        "The middle of the box lies outside the picture of {name}, which is {width} by {height} pixels.",
        "`agebench explain` lists the faces that were found.",
    ),
    "face": (
        "{name} shows {unchosen_faces} faces, and the answer does not say which one it is about.",
        "Choose a face first, or answer the record on its own page.",
    ),
}


def misfits(decisions: Sequence[Decision], records: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """The answers that do not fit their records, by id, each with a message and a next step (see `_misfit`).

    records: as in `resolve`, and unchosen_faces where a face must be chosen. Answers about another picture or another
    claimed age than the current one are left out: they may have fitted what was shown.
    """
    once = _one_of_each_name(records).rename({"age": "claimed", "sha256": "present"})
    said = [d for d in decisions if d.kind == "decision"]
    columns = {name: [getattr(d, name) for d in said] for name in (*_LATEST, *_SAID)}
    rows = pl.DataFrame(columns, schema=_LATEST | _SAID).rename({"claimed": "claimed_then"})
    rows = _with_misfits(rows.join(once, on=["part", "path"], how="inner")).filter(_trouble() == 1)
    return {row["id"]: _message(row["misfit"], row) for row in rows.iter_rows(named=True)}


def must_fit(decision: Decision, record: Mapping[str, Any]) -> None:
    """Raises UsageError if an answer does not fit the record that it is about (see `_misfit`). Much cheaper for one
    answer than `misfits`. Audit readings always fit: they only say what is right.

    record: claimed, error, width, height and unchosen_faces, as in `_misfit`; part and path.
    """
    facts = [record[name] for name in ("claimed", "error", "width", "height", "unchosen_faces")]
    if decision.kind == "decision" and decision.answer and (found := _misfit(decision.answer, decision.box, *facts)):
        raise UsageError(*_message(found, record))


def _message(misfit: str, record: Mapping[str, Any]) -> tuple[str, str]:
    """What is wrong with an answer, and what to do."""
    claims = "no age" if record["claimed"] is None else f"the age {record['claimed']}"
    message, next_step = _MISFITS[misfit]
    return message.format(name=f"{record['part']} {record['path']}", claims=claims, **record), next_step


def _one_of_each_name(records: pl.DataFrame) -> pl.DataFrame:
    """The first of the records with each name; with NULL for what is not known about the picture."""
    unknown = {name: pl.lit(None, dtype) for name, dtype in _PICTURE.items() if name not in records.columns}
    return records.with_columns(**unknown).sort("record_id").unique(["part", "path"], keep="first", maintain_order=True)


def _settling(rows: pl.DataFrame) -> pl.Series:
    """Ids of the answers that settle their records: those that name every usable answer with another outcome; the
    latest if there are several."""
    ours = rows.filter((pl.col("settles").list.len() > 0) & (pl.col("trouble") == 0))
    pairs = ours.join(rows, on="record_id", suffix="_of")
    agrees = (pl.col("outcome") == pl.col("outcome_of")) & ~(_overlap("box", "box_of") < SAME_FACE).fill_null(False)
    named = (pl.col("id") == pl.col("id_of")) | pl.col("settles").list.contains(pl.col("id_of")) | agrees
    good = pairs.group_by("id").agg(named.all().alias("good")).filter("good")
    return ours.join(good, on="id", how="semi").unique("record_id", keep="last", maintain_order=True)["id"]


def answered_names(decisions: Sequence[Decision]) -> pl.DataFrame:
    """The names (part, path) of the records that have answers, each once."""
    return latest_answers(decisions).select("part", "path").unique()


def without_records(decisions: Sequence[Decision], records: pl.DataFrame) -> int:
    """How many records with answers are not among `records` (part, path)."""
    return len(answered_names(decisions).join(records, on=["part", "path"], how="anti"))


def _overlap(one: str, two: str) -> pl.Expr:
    """Intersection over union of two columns of boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = ([pl.col(name).arr.get(i) for i in range(4)] for name in (one, two))
    width = pl.min_horizontal(ax + aw, bx + bw) - pl.max_horizontal(ax, bx)
    height = pl.min_horizontal(ay + ah, by + bh) - pl.max_horizontal(ay, by)
    shared = pl.max_horizontal(width, 0.0) * pl.max_horizontal(height, 0.0)
    return shared / (aw * ah + bw * bh - shared)
