"""The cluster bootstrap: how sure a number is where pictures of one person err alike.

Whole subjects are drawn with replacement, as many as there are. Intervals are expanded percentile intervals
(Hesterberg, "What Teachers Should Know About the Bootstrap", 2015, section 5.3): with few subjects the plain percentile
interval is too narrow, so the tails are those of Student's t with one degree of freedom less than there are subjects.
In simulations with 40 and 82 subjects, 95 % intervals of the MAE covered 93 to 94 %, those of the RMSE 92 %;
expanded BCa intervals did hardly better (RMSE: 92 to 93 %).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]
Statistics = Callable[[Floats], Floats]  # sums of the terms, (..., S), to statistics, (..., T)

RESAMPLES = 5000
BATCH = 500_000  # draws of a subject at a time: their counts take 8 bytes each


@dataclass(frozen=True)
class Bootstrap:
    """Statistics of the pictures, and of as many pictures drawn by subject.

    Attributes:
        values: (T,) the statistics.
        samples: (R, T) the same of each resample; none (R = 0) where there are fewer than two subjects. A statistic
            that a resample leaves undefined is NaN there.
        subjects: Number of clusters.
    """

    values: Floats
    samples: Floats
    subjects: int

    def difference(self, first: int, second: int) -> Bootstrap:
        """One statistic minus another, from the same draws."""
        apart = self.samples[:, [first]] - self.samples[:, [second]]
        return Bootstrap(self.values[[first]] - self.values[[second]], apart, self.subjects)

    def interval(self, index: int, level: float = 0.95) -> Interval | None:
        """Expanded percentile interval of one statistic; None with fewer than two subjects."""
        return percentile_interval(self.samples[:, index], self.subjects, level)

    def p_value(self, index: int, null: float = 0.0) -> float | None:
        """Two-sided p of `values[index] == null`: twice the smaller share of resamples beyond it, at most 1.

        One is added to each count (Davison and Hinkley, 1997, eq. 4.11), so that p is never 0. None with fewer than two
        subjects.
        """
        sample = self.samples[:, index]
        if self.subjects < 2:
            return None
        rarer = min(int((sample <= null).sum()), int((sample >= null).sum()))
        return min(1.0, 2 * (rarer + 1) / (len(sample) + 1))


def percentile_interval(sample: Floats, subjects: int, level: float = 0.95, *, shift: float = 0.0) -> Interval | None:
    """Expanded percentile interval of one statistic's resamples, (R,). `shift` is added to the share in each tail."""
    if subjects < 2 or not np.isfinite(sample).any():
        return None
    tail = expanded_tail(subjects, level) + shift
    low, high = np.nanquantile(sample, [tail, 1 - tail])
    return float(low), float(high)


def expanded_tail(subjects: int, level: float = 0.95) -> float:
    """Share of the resamples that lies below an expanded percentile interval."""
    from scipy.special import ndtr, stdtrit  # reading tables does without scipy

    return float(ndtr(math.sqrt(subjects / (subjects - 1)) * stdtrit(subjects - 1, (1 - level) / 2)))


def subject_codes(subjects: Sequence[object] | pl.Series) -> NDArray[np.intp]:
    """(N,) a number for each picture's subject, from 0; a picture of nobody known (None) is a subject of its own."""
    named = pl.DataFrame({"subject": pl.Series(subjects, dtype=pl.Utf8, strict=False)}).with_columns(
        alone=pl.when(pl.col("subject").is_null()).then(pl.int_range(pl.len()))
    )
    return (named.select(pl.struct("subject", "alone").rank("dense") - 1).to_series()).to_numpy().astype(np.intp)


def cluster_bootstrap(
    terms: Floats, codes: NDArray[np.intp], statistics: Statistics, *, resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """Statistics that are functions of sums over pictures, with their bootstrap distribution, in one pass.

    terms: (N, S) what is summed, a row a picture. codes: (N,) subjects as `subject_codes` numbers them. statistics:
    takes sums (..., S), gives (..., T). The resamples of all statistics are the same draws of subjects. Subjects are
    ordered by their sums, so neither the order of the pictures nor the subjects' names change the result.
    """
    clusters = int(codes.max()) + 1 if len(codes) else 0
    sums = np.stack([np.bincount(codes, weights=term, minlength=clusters) for term in terms.T], axis=1)
    sums = sums[np.lexsort(sums.round(9).T)]
    drawn = np.empty((resamples if clusters > 1 else 0, terms.shape[1]))
    rng = np.random.default_rng(seed)
    rows = max(1, BATCH // max(1, clusters))
    for begin in range(0, len(drawn), rows):
        size = min(rows, len(drawn) - begin)
        draws = rng.integers(0, clusters, (size, clusters)) + np.arange(size)[:, None] * clusters
        counts = np.bincount(draws.ravel(), minlength=size * clusters).reshape(size, clusters)
        drawn[begin : begin + size] = counts.astype(np.float64) @ sums
    with np.errstate(invalid="ignore", divide="ignore"):
        return Bootstrap(statistics(terms.sum(axis=0)), statistics(drawn), clusters)


def crossed_bootstrap(
    errors: Floats, codes: NDArray[np.intp], *, resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """Means over seeds and pictures, with subjects and seeds drawn independently of each other (Owen, "The pigeonhole
    bootstrap", 2007): what another training and other people would have given.

    errors: (A, S, N) of A models, each trained with the same S seeds, on the same N pictures. codes: (N,) subjects as
    `subject_codes` numbers them. One seed less than there are is drawn, so that the variance between few seeds is not
    underestimated (Rao and Wu, 1988); a single seed is always drawn. values and samples are of the A means, from the
    same draws, so differences of the columns are paired.
    """
    models, seeds, _ = errors.shape
    clusters = int(codes.max()) + 1 if len(codes) else 0
    sums = np.stack([np.bincount(codes, weights=one, minlength=clusters) for one in errors.reshape(models * seeds, -1)])
    sizes = np.bincount(codes, minlength=clusters).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples if clusters > 1 else 0, models))
    rows = max(1, BATCH // max(1, clusters))
    for begin in range(0, len(drawn), rows):
        size = min(rows, len(drawn) - begin)
        draws = rng.integers(0, clusters, (size, clusters)) + np.arange(size)[:, None] * clusters
        counts = np.bincount(draws.ravel(), minlength=size * clusters).reshape(size, clusters).astype(np.float64)
        means = (counts @ sums.T).reshape(size, models, seeds) / (counts @ sizes)[:, None, None]
        weights = rng.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size) / max(1, seeds - 1)
        drawn[begin : begin + size] = (means * weights[:, None, :]).sum(axis=2)
    return Bootstrap(errors.mean(axis=(1, 2)), drawn, clusters)


def share_interval(bootstrap: Bootstrap, index: int, level: float = 0.95) -> Interval | None:
    """Interval of a share. A share of 0 or 1 is the same in every resample, yet not certain: it gets the exact binomial
    interval (Clopper and Pearson, 1934) with the subjects as the trials."""
    share, n = float(bootstrap.values[index]), bootstrap.subjects
    if share not in (0.0, 1.0):
        return bootstrap.interval(index, level)
    from scipy.stats import binomtest

    found = binomtest(round(share) * n, n).proportion_ci(level, "exact")
    return float(found.low), float(found.high)
