"""How far reviewers agree, and the records on which they do not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from agebench.errors import Missing
from agebench.review.decisions import Decision
from agebench.review.resolution import compared


@dataclass(frozen=True)
class Agreement:
    """How far reviewers agree on the records that several of them answered.

    reviewers: how many records each one answered. several: records with answers from several reviewers; agreed: those
    on which all of them agree. measure: `Cohen's kappa` for two reviewers, `Krippendorff's alpha` (nominal) for more;
    None if nothing can be compared. value: 1 is full agreement, 0 is what chance gives; None if all answers are the
    same, since chance explains that. disagreements: the records that still have to be settled, each with part, path,
    age (claimed) and answers (by, answer, box, at, note). settled: records on which reviewers disagreed until an answer
    settled it.
    """

    reviewers: dict[str, int]
    several: int
    agreed: int
    measure: str | None
    value: float | None
    disagreements: list[dict[str, Any]] = field(default_factory=list)
    settled: int = 0


def agreement(decisions: Sequence[Decision], records: pl.DataFrame) -> Agreement:
    """Compare the latest answers of all reviewers about the current pictures. records: as in `resolution.resolve`.

    Answers are compared by their outcome: `reject`, or the age with which they keep the record, so `keep` agrees with
    `age` if the age is the claimed one. An answer that settles a record was given with the others in view and is not
    compared with them.
    """
    taken = pl.col("status").is_in(["decided", "conflict"])
    everything = compared(decisions, records).filter(taken)
    rows = compared([d for d in decisions if not d.settles], records).filter(taken)
    reviewers = {name: int(n) for name, n in everything.group_by("by").len().sort("by").iter_rows()}
    several = rows.filter(pl.len().over("record_id") > 1)
    matrix = (
        several.pivot(on="by", index="record_id", values="outcome").drop("record_id")
        if len(several)
        else pl.DataFrame()
    )
    measure, value = _coefficient(matrix)
    open_ = everything.filter(pl.col("status") == "conflict")
    listed = [
        {
            "part": group["part"][0], "path": group["path"][0], "age": group["claimed"][0],
            "answers": [
                {"by": d["by"], "answer": d["outcome"], "box": d["box"], "at": d["at"], "note": d["note"]}
                for d in group.sort("by").to_dicts()
            ],
        }
        for group in open_.partition_by("record_id", maintain_order=True)
    ]  # fmt: skip
    n, apart = several["record_id"].n_unique(), several.filter("disagree")["record_id"].unique()
    settled = everything.filter(~pl.col("counts") & pl.col("record_id").is_in(apart.implode()))["record_id"].n_unique()
    return Agreement(reviewers, n, n - len(apart), measure, value, listed, settled)


def _coefficient(matrix: pl.DataFrame) -> tuple[str | None, float | None]:
    """(measure, value) of a table with one row per record and one column per reviewer; NULL: no answer."""
    if matrix.width < 2:
        return None, None
    codes = {outcome: i for i, outcome in enumerate(sorted({v for column in matrix for v in column.drop_nulls()}))}
    coded = matrix.select(pl.all().replace_strict(codes, default=None, return_dtype=pl.Float64))
    if matrix.width == 2:
        from sklearn.metrics import cohen_kappa_score

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a single label, for which the value is None
            both = coded.drop_nulls()
            value = float(cohen_kappa_score(*(column.cast(pl.Int64).to_numpy() for column in both)))
        return "Cohen's kappa", None if math.isnan(value) else value
    if len(codes) < 2:
        return "Krippendorff's alpha", None
    try:
        import krippendorff
    except ModuleNotFoundError as error:
        extra = "`pip install 'agebench[review]'` brings it."
        raise Missing("Agreement among more than two reviewers needs krippendorff.", extra) from error
    table = coded.cast(pl.Float64).fill_null(float("nan")).to_numpy().T
    return "Krippendorff's alpha", float(krippendorff.alpha(reliability_data=table, level_of_measurement="nominal"))
