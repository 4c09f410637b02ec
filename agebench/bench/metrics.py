"""Errors of age estimates: MAE, cumulative score, and their uncertainty with subjects as clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agebench.bench.statistics.bootstrap import (
    RESAMPLES,
    Bootstrap,
    Interval,
    cluster_bootstrap,
    expanded_tail,
    percentile_interval,
    subject_codes,
)

Floats = NDArray[np.floating]


def mae(errors: Floats) -> float | None:
    """Mean absolute error (eq. 7 of the paper). errors: (N,) years, signed or not; None where N is 0.

    The sum is rounded once (`math.fsum`), so every machine and every version of NumPy gives the same number.
    """
    return math.fsum(np.abs(errors)) / len(errors) if len(errors) else None


def cumulative_score(errors: Floats, years: float = 5) -> float | None:
    """CS(years): share 0..1 of the estimates that are at most so many years off. errors: (N,) years."""
    return float((np.abs(errors) <= years).mean()) if len(errors) else None


def mae_interval(
    errors: Floats, subjects: Sequence[str | None], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """Cluster bootstrap interval of the MAE (`statistics.bootstrap`): pictures of one person err alike.

    errors: (N,) years; subjects: (N,) who is shown, None for a picture of its own. None where there is one subject or
    none: nothing tells how much the error varies.
    """
    return _mae_bootstrap(errors, subjects, resamples, seed).interval(0, level)


def _mae_bootstrap(errors: Floats, subjects: Sequence[str | None], resamples: int, seed: int) -> Bootstrap:
    terms = np.column_stack([np.abs(np.asarray(errors, dtype=np.float64)), np.ones(len(errors))])

    def mean(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return sums[..., :1] / sums[..., 1:]

    return cluster_bootstrap(terms, subject_codes(subjects), mean, resamples=resamples, seed=seed)


def within_sampling_error(interval: tuple[float, float], errors: Floats, subjects: Sequence[str | None]) -> bool:
    """Whether `interval` could be `mae_interval(errors, subjects)` from other random draws.

    Each end is a quantile of `RESAMPLES` draws, so the share of draws below it has a binomial sampling error. Two
    intervals count as the same up to four standard deviations of the difference of those shares. errors and subjects:
    as `mae_interval` takes them.
    """
    boot = _mae_bootstrap(errors, subjects, RESAMPLES, 0)
    if boot.subjects < 2:
        return False
    tail = expanded_tail(boot.subjects)
    apart = 4 * math.sqrt(2 * tail * (1 - tail) / RESAMPLES)
    inner = percentile_interval(boot.samples[:, 0], boot.subjects, shift=apart)
    if apart < tail:
        outer = percentile_interval(boot.samples[:, 0], boot.subjects, shift=-apart)
    else:  # with few subjects an end is among the most extreme draws, which only the errors themselves bound
        outer = float(np.abs(errors).min()), float(np.abs(errors).max())
    if inner is None or outer is None:
        return False
    low, high = interval
    rounding = 1e-9
    return outer[0] - rounding <= low <= inner[0] + rounding and inner[1] - rounding <= high <= outer[1] + rounding
