"""Paired differences between estimators, and Holm's correction over all pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import polars as pl

from agebench.bench.statistics.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    cluster_bootstrap,
    subject_codes,
)


@dataclass(frozen=True)
class Difference:
    """MAE of `first` minus MAE of `second`, years: below 0 where `first` is better.

    Attributes:
        first, second: The estimators.
        n: Pictures that both predicted.
        subjects: Subjects on them.
        difference: Years; None where no picture was predicted by both.
        interval: Its 95 % interval, of this pair alone; None with fewer than two subjects.
        p: Two-sided p of no difference; None likewise.
        p_holm: The same after Holm's correction over all pairs that have one.
    """

    first: str
    second: str
    n: int
    subjects: int
    difference: float | None
    interval: Interval | None
    p: float | None
    p_holm: float | None


def paired_difference(
    first: pl.DataFrame, second: pl.DataFrame, *, key: str = "path", resamples: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Difference of two estimators' MAEs over the pictures that both predicted, with a cluster bootstrap over subjects.

    first, second: columns `key` (unique), age and predicted (years), subject_id (of `first` where they differ).
    Raises ValueError where a key is double or the two give a picture different ages.
    """
    for frame in (first, second):
        if frame[key].is_duplicated().any():
            raise ValueError(f"a picture has two predictions: column {key} must be unique")
    both = first.select(key, "age", "predicted", "subject_id").join(
        second.select(key, other_age="age", other="predicted"), on=key, maintain_order="left"
    )
    if (both["age"] != both["other_age"]).any():
        raise ValueError("the estimators were measured against different ages")
    if both.is_empty():
        return Difference("first", "second", 0, 0, None, None, None, None)
    age = both["age"].to_numpy()
    gained = np.abs(both["predicted"].to_numpy() - age) - np.abs(both["other"].to_numpy() - age)
    terms = np.column_stack([gained, np.ones(len(gained))]).astype(np.float64)

    def mean(sums: Floats) -> Floats:
        return sums[..., :1] / sums[..., 1:]

    boot = cluster_bootstrap(terms, subject_codes(both["subject_id"]), mean, resamples=resamples, seed=seed)
    value = float(boot.values[0])
    return Difference("first", "second", len(both), boot.subjects, value, boot.interval(0), boot.p_value(0), None)


def all_differences(
    estimators: Mapping[str, pl.DataFrame], *, key: str = "path", resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Paired differences of all pairs, in the order of the estimators, with Holm's correction over them.

    Estimators of the same pictures share one bootstrap; others are compared pair by pair (see `paired_difference`).
    """
    if len({frozenset(frame[key]) for frame in estimators.values()}) == 1:
        pairs = _same_pictures(estimators, key=key, resamples=resamples, seed=seed)
    else:
        pairs = [
            replace(
                paired_difference(estimators[first], estimators[second], key=key, resamples=resamples, seed=seed),
                first=first,
                second=second,
            )
            for first, second in combinations(estimators, 2)
        ]
    adjusted = holm_where_known([pair.p for pair in pairs])
    return [replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True)]


def _same_pictures(estimators: Mapping[str, pl.DataFrame], *, key: str, resamples: int, seed: int) -> list[Difference]:
    """The differences of all pairs, without correction, of estimators that predicted the same pictures.

    Raises as `paired_difference` does.
    """
    first = next(iter(estimators.values()))
    columns = []
    for frame in estimators.values():
        if frame[key].is_duplicated().any():
            raise ValueError(f"a picture has two predictions: column {key} must be unique")
        both = first.select(key, "age").join(
            frame.select(key, other_age="age", other="predicted"), on=key, maintain_order="left"
        )
        if (both["age"] != both["other_age"]).any():
            raise ValueError("the estimators were measured against different ages")
        columns.append((both["other"] - both["age"]).abs().to_numpy())

    def means(sums: Floats) -> Floats:
        return sums[..., :-1] / sums[..., -1:]

    terms = np.column_stack([*columns, np.ones(len(first))]).astype(np.float64)
    boot = cluster_bootstrap(terms, subject_codes(first["subject_id"]), means, resamples=resamples, seed=seed)
    found = []
    for (i, one), (j, other) in combinations(enumerate(estimators), 2):
        difference = boot.difference(i, j)
        value, interval, p = float(difference.values[0]), difference.interval(0), difference.p_value(0)
        found.append(Difference(one, other, len(first), boot.subjects, value, interval, p, None))
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """p values after Holm's step-down correction (Holm, 1979), in the order given: control of the family-wise error.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none may fall below one before it, nor exceed 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def holm_where_known(p_values: Sequence[float | None]) -> list[float | None]:
    """As `holm`, of those that are known; the others stay None."""
    adjusted = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(adjusted) for p in p_values]


def to_best(differences: Sequence[Difference], best: str) -> list[Difference]:
    """The differences of all others from the best estimator (MAE of the other minus that of the best), in order."""
    found = []
    for pair in differences:
        if pair.first == best:
            found.append(_turned(pair))
        elif pair.second == best:
            found.append(pair)
    return found


def _turned(pair: Difference) -> Difference:
    interval = (-pair.interval[1], -pair.interval[0]) if pair.interval else None
    value = None if pair.difference is None else -pair.difference
    return Difference(pair.second, pair.first, pair.n, pair.subjects, value, interval, pair.p, pair.p_holm)
