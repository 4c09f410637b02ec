"""The share of wrong labels, estimated from readings of a sample.

Reviewers make mistakes too, so half of the sample is read twice, and the share of wrong labels p is estimated together
with the reviewers' mistake rate: each reading of a record is wrong with the rate e, whichever way and independently of
other readings. p has a flat prior, e a Beta(2, 38) prior: 5 % on average, 0.6 to 13 % with a probability of 95 %.
Mistakes that every reading of a record would make alike cannot be seen so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKES = (2.0, 38.0)  # Beta prior of a reviewer's mistake rate
LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Posterior:
    """Quantiles (2.5 %, 50 %, 97.5 %) of the share of wrong labels and of the reviewers' mistake rate.

    interval: 95 % of the share's posterior: the central ones; where the shortest 95 % begin at 0, from 0, for the
    central ones never hold a share of 0.
    """

    wrong: tuple[float, float, float]
    mistakes: tuple[float, float, float]
    interval: tuple[float, float]


def posterior(pairs: Iterable[tuple[int, int]]) -> Posterior:
    """The posterior on a grid, from (readings that say wrong, readings) of every record that was read.

    A record with k of r readings `wrong` has the likelihood p (1 - e)^k e^(r - k) + (1 - p) e^k (1 - e)^(r - k).
    """
    from scipy.special import betainc  # every command that folds answers would wait for it

    counts: dict[tuple[int, int], int] = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    edges = np.linspace(0, 1, 801) ** 2  # finer near 0, where labels worth keeping are
    p, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    steps = np.linspace(0, 0.5, 251)  # who is wrong more often than not reads nothing
    e, chance = (steps[1:] + steps[:-1]) / 2, np.diff(betainc(*MISTAKES, steps))
    likelihood = np.zeros((len(p), len(e)))
    for (wrong, of), n in counts.items():
        right = of - wrong
        likelihood += n * np.log(
            p[:, None] * (1 - e) ** wrong * e**right + (1 - p[:, None]) * e**wrong * (1 - e) ** right
        )
    weight = np.exp(likelihood - likelihood.max()) * width[:, None] * chance
    shares, rates = _below(weight.sum(axis=1)), _below(weight.sum(axis=0))
    low, middle, high = _quantiles(shares, edges)
    starts = np.linspace(0, LEVELS[0] + 1 - LEVELS[2], 101)
    widths = np.interp(starts + LEVELS[2] - LEVELS[0], shares, edges) - np.interp(starts, shares, edges)
    interval = (low if np.argmin(widths) else 0.0, high)
    return Posterior((low, middle, high), _quantiles(rates, steps), interval)


def _below(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """The distribution function at the edges of cells of these weights."""
    return np.concatenate([[0.0], np.cumsum(weight) / weight.sum()])


def _quantiles(below: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.interp(LEVELS, below, edges)
    return float(low), float(middle), float(high)
