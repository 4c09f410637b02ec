"""Seconds for a 10,000-fold cluster bootstrap of every accuracy measure over 6,000 predictions (the best of three).

Run by `make bench`. The worst case is a subject a picture; MORPH has about four pictures a subject.
"""

from __future__ import annotations

import time

import numpy as np
import polars as pl

from agebench.bench.statistics.accuracy import accuracy

PREDICTIONS = 6_000
RESAMPLES = 10_000


def main() -> None:
    rng = np.random.default_rng(0)
    age = rng.integers(16, 78, PREDICTIONS).astype(float)
    predicted = age + rng.normal(0, 5, PREDICTIONS)
    for pictures in (1, 4, 12):
        subjects = pl.Series(np.arange(PREDICTIONS) // pictures)
        seconds = []
        for _ in range(3):
            begin = time.perf_counter()
            accuracy(age, predicted, subjects, resamples=RESAMPLES)
            seconds.append(time.perf_counter() - begin)
        print(f"{PREDICTIONS // pictures:>5} subjects: {min(seconds):.2f} s")


if __name__ == "__main__":
    main()
