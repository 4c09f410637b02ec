"""What all lines of a file of decisions come to: for every record what its reviewers say together.

Pure functions of the set of lines: neither their order nor that of merged files matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from agebench.errors import UsageError
from agebench.review.decisions import Decision, Kind

SAME_FACE = 0.5  # intersection over union from which two boxes mean one face
OPEN = ("conflict", "unfit", "claim_changed", "changed")  # statuses of records that answers leave in review
_LATEST: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.Utf8, "at": pl.Utf8, "by": pl.Utf8, "part": pl.Utf8, "path": pl.Utf8, "sha256": pl.Utf8, "answer": pl.Utf8,
    "age": pl.Int32, "box": pl.Array(pl.Float64, 4), "note": pl.Utf8,
}  # fmt: skip
_SAID: dict[str, pl.DataType | type[pl.DataType]] = {"claimed": pl.Int32, "settles": pl.List(pl.Utf8)}
_PICTURE = {"error": pl.Utf8, "width": pl.Int32, "height": pl.Int32, "unchosen_faces": pl.Int32}


def taken_back(decisions: Iterable[Decision]) -> set[str]:
    """Ids of the lines that undos take back. An undo can be undone; one counts only for its own reviewer's line about
    the same record, undos that take back each other in a circle do nothing, and an estimate stays as it is."""
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
    """The answers of a kind that are not taken back, in their order."""
    undone = taken_back(decisions)
    return [d for d in decisions if d.kind == kind and d.id not in undone]


def latest_answers(decisions: Sequence[Decision]) -> pl.DataFrame:
    """Of every reviewer the latest `(at, id)` about each record that is not taken back, in order of record and
    reviewer.

    Columns: id, at, by, part, path, sha256, answer, age (years), box (4, pixels), note; claimed_then (the age that was
    shown as the claimed one, years; NULL where none was) and settles (ids).
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
    """One row a record that has answers, by record_id.

    records: record_id, part, path, age (the claimed one), sha256 (NULL: unreadable), looked (whether the file was
    looked at: where it was not, no picture can have changed), and, where they are known, error (why the picture cannot
    be read), width, height (pixels). Returned: record_id, status, answer (keep, reject, age; NULL where nothing is
    decided), age, box (4, pixels), by (reviewers, joined by `;`), at, note, answers (their number). status: `decided`;
    `conflict` where reviewers disagree (about keeping, the age, or which face is meant) and nobody settled it; where no
    answer counts: `unfit`, one does not fit the record; `claim_changed`, one keeps an age that the release no longer
    claims; `changed`, all are about another picture than the present one.

    Of several records with one name the first is meant, but rejecting it rejects all.
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
    """The answers that count for each record, by record and (at, id), each with the record's status (see `resolve`).

    Columns of `latest_answers` to `note`, and record_id, claimed, outcome (`reject`, or `keep N`: with the age N),
    disagree (whether the record's reviewers do), counts (whether the status comes from this answer: of a settled record
    only the one that settles it), status. Where some answers can be taken, those are left out that cannot, or that are
    about another picture or claim.
    """
    once = _one_of_each_name(records).rename({"age": "claimed", "sha256": "present"})
    rows = latest_answers(decisions).join(once, on=["part", "path"], how="inner")
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
    """Why an answer cannot be taken, as a key of `_TROUBLES`; 0 where it can."""
    current = pl.col("sha256").eq_missing(pl.col("present")) | ~pl.col("looked")
    other_claim = _keeps_claim() & (pl.col("claimed_then") != pl.col("claimed")).fill_null(
        pl.col("claimed_then").is_not_null()
    )
    return pl.when(~current).then(3).when(other_claim).then(2).when(_misfit().is_not_null()).then(1).otherwise(0)


def _keeps_claim() -> pl.Expr:
    return pl.col("answer").is_in(["keep", "face"])


def _misfit() -> pl.Expr:
    """What does not fit between an answer and its record: a key of `_MISFITS`; NULL where they fit.

    This is the one place that says so, for the page, the terminal, imports and folding. Of columns answer, box, claimed
    (years), error (why the picture cannot be read; NULL where it can), width, height (pixels; NULL: not known),
    unchosen_faces (where the answer must say which face is meant and does not: how many there are; else NULL).
    """
    x, y, w, h = (pl.col("box").arr.get(i) for i in range(4))
    middle = (x + w / 2).is_between(0, pl.col("width")) & (y + h / 2).is_between(0, pl.col("height"))
    return (
        pl.when(_keeps_claim() & ~pl.col("claimed").is_between(0, 99).fill_null(False))
        .then(pl.lit("claim"))
        .when((pl.col("answer") != "reject") & pl.col("error").is_not_null())
        .then(pl.lit("picture"))
        .when(~middle.fill_null(True))
        .then(pl.lit("box"))
        .when(pl.col("unchosen_faces") > 1)
        .then(pl.lit("face"))
    )


_MISFITS = {
    "claim": (
        "{name} claims {claims}, so it cannot be kept as it is.",
        "Give the right age, or reject it.",
    ),
    "picture": (
        "The picture of {name} cannot be read ({error}), so it cannot be kept.",
        "Put the right file there and curate again, or reject it.",
    ),
    "box": (
        "The middle of the box lies outside the picture of {name}, which is {width} by {height} pixels.",
        "`agebench explain` lists the faces that were found.",
    ),
    "face": (
        "{name} shows {unchosen_faces} faces, and the answer does not say which one is meant.",
        "Choose a face first, or answer the record on its own page.",
    ),
}


def misfits(decisions: Sequence[Decision], records: pl.DataFrame) -> dict[str, tuple[str, str]]:
    """The answers that do not fit the records that they are about, by id, each with a sentence and a next step: a claim
    kept that is no age, a picture kept that cannot be read, a box whose middle lies outside the picture.

    records: as `resolve` takes them. An answer about another picture or another claimed age than the present one is
    left out: it may have fitted what was shown.
    """
    once = _one_of_each_name(records).rename({"age": "claimed", "sha256": "present"})
    said = [d for d in decisions if d.kind == "decision"]
    columns = {name: [getattr(d, name) for d in said] for name in (*_LATEST, *_SAID)}
    rows = pl.DataFrame(columns, schema=_LATEST | _SAID).rename({"claimed": "claimed_then"})
    rows = rows.join(once, on=["part", "path"], how="inner").filter(_trouble() == 1).with_columns(misfit=_misfit())
    found = {}
    for row in rows.iter_rows(named=True):
        claims = "no age" if row["claimed"] is None else f"the age {row['claimed']}"
        message, next_step = _MISFITS[row["misfit"]]
        found[row["id"]] = message.format(name=f"{row['part']} {row['path']}", claims=claims, **row), next_step
    return found


def must_fit(decisions: Sequence[Decision], records: pl.DataFrame) -> None:
    """Raises UsageError for the first answer that does not fit its record (see `misfits`). Readings of an audit fit
    always: they only say what is right."""
    for message, next_step in misfits(decisions, records).values():
        raise UsageError(message, next_step)


def _one_of_each_name(records: pl.DataFrame) -> pl.DataFrame:
    """Of records with one name the first; with NULL where nothing is known of the picture."""
    unknown = {name: pl.lit(None, dtype) for name, dtype in _PICTURE.items() if name not in records.columns}
    return records.with_columns(**unknown).sort("record_id").unique(["part", "path"], keep="first", maintain_order=True)


def _settling(rows: pl.DataFrame) -> pl.Series:
    """Ids of the answers that settle their records: they name every other answer that counts and says otherwise; of
    several the latest."""
    ours = rows.filter((pl.col("settles").list.len() > 0) & (pl.col("trouble") == 0))
    pairs = ours.join(rows, on="record_id", suffix="_of")
    agrees = (pl.col("outcome") == pl.col("outcome_of")) & ~(_overlap("box", "box_of") < SAME_FACE).fill_null(False)
    named = (pl.col("id") == pl.col("id_of")) | pl.col("settles").list.contains(pl.col("id_of")) | agrees
    good = pairs.group_by("id").agg(named.all().alias("good")).filter("good")
    return ours.join(good, on="id", how="semi").unique("record_id", keep="last", maintain_order=True)["id"]


def answered_names(decisions: Sequence[Decision]) -> pl.DataFrame:
    """The names (part, path) of the records that answers are about, each once."""
    return latest_answers(decisions).select("part", "path").unique()


def without_records(decisions: Sequence[Decision], records: pl.DataFrame) -> int:
    """How many records that have answers are not among `records` (part, path)."""
    return len(answered_names(decisions).join(records, on=["part", "path"], how="anti"))


def _overlap(one: str, two: str) -> pl.Expr:
    """Intersection over union of two columns of boxes."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = ([pl.col(name).arr.get(i) for i in range(4)] for name in (one, two))
    width = pl.min_horizontal(ax + aw, bx + bw) - pl.max_horizontal(ax, bx)
    height = pl.min_horizontal(ay + ah, by + bh) - pl.max_horizontal(ay, by)
    shared = pl.max_horizontal(width, 0.0) * pl.max_horizontal(height, 0.0)
    return shared / (aw * ah + bw * bh - shared)
