"""Accuracy and its intervals against scikit-learn, scipy and simulated data sets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import mean_absolute_error, root_mean_squared_error

from agebench.bench.statistics.accuracy import accuracy, draw_variation
from agebench.bench.statistics.bootstrap import expanded_tail, subject_codes

Array = np.ndarray


def simulated(rng: np.random.Generator, people: int) -> tuple[Array, Array, Array]:
    """Ages, predictions and subjects: each person has an error of their own, and each picture another on top."""
    subject = np.repeat(np.arange(people), 1 + rng.poisson(8, people))
    error = 1 + rng.normal(0, 4, people)[subject] + rng.normal(0, 4, len(subject))
    age = rng.integers(0, 80, len(subject)).astype(float)
    return age, age + error, subject


def test_every_measure_agrees_with_scikit_learn() -> None:
    age, predicted, subject = simulated(np.random.default_rng(0), 60)
    found = accuracy(age, predicted, subject, resamples=50)
    assert found.mae.value == pytest.approx(mean_absolute_error(age, predicted))
    assert found.rmse.value == pytest.approx(root_mean_squared_error(age, predicted))
    assert found.bias.value == pytest.approx(predicted.mean() - age.mean())
    decades = [mean_absolute_error(age[at], predicted[at]) for d in range(8) if (at := age // 10 == d).any()]
    assert found.balanced_mae.value == pytest.approx(np.mean(decades))
    for years, score in found.cs.items():
        assert score.value == pytest.approx((np.abs(predicted - age) <= years).mean())


def test_the_intervals_agree_with_scipys_bootstrap_of_the_subjects_sums() -> None:
    age, predicted, subject = simulated(np.random.default_rng(1), 60)
    error = predicted - age
    totals = [np.bincount(subject, weights=term) for term in (np.abs(error), error, error**2, np.abs(error) <= 5)]
    counts = np.bincount(subject).astype(float)
    found = accuracy(age, predicted, subject, resamples=20_000)
    for total, mine, root in zip(
        totals, (found.mae, found.bias, found.rmse, found.cs[5]), (False, False, True, False), strict=True
    ):
        theirs = bootstrap(
            (total, counts),
            lambda t, n, axis, root=root: (t.sum(axis=axis) / n.sum(axis=axis)) ** (0.5 if root else 1),
            paired=True, vectorized=True, method="percentile", n_resamples=20_000,
            confidence_level=1 - 2 * expanded_tail(60), rng=np.random.default_rng(5),
        ).confidence_interval  # fmt: skip
        assert mine.interval == pytest.approx(tuple(theirs), abs=0.03 * (theirs.high - theirs.low))


def covered(data_sets: int, people: int) -> dict[str, float]:
    """Shares of the data sets whose 95 % interval holds the true value."""
    age, predicted, subject = simulated(np.random.default_rng(99), 100_000)
    true = accuracy(age, predicted, subject, thresholds=(5,), resamples=2)
    hits = dict.fromkeys(("mae", "rmse", "bias", "balanced_mae", "cs5"), 0)
    rng = np.random.default_rng(7)
    for seed in range(data_sets):
        found = accuracy(*simulated(rng, people), thresholds=(5,), resamples=1000, seed=seed)
        for name in hits:
            mine, truth = (found.cs[5], true.cs[5]) if name == "cs5" else (getattr(found, name), getattr(true, name))
            assert mine.interval is not None
            hits[name] += mine.interval[0] <= truth.value <= mine.interval[1]
    return {name: count / data_sets for name, count in hits.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "people",
    [
        300,
        pytest.param(82, marks=pytest.mark.xfail(reason="MAE and RMSE cover 92 to 94 %: their errors are skewed")),
    ],
)
def test_95_percent_intervals_cover_93_to_97_percent_of_1000_data_sets(people: int) -> None:
    shares = covered(1000, people)
    assert all(0.93 <= share <= 0.97 for share in shares.values()), shares


def test_95_percent_intervals_cover_nearly_so_many_of_200_data_sets() -> None:
    shares = covered(200, 60)
    low, high = binomtest(190, 200).proportion_ci(0.999, "exact")
    assert all(low <= share <= high for share in shares.values()), shares


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_the_order_of_pictures_the_names_and_a_shift_of_both_ages_change_nothing(
    seed: int, people: int, shift: int
) -> None:
    rng = np.random.default_rng(seed)
    age, predicted, subject = simulated(rng, people)
    predicted = predicted.round(3)
    order = rng.permutation(len(age))
    names = [f"person {people - s}" for s in subject[order]]
    one = accuracy(age, predicted, subject, resamples=100, age_groups=())
    other = accuracy(age[order] + shift, predicted[order] + shift, names, resamples=100, age_groups=())
    for measure in ("mae", "rmse", "bias", "balanced_mae"):
        mine, theirs = getattr(one, measure), getattr(other, measure)
        assert mine.value == pytest.approx(theirs.value, abs=1e-9)
        assert mine.interval == pytest.approx(theirs.interval, abs=1e-9)


def test_predicting_a_year_more_moves_the_bias_by_a_year() -> None:
    age, predicted, subject = simulated(np.random.default_rng(3), 30)
    one, other = (accuracy(age, predicted + years, subject, resamples=200) for years in (0, 1))
    assert other.bias.value == pytest.approx(one.bias.value + 1)


def test_a_score_of_everything_is_not_shown_as_certain() -> None:
    found = accuracy(np.arange(10.0), np.arange(10.0), [None] * 10, resamples=50)
    assert found.cs[0].value == 1
    assert found.cs[0].interval == pytest.approx((0.025**0.1, 1))


def test_one_subject_has_no_interval() -> None:
    found = accuracy(np.array([1.0, 2.0]), np.array([2.0, 2.0]), ["a", "a"])
    assert (found.subjects, found.mae.value, found.mae.interval) == (1, 0.5, None)


@pytest.mark.parametrize(("age", "predicted"), [([], []), ([1.0], [np.nan]), ([1.0, 2.0], [1.0])])
def test_what_cannot_be_measured_is_refused(age: list[float], predicted: list[float]) -> None:
    with pytest.raises(ValueError, match="prediction"):
        accuracy(np.array(age), np.array(predicted), [None] * len(age))


def test_pictures_of_nobody_known_are_subjects_of_their_own() -> None:
    codes = subject_codes(["a", None, "b", "a", None])
    assert codes[0] == codes[3]
    assert len(set(codes.tolist())) == 4


def test_the_variation_of_draws_worked_by_hand() -> None:
    found = draw_variation([4.0, 5.0, 6.0])
    assert (found.draws, found.mean, found.standard_deviation, found.low, found.high) == (3, 5, 1, 4, 6)
    assert draw_variation([4.0]).standard_deviation is None
