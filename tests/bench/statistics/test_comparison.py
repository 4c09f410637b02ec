"""Paired differences against scipy, Holm's correction against statsmodels."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests

from agebench.bench.statistics.comparison import all_differences, holm, paired_difference


def predictions(seed: int, spread: float, n: int = 400) -> pl.DataFrame:
    age = np.random.default_rng(0).integers(0, 80, n).astype(float)
    predicted = age + np.random.default_rng(seed).normal(0, spread, n)
    return pl.DataFrame({"path": [f"{i}.jpg" for i in range(n)], "age": age, "predicted": predicted}).with_columns(
        subject_id=pl.lit(None, dtype=pl.Utf8)
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holm_agrees_with_statsmodels(p: list[float]) -> None:
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_the_paired_difference_agrees_with_a_paired_t_test_where_pictures_are_independent() -> None:
    first, second = predictions(1, 5), predictions(2, 5.4)
    found = paired_difference(first, second, resamples=20_000)
    errors = [(f["predicted"] - f["age"]).abs().to_numpy() for f in (first, second)]
    theirs = ttest_rel(*errors)
    assert found.difference == pytest.approx(errors[0].mean() - errors[1].mean())
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval()), abs=0.05)
    assert found.p == pytest.approx(theirs.pvalue, abs=0.02)


def test_only_pictures_that_both_predicted_count_in_any_order() -> None:
    first, second = predictions(1, 5).head(300), predictions(2, 6).tail(300)
    found = paired_difference(first, second, resamples=500)
    again = paired_difference(first.reverse(), second.sample(fraction=1, shuffle=True, seed=1), resamples=500)
    assert found.n == again.n == 200
    assert found.interval == pytest.approx(again.interval)
    swapped = paired_difference(second, first, resamples=500)
    assert swapped.difference == pytest.approx(-(found.difference or 0))


def test_nothing_in_common_gives_no_difference() -> None:
    found = paired_difference(predictions(1, 5).head(5), predictions(2, 5).tail(5))
    assert (found.n, found.difference, found.p) == (0, None, None)


def test_double_pictures_and_different_ages_are_refused() -> None:
    one = predictions(1, 5)
    with pytest.raises(ValueError, match="two predictions"):
        paired_difference(pl.concat([one, one]), one)
    with pytest.raises(ValueError, match="different ages"):
        paired_difference(one, one.with_columns(pl.col("age") + 1))


def test_all_pairs_are_compared_and_corrected_together() -> None:
    good = predictions(1, 3)
    mirrored = good.with_columns(predicted=2 * pl.col("age") - pl.col("predicted"))  # errs as much, the other way
    estimators = {"good": good, "alike": mirrored, "bad": predictions(3, 6)}
    found = all_differences(estimators, resamples=2000)
    assert [(d.first, d.second) for d in found] == [("good", "alike"), ("good", "bad"), ("alike", "bad")]
    assert [d.p_holm for d in found] == pytest.approx(holm([d.p or 0 for d in found]))
    assert found[0].p_holm is not None
    assert found[0].p_holm > 0.05 > (found[1].p_holm or 1)


def test_an_estimator_does_not_differ_from_itself() -> None:
    found = paired_difference(predictions(1, 5), predictions(1, 5), resamples=100)
    assert (found.difference, found.p) == (0, 1)
