"""How far estimates are off: MAE, RMSE, bias, CS, balanced MAE, with intervals; how much a draw moves the MAE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.bench.statistics.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    cluster_bootstrap,
    share_interval,
    subject_codes,
)

THRESHOLDS = tuple(range(11))  # years
AGE_GROUPS = (0, 10, 20, 30, 40, 50, 60, 70)  # where each age group begins; the last has no end


@dataclass(frozen=True)
class Estimate:
    """A statistic and its interval (None with fewer than two subjects)."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class Accuracy:
    """How far an estimator is off on a set of pictures.

    Attributes:
        n: Pictures.
        subjects: Subjects; a picture of nobody known counts as one.
        mae: Mean absolute error, years.
        rmse: Root of the mean squared error, years.
        bias: Mean signed error, estimate minus age, years: above 0 where ages are overestimated.
        balanced_mae: Mean of the MAEs of the age groups that have pictures, years: each group weighs alike.
        cs: Cumulative score by threshold: share, 0 to 1, of estimates at most so many years off.
    """

    n: int
    subjects: int
    mae: Estimate
    rmse: Estimate
    bias: Estimate
    balanced_mae: Estimate
    cs: dict[float, Estimate]


def accuracy(
    age: Floats,
    predicted: Floats,
    subjects: Sequence[object] | pl.Series,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    age_groups: Sequence[float] = AGE_GROUPS,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Accuracy:
    """All of them from one cluster bootstrap over subjects.

    age, predicted: (N,) years. subjects: (N,) who is shown, None for nobody known. thresholds: years of CS. age_groups:
    where each begins, for the balanced MAE (after Ren et al., "Balanced MSE for Imbalanced Visual Regression", CVPR
    2022, who average over equal bins; ten-year groups here, since single years of a small set hold one person).
    Raises ValueError without pictures, and for values that are not finite.
    """
    age, predicted = checked(age, predicted)
    error = predicted - age
    absolute = np.abs(error)
    member = np.searchsorted(age_groups, age, side="right")[:, None] == np.arange(len(age_groups) + 1)
    within = absolute[:, None] <= np.asarray(thresholds, dtype=np.float64)
    terms = np.column_stack(
        [np.ones_like(error), absolute, error**2, error, within, member, member * absolute[:, None]]
    ).astype(np.float64)
    groups, scores = member.shape[1], len(thresholds)

    def statistics(sums: Floats) -> Floats:
        n, total, squares, signed = (sums[..., i] for i in range(4))
        counts, totals = sums[..., 4 + scores : 4 + scores + groups], sums[..., 4 + scores + groups :]
        present = counts > 0
        by_group = np.where(present, totals / np.where(present, counts, 1), 0).sum(axis=-1) / present.sum(axis=-1)
        means = np.stack([total / n, np.sqrt(squares / n), signed / n, by_group], axis=-1)
        return np.concatenate([means, sums[..., 4 : 4 + scores] / n[..., None]], axis=-1)

    boot = cluster_bootstrap(terms, subject_codes(subjects), statistics, resamples=resamples, seed=seed)
    mae, rmse, bias, balanced = (Estimate(float(boot.values[i]), boot.interval(i, level)) for i in range(4))
    cs = {
        float(years): Estimate(float(boot.values[4 + i]), share_interval(boot, 4 + i, level))
        for i, years in enumerate(thresholds)
    }
    return Accuracy(len(error), boot.subjects, mae, rmse, bias, balanced, cs)


def checked(age: Floats, predicted: Floats) -> tuple[Floats, Floats]:
    """Both as (N,) floats. Raises ValueError where they are empty, of different lengths or not finite."""
    age, predicted = np.asarray(age, dtype=np.float64), np.asarray(predicted, dtype=np.float64)
    if age.shape != predicted.shape or age.ndim != 1 or len(age) == 0:
        raise ValueError(
            f"ages {age.shape} and predictions {predicted.shape} must be two equally long lists, not empty"
        )
    if not (np.isfinite(age).all() and np.isfinite(predicted).all()):
        raise ValueError("an age or a prediction is not a finite number")
    return age, predicted


@dataclass(frozen=True)
class DrawVariation:
    """How much the draw of a subset alone moves a number (its standard deviation has n - 1 in the denominator)."""

    draws: int
    mean: float
    standard_deviation: float | None
    low: float
    high: float


def draw_variation(values: Sequence[float] | NDArray[np.float64]) -> DrawVariation:
    """Mean, standard deviation and range of a statistic (say the MAE) over several draws of a subset; values: (D,).

    The standard deviation is None for one draw. Raises ValueError without draws.
    """
    if len(values) == 0:
        raise ValueError("there are no draws")
    array = np.asarray(values, dtype=np.float64)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else None
    return DrawVariation(len(array), math.fsum(array) / len(array), deviation, float(array.min()), float(array.max()))
