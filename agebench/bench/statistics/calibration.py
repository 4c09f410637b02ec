"""Whether a predicted distribution over ages says how sure it may be: coverage, PIT, log likelihood, CRPS.

A distribution is (N, K): column k is the probability of age k in whole years, and true ages are whole years.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agebench.bench.statistics.bootstrap import Floats
from agebench.training.calibrate import interval_between_quantiles

LEVELS = (0.5, 0.8, 0.9, 0.95)
PIT_BINS = 10
SMALLEST = 1e-12  # a probability of 0 counts as this in the log likelihood, which else is infinite


@dataclass(frozen=True)
class Calibration:
    """How well distributions agree with the ages.

    Attributes:
        n: Pictures.
        coverage: By level, the share of the ages inside the central interval of that level.
        pit: (10,) shares of the probability integral transform in tenths of 0 to 1; 0.1 each where calibrated.
        calibration_error: Mean distance of the PIT's distribution function from the diagonal, at the tenths.
        negative_log_likelihood: Mean of -log of the true age's probability, nats.
        crps: Mean continuous ranked probability score, years; for a certain prediction it is the MAE.
    """

    n: int
    coverage: dict[float, float]
    pit: tuple[float, ...]
    calibration_error: float
    negative_log_likelihood: float
    crps: float


def calibration(age: Floats, probabilities: Floats, *, levels: Sequence[float] = LEVELS) -> Calibration:
    """All figures of `Calibration`. age: (N,) whole years, 0..K-1. probabilities: (N, K), each row sums to 1 (± 0.001).

    Raises ValueError where the shapes differ, a row is no distribution, or an age is not one of the K whole years.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    age = np.asarray(age, dtype=np.float64)
    if p.ndim != 2 or len(p) != len(age) or len(age) == 0:
        raise ValueError(
            f"probabilities {p.shape} must have a row for each of the {len(age)} ages, and there must be some"
        )
    if not np.isfinite(p).all() or (p < 0).any() or not np.allclose(p.sum(axis=1), 1, rtol=0, atol=1e-3):
        raise ValueError("a row of probabilities is no distribution: it must be at least 0 everywhere and sum to 1")
    years = age.astype(np.intp)
    if (years != age).any() or (years < 0).any() or (years >= p.shape[1]).any():
        raise ValueError(f"an age is not a whole year from 0 to {p.shape[1] - 1}")
    p = p / p.sum(axis=1, keepdims=True)
    cumulative = np.cumsum(p, axis=1).clip(0, 1)
    pit = pit_shares(cumulative, p, years)
    edges = np.arange(1, PIT_BINS) / PIT_BINS
    likelihood = p[np.arange(len(p)), years]
    return Calibration(
        n=len(p),
        coverage={float(level): central_coverage(cumulative, years, level) for level in levels},
        pit=tuple(pit.tolist()),
        calibration_error=float(np.abs(np.cumsum(pit)[:-1] - edges).mean()),
        negative_log_likelihood=float(-np.log(likelihood.clip(SMALLEST)).mean()),
        crps=float(crps(cumulative, years).mean()),
    )


def central_coverage(cumulative: Floats, years: np.ndarray, level: float) -> float:
    """Share of the ages within the central interval: from the (1 - level) / 2 quantile to the (1 + level) / 2 quantile.

    cumulative: (N, K). Ages are whole years, so an interval holds at least its level, and a calibrated estimator covers
    somewhat more; the PIT has no such excess.
    """
    low, high = interval_between_quantiles(cumulative, level)
    return float(((low <= years) & (years <= high)).mean())


def pit_shares(cumulative: Floats, p: Floats, years: np.ndarray) -> Floats:
    """(10,) shares of the PIT in tenths, without random numbers: the nonrandomised PIT for counts.

    A picture's mass is spread evenly from F(age - 1) to F(age) (Czado, Gneiting and Held, "Predictive Model Assessment
    for Count Data", Biometrics 2009, eq. 2).
    """
    row = np.arange(len(years))
    upper = cumulative[row, years]
    width = p[row, years]
    edges = np.arange(PIT_BINS + 1) / PIT_BINS
    below = (edges - (upper - width)[:, None]) / np.where(width > 0, width, 1)[:, None]
    spread = np.where((width > 0)[:, None], below.clip(0, 1), edges > upper[:, None])
    spread[:, 0], spread[:, -1] = 0, 1
    return np.diff(spread, axis=1).mean(axis=0)


def crps(cumulative: Floats, years: np.ndarray) -> Floats:
    """(N,) years: sum over k of (F(k) - [age <= k])² (Gneiting and Raftery, JASA 2007, eq. 20, on whole years)."""
    reached = np.arange(cumulative.shape[1]) >= years[:, None]
    return ((cumulative - reached) ** 2).sum(axis=1)
