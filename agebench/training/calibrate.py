"""How sure a network may be: its distributions made wider or narrower until intervals hold what they say.

Source: temperature scaling (Guo, Pleiss, Sun and Weinberger, "On calibration of modern neural networks", ICML 2017). A
power of the probabilities is the same as a division of the scores, and serves every loss that gives probabilities. The
temperature is chosen so that central intervals of several levels cover the validation records as often as they say, for
it is intervals that are reported. Ages stay the expected ones of the distribution before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = (0.8, 0.9, 0.95)
TEMPERATURES = np.geomspace(0.1, 10, 201)
ROUNDING = 1e-12  # sums of probabilities are off by so much
FEWEST = 50  # validation records; with fewer, a coverage of 90 % is uncertain by more than 8 %

Shares = NDArray[np.floating[Any]]


def tempered(probabilities: Shares, temperature: float) -> NDArray[np.float32]:
    """`p^(1/T)`, each row divided by its sum: (N, K) of (N, K). A temperature above 1 widens, one below 1 narrows."""
    logs = np.log(np.maximum(probabilities.astype(np.float64), 1e-30)) / temperature
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)


def central_interval(probabilities: Shares, level: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first and last whole year (N,) of the central interval of each distribution (N, K) over the ages 0, 1, …:
    from the (1 - level) / 2 quantile to the (1 + level) / 2 quantile, both included."""
    return interval_between_quantiles(np.cumsum(probabilities, axis=1, dtype=np.float64), level)


def interval_between_quantiles(
    cumulative: NDArray[np.float64], level: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `central_interval`, of distribution functions (N, K)."""
    last = cumulative.shape[1] - 1
    low, high = ((cumulative < (1 + sign * level) / 2 - ROUNDING).sum(axis=1) for sign in (-1, 1))
    return np.minimum(low, last), np.minimum(high, last)


def find_temperature(probabilities: Shares, ages: NDArray[np.int64]) -> float:
    """The temperature whose central intervals cover the ages (N,) most nearly as often as they say; 1 with fewer than
    `FEWEST` records. probabilities: (N, K)."""
    if len(ages) < FEWEST:
        return 1.0

    def miss(temperature: float) -> float:
        shares = tempered(probabilities, temperature)
        found = 0.0
        for level in LEVELS:
            low, high = central_interval(shares, level)
            found += (float(((low <= ages) & (ages <= high)).mean()) - level) ** 2
        return found

    misses = np.array([miss(temperature) for temperature in TEMPERATURES])
    near = TEMPERATURES[misses <= misses.min() + 1e-4]  # the coverage moves in steps: take the middle of the best ones
    return float(np.exp(np.log(near).mean()))
