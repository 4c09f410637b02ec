"""The figures of NIST's age evaluation: FATE AEV (NIST IR 8525 and face.nist.gov), on one's own pictures.

NIST averages over equal numbers of both sexes and of each age; the figures here say which weights they have. Ages are
whole years at the time of the photograph ("17" is somebody who is not yet 18), estimates are not rounded.

What is uncertain: the website says that the MAE is the mean of 26 MAEs (two sexes, ages 18 to 30), that false positive
rates of Challenge 25 concern people below the legal age, and that those of ages 13 to 16 are how often people outside
that range are estimated inside. Which ages below 18 NIST counts for Challenge 25, and whether an estimate of exactly
the threshold passes, was not found in the sources at hand: here everybody below 18 counts, as do 14 to 17 alone in
`challenge25_balanced`, and an estimate of 25.0 passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from agebench.bench.statistics.accuracy import Estimate
from agebench.bench.statistics.bootstrap import RESAMPLES, Floats, cluster_bootstrap, share_interval, subject_codes
from agebench.bench.statistics.groups import UNKNOWN, errors_by, group_labels

LEGAL_AGE = 18
CHALLENGE = 25
CHILDREN = ((8, 12), (13, 16), (17, 22))  # whole years, both ends included
ONLINE = (13, 16)
TEENAGERS = range(14, 18)
ADULTS = range(18, 31)


@dataclass(frozen=True)
class Rate:
    """A share of pictures, 0 to 1, with its 95 % interval over subjects; both None where there is no such picture.

    For a share of 0 or 1 the interval is the exact binomial one with subjects as trials.
    """

    n: int
    subjects: int
    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class NistFigures:
    """Attributes:
    challenge25: False positive rate at Challenge 25: share of the pictures of people below 18 that are estimated 25 or
        more, each picture alike.
    challenge25_by_sex: The same by gender.
    challenge25_balanced: Mean of the rates of both sexes at 14, 15, 16 and 17; None where one of the eight is missing.
    mae_18_30: Mean of the MAEs of both sexes at 18, ..., 30, years; None where one of the 26 is missing.
    in_13_to_16: By true ages (8 to 12, 13 to 16, 17 to 22): share estimated 13 or more and below 17. False positive
        rates for the first and the last, the true positive rate for 13 to 16.
    children: MAE and bias of these ages.
    by_sex_and_age: MAE and bias by gender and single year of age; columns gender and age besides those of `errors_by`.
    by_age: The same by single year of age; its bias is the signed error.
    by_interocular_distance: The same by distance of the eyes; None where that is not known.
    """

    challenge25: Rate
    challenge25_by_sex: dict[str, Rate]
    challenge25_balanced: float | None
    mae_18_30: Estimate | None
    in_13_to_16: dict[str, Rate]
    children: pl.DataFrame
    by_sex_and_age: pl.DataFrame
    by_age: pl.DataFrame
    by_interocular_distance: pl.DataFrame | None


def nist_figures(predictions: pl.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> NistFigures:
    """All figures that the predictions allow.

    predictions: columns age, predicted (years), subject_id, and where known gender and interocular_distance (pixels).
    """
    frame = predictions.with_columns(year=pl.col("age").floor().cast(pl.Int64))
    if "gender" not in frame.columns:
        frame = frame.with_columns(gender=pl.lit(None, dtype=pl.Utf8))

    def share(part: pl.DataFrame, positive: pl.Expr) -> Rate:
        return rate(part.select(positive).to_series(), part["subject_id"], resamples=resamples, seed=seed)

    def errors(part: pl.DataFrame, groups: pl.Series) -> pl.DataFrame:
        return errors_by(part, groups, resamples=resamples, seed=seed)

    challenged = pl.col("predicted") >= CHALLENGE
    minors = frame.filter(pl.col("year") < LEGAL_AGE)
    young, old = ONLINE
    looks_teenage = pl.col("predicted").is_between(young, old + 1, closed="left")
    sexes = sorted(set(frame["gender"].drop_nulls()) - {UNKNOWN})
    groups = {f"{low} to {high}": frame.filter(pl.col("year").is_between(low, high)) for low, high in CHILDREN}
    children = pl.concat([part.with_columns(children=pl.lit(name)) for name, part in groups.items()])
    by_sex = [
        errors(part, part["year"]).select(
            pl.lit(sex).alias("gender"), pl.col("group").cast(pl.Int64).alias("age"), pl.all()
        )
        for sex in sexes
        for part in [frame.filter(pl.col("gender") == sex)]
    ]
    empty = errors(frame.clear(), frame.clear()["year"]).select(
        pl.lit("").alias("gender"), pl.lit(0).cast(pl.Int64).alias("age"), pl.all()
    )
    distance = "interocular_distance"
    names = pl.Enum(list(groups))
    return NistFigures(
        challenge25=share(minors, challenged),
        challenge25_by_sex={sex: share(minors.filter(pl.col("gender") == sex), challenged) for sex in sexes},
        challenge25_balanced=_cell_mean(frame.with_columns(value=challenged.cast(pl.Float64)), sexes, TEENAGERS),
        mae_18_30=_balanced_mae(frame, sexes, resamples=resamples, seed=seed),
        in_13_to_16={name: share(part, looks_teenage) for name, part in groups.items()},
        children=errors(children, children["children"].cast(names)),
        by_sex_and_age=pl.concat([empty.clear(), *by_sex]),
        by_age=errors(frame, frame["year"]).with_columns(age=pl.col("group").cast(pl.Int64)),
        by_interocular_distance=errors(frame, group_labels(frame[distance])) if distance in frame.columns else None,
    )


def rate(
    positive: pl.Series, subjects: Sequence[object] | pl.Series, *, resamples: int = RESAMPLES, seed: int = 0
) -> Rate:
    """Share of the pictures that are positive. positive: (N,) booleans; subjects: (N,) who is shown."""
    if len(positive) == 0:
        return Rate(0, 0, None, None)
    terms = np.column_stack([positive.to_numpy(), np.ones(len(positive))]).astype(np.float64)

    def mean(sums: Floats) -> Floats:
        return sums[..., :1] / sums[..., 1:]

    boot = cluster_bootstrap(terms, subject_codes(subjects), mean, resamples=resamples, seed=seed)
    return Rate(len(positive), boot.subjects, float(boot.values[0]), share_interval(boot, 0))


def _cells(frame: pl.DataFrame, sexes: Sequence[str], years: range) -> pl.DataFrame:
    """The rows of both sexes at these years with the number of their cell; none where a cell is empty."""
    cells = pl.DataFrame(
        [(sex, year) for sex in sexes for year in years], {"gender": pl.Utf8, "year": pl.Int64}, orient="row"
    )
    found = frame.join(cells.with_row_index("cell"), on=["gender", "year"])
    return found if len(sexes) == 2 and found["cell"].n_unique() == len(cells) else found.clear()


def _cell_mean(frame: pl.DataFrame, sexes: Sequence[str], years: range) -> float | None:
    """Mean over the cells of the means of column `value`; None where a cell is empty."""
    mean = _cells(frame, sexes, years).group_by("cell").agg(pl.col("value").mean())["value"].mean()
    return None if mean is None else float(mean)  # type: ignore[arg-type]


def _balanced_mae(frame: pl.DataFrame, sexes: Sequence[str], *, resamples: int, seed: int) -> Estimate | None:
    """Mean of the 26 MAEs. A resample without one of the cells takes the mean of the others."""
    found = _cells(frame, sexes, ADULTS)
    if found.is_empty():
        return None
    count = 2 * len(ADULTS)
    member = (found["cell"].to_numpy()[:, None] == np.arange(count)).astype(np.float64)
    absolute = (found["predicted"] - found["age"]).abs().to_numpy()

    def mean_of_cells(sums: Floats) -> Floats:
        return np.nanmean(sums[..., count:] / sums[..., :count], axis=-1, keepdims=True)

    codes = subject_codes(found["subject_id"])
    terms = np.column_stack([member, member * absolute[:, None]])
    boot = cluster_bootstrap(terms, codes, mean_of_cells, resamples=resamples, seed=seed)
    return Estimate(float(boot.values[0]), boot.interval(0))
