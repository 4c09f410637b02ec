"""Errors of age estimates: MAE, cumulative score, and their uncertainty with subjects as clusters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def mae(errors: Floats) -> float | None:
    """Mean absolute error (eq. 7 of the paper). errors: (N,) years, signed or not; None where N is 0."""
    return float(np.abs(errors).mean()) if len(errors) else None


def cumulative_score(errors: Floats, years: float = 5) -> float | None:
    """CS(years): share 0..1 of the estimates that are at most so many years off. errors: (N,) years."""
    return float((np.abs(errors) <= years).mean()) if len(errors) else None


def mae_interval(
    errors: Floats, subjects: Sequence[str | None], *, level: float = 0.95, resamples: int = 5000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the MAE, drawing whole subjects: pictures of one person err alike.

    errors: (N,) years; subjects: (N,) who is shown, None for a picture of its own. None where there is one subject or
    none: nothing tells how much the error varies.
    """
    from scipy.stats import bootstrap  # nearly a second, which reading tables does not need

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
