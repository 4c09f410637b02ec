"""Where an estimator fails: its errors by age group, gender, race, face size, sharpness and pose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import polars as pl

from agebench.bench.statistics.accuracy import AGE_GROUPS, accuracy
from agebench.bench.statistics.bootstrap import RESAMPLES

FEW_SUBJECTS = 20  # below, an interval covers less often than it says
UNKNOWN = "unknown"
EDGES: dict[str, tuple[float, ...]] = {
    "age": AGE_GROUPS[1:],  # years
    "face_size": (32, 64, 128, 256),  # pixels
    "interocular_distance": (20, 40, 60, 80),  # pixels
    "yaw": (15, 30, 45),  # degrees from the frontal view, to either side
}
QUARTILES = ("sharpness", "face_sharpness", "blur")  # compared within a set only: quarters of the set
CATEGORIES = ("gender", "race")


def breakdown(
    predictions: pl.DataFrame, by: Sequence[str] | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> pl.DataFrame:
    """MAE and bias of each group of pictures, a row a group.

    predictions: columns age, predicted (years), subject_id, and those of `by`. by: columns of `EDGES` (fixed bins),
    `QUARTILES` and `CATEGORIES`; without it all of them that there are. A picture without a value is in the group
    "unknown".

    Returns columns by, group, n, subjects, mae, mae_low, mae_high, bias, bias_low, bias_high (years; the ends are null
    with fewer than two subjects), few_subjects (fewer than `FEW_SUBJECTS`: read with care).
    """
    known = (*EDGES, *CATEGORIES, *QUARTILES)
    columns = [column for column in known if column in predictions.columns] if by is None else by
    parts = [
        errors_by(predictions, group_labels(predictions[column]), resamples=resamples, seed=seed).select(
            pl.lit(column).alias("by"), pl.all()
        )
        for column in columns
    ]
    return pl.concat(parts) if parts else errors_by(predictions.clear(), pl.Series([], dtype=pl.Utf8))


def errors_by(
    predictions: pl.DataFrame, groups: pl.Series, *, resamples: int = RESAMPLES, seed: int = 0
) -> pl.DataFrame:
    """MAE and bias of each group, in the order of an Enum's categories, else of the names; "unknown" comes last.

    groups: (N,) the group of each picture. Returns the columns of `breakdown` without `by`.
    """
    rows = []
    labelled = predictions.with_columns(group=groups)
    for (group,), part in labelled.sort("group", maintain_order=True).group_by("group", maintain_order=True):
        found = accuracy(
            part["age"].to_numpy(), part["predicted"].to_numpy(), part["subject_id"],
            thresholds=(), resamples=resamples, seed=seed,
        )  # fmt: skip
        mae, bias = found.mae.interval or (None, None), found.bias.interval or (None, None)
        few = found.subjects < FEW_SUBJECTS
        rows.append((str(group), found.n, found.subjects, found.mae.value, *mae, found.bias.value, *bias, few))
    schema = {"group": pl.Utf8, "n": pl.Int64, "subjects": pl.Int64} | dict.fromkeys(
        ("mae", "mae_low", "mae_high", "bias", "bias_low", "bias_high"), pl.Float64
    )
    return pl.DataFrame(rows, schema={**schema, "few_subjects": pl.Boolean}, orient="row")


def group_labels(values: pl.Series) -> pl.Series:
    """(N,) the group of each value, an Enum in the order of the bins. Raises ValueError for an unknown column."""
    if values.name in CATEGORIES:
        names = values.cast(pl.Utf8)
        return names.fill_null(UNKNOWN).cast(pl.Enum([*sorted(set(names.drop_nulls()) - {UNKNOWN}), UNKNOWN]))
    if values.name in QUARTILES:
        inner = values.drop_nulls().to_numpy()
        edges = np.unique(np.quantile(inner, [0.25, 0.5, 0.75])) if len(inner) else np.array([])
        return binned(values, [float(f"{edge:.3g}") for edge in edges])  # quarters but for rounding
    if values.name not in EDGES:
        raise ValueError(f"there are no bins for column {values.name}")
    return binned(values.abs() if values.name == "yaw" else values, EDGES[values.name])


def binned(values: pl.Series, edges: Sequence[float]) -> pl.Series:
    """(N,) the bin of each value as "< 15", "15 to < 30", "≥ 45": a bin holds its lower edge, not its upper one."""
    names = [f"{edge:g}" for edge in edges]
    if not names:
        labels = ["all"]
    else:
        inner = [f"{low} to < {high}" for low, high in pairwise(names)]
        labels = [f"< {names[0]}", *inner, f"≥ {names[-1]}"]
    places = pl.Series(np.searchsorted(edges, values.cast(pl.Float64).to_numpy(), side="right"))
    found = pl.DataFrame({"place": places, "known": values.is_not_null()}).select(
        pl.when("known").then(pl.col("place")).replace_strict(
            dict(enumerate(labels)), default=None, return_dtype=pl.Utf8
        ).fill_null(UNKNOWN)
    )  # fmt: skip
    return found.to_series().cast(pl.Enum([*labels, UNKNOWN]))
