"""The share of wrong labels, estimated from readings of a sample.

Reviewers make mistakes too, so about half of the sample is read twice, and the share of wrong labels p is estimated
together with the reviewers' error rate e. Each reading is wrong with probability e, in either direction and
independently of other readings. p has a flat prior, e a Beta(2, 38) prior: 5 % on average, 0.6 to 13 % with a
probability of 95 %. Mistakes that every reading of a record makes alike cannot be detected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MISTAKES = (2.0, 38.0)  # Beta prior of the reviewers' error rate
LEVELS = (0.025, 0.5, 0.975)


@dataclass(frozen=True)
class Posterior:
    """Quantiles (2.5 %, 50 %, 97.5 %) of the share of wrong labels and of the reviewers' error rate.

    interval: of the share. The central 95 % of the posterior; but from 0 if the shortest 95 % begin at 0, because the
    central interval never includes a share of 0.
    """

    wrong: tuple[float, float, float]
    mistakes: tuple[float, float, float]
    interval: tuple[float, float]


def posterior(pairs: Iterable[tuple[int, int]]) -> Posterior:
    """The posterior on a grid, from (readings that call the label wrong, readings) of every record that was read.

    A record with k of r readings `wrong` has the likelihood p (1 - e)^k e^(r - k) + (1 - p) e^k (1 - e)^(r - k).
    """
    from scipy.special import (
        betainc,
    )  # imported here because it is slow and most commands that fold answers do not need it

    counts: dict[tuple[int, int], int] = {}
    for pair in pairs:
        counts[pair] = counts.get(pair, 0) + 1
    edges = np.linspace(0, 1, 801) ** 2  # finer near 0, where the share is for labels worth keeping
    p, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    steps = np.linspace(0, 0.5, 251)  # a reader who is wrong more often than not tells nothing
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
    """The cumulative distribution at the edges of cells with these weights."""
    return np.concatenate([[0.0], np.cumsum(weight) / weight.sum()])


def _quantiles(below: NDArray[np.float64], edges: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.interp(LEVELS, below, edges)
    return float(low), float(middle), float(high)
