"""Errors of age estimates: MAE, cumulative score, and their uncertainty with subjects as clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.floating]
RESAMPLES = 5000


def mae(errors: Floats) -> float | None:
    """Mean absolute error (eq. 7 of the paper). errors: (N,) years, signed or not; None if N is 0.

    The sum is rounded once (`math.fsum`), so every machine and every version of NumPy gives the same number.
    """
    return math.fsum(np.abs(errors)) / len(errors) if len(errors) else None


def cumulative_score(errors: Floats, years: float = 5) -> float | None:
    """CS(years): share 0..1 of the estimates that are at most `years` off. errors: (N,) years."""
    return float((np.abs(errors) <= years).mean()) if len(errors) else None


def mae_interval(
    errors: Floats, subjects: Sequence[str | None], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the MAE, drawing whole subjects: errors on one person are correlated.

    errors: (N,) years; subjects: (N,) who is shown, None if unknown (the picture is then its own cluster). Returns None
    for fewer than two subjects, as the error's variation cannot be estimated.
    """
    from scipy.stats import bootstrap  # takes nearly a second, and reading tables does not need it

    if len(errors) == 0:
        return None
    frame = pl.DataFrame({"error": np.abs(np.asarray(errors, dtype=np.float64)), "subject": list(subjects)})
    own = pl.format("record {}", pl.int_range(pl.len()))
    clusters = (
        frame.with_columns(cluster=pl.coalesce(pl.format("subject {}", pl.col("subject").cast(pl.Utf8)), own))
        .group_by("cluster", maintain_order=True)
        .agg(total=pl.col("error").sum(), n=pl.len())
    )
    if len(clusters) < 2:
        return None
    result = bootstrap(
        (clusters["total"].to_numpy(), clusters["n"].to_numpy().astype(np.float64)),
        lambda total, n, axis: total.sum(axis=axis) / n.sum(axis=axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=resamples,
        batch=max(1, 4_000_000 // len(clusters)),
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def within_sampling_error(interval: tuple[float, float], errors: Floats, subjects: Sequence[str | None]) -> bool:
    """Whether `interval` could be `mae_interval(errors, subjects)` from other random draws.

    Each end is a quantile of `RESAMPLES` draws, so the share of draws below it has a binomial sampling error. Two
    intervals count as the same up to four standard deviations of the difference of those shares. errors and subjects:
    as `mae_interval` takes them.
    """
    tail = 0.025
    apart = 4 * math.sqrt(2 * tail * (1 - tail) / RESAMPLES)
    inner = mae_interval(errors, subjects, level=1 - 2 * (tail + apart))
    outer = mae_interval(errors, subjects, level=1 - 2 * (tail - apart))
    if inner is None or outer is None:
        return False
    low, high = interval
    rounding = 1e-9
    return outer[0] - rounding <= low <= inner[0] + rounding and inner[1] - rounding <= high <= outer[1] + rounding
