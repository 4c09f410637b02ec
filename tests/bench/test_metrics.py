"""MAE, CS and the interval against numbers worked by hand, and against a bootstrap written out."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.bench.metrics import cumulative_score, mae, mae_interval, within_sampling_error

ERRORS = np.array([1.0, -2.0, 5.0, 5.01, -12.0])


def test_mae_and_cs_worked_by_hand() -> None:
    assert mae(ERRORS) == pytest.approx((1 + 2 + 5 + 5.01 + 12) / 5)
    assert cumulative_score(ERRORS) == pytest.approx(3 / 5)  # 5 is within 5, 5.01 is not
    assert cumulative_score(ERRORS, 0) == 0


def test_nothing_measured_gives_no_number() -> None:
    assert mae(np.array([])) is None
    assert cumulative_score(np.array([])) is None
    assert mae_interval(np.array([]), []) is None


def test_one_subject_gives_no_interval() -> None:
    assert mae_interval(ERRORS, ["a"] * 5) is None
    assert mae_interval(ERRORS[:1], [None]) is None


def test_two_subjects_worked_by_hand() -> None:
    """Draws of two subjects are aa, ab, ba, bb: MAE 1, 2, 2, 3 with a quarter each, so the 95 % interval is 1 to 3."""
    low, high = mae_interval(np.array([1.0, -1.0, 3.0, -3.0]), ["a", "a", "b", "b"]) or (0, 0)
    assert (low, high) == (1, 3)


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    rng = np.random.default_rng(0)
    subjects = [f"s{i}" for i in rng.integers(0, 40, 300)]
    level = dict(zip(sorted(set(subjects)), rng.gamma(3, 2, 40), strict=False))
    errors = np.array([level[s] for s in subjects]) + rng.normal(0, 1, 300)
    names = sorted(set(subjects))
    members = {name: np.abs(errors[np.array(subjects) == name]) for name in names}
    draws = [
        np.concatenate([members[names[i]] for i in rng.integers(0, len(names), len(names))]).mean() for _ in range(4000)
    ]
    expected = np.percentile(draws, [2.5, 97.5])
    assert mae_interval(errors, subjects) == pytest.approx(tuple(expected), abs=0.12)


def test_pictures_of_few_people_are_less_certain_than_of_many() -> None:
    errors = np.repeat([2.0, 4.0, 6.0, 8.0], 25)
    few = mae_interval(errors, [f"s{i // 25}" for i in range(100)])
    many = mae_interval(errors, [None] * 100)
    assert few is not None
    assert many is not None
    assert few[1] - few[0] > 3 * (many[1] - many[0])


@given(
    st.lists(
        st.tuples(st.floats(-80, 80), st.sampled_from([None, "a", "b", "c", "record 0"])), min_size=2, max_size=40
    ),
    st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_the_interval_lies_among_the_errors_and_is_the_same_every_time(
    pairs: list[tuple[float, str | None]], seed: int
) -> None:
    errors, subjects = np.array([error for error, _ in pairs]), [subject for _, subject in pairs]
    interval = mae_interval(errors, subjects, resamples=200, seed=seed)
    assert interval == mae_interval(errors, subjects, resamples=200, seed=seed)
    clusters = len({s for s in subjects if s}) + subjects.count(None)
    assert (interval is None) == (clusters < 2)
    if interval is not None:
        assert np.abs(errors).min() - 1e-9 <= interval[0] <= interval[1] + 1e-9
        assert interval[1] <= np.abs(errors).max() + 1e-9


def test_the_mae_is_the_same_to_the_last_digit_whatever_the_order_of_the_errors() -> None:
    errors = np.random.default_rng(0).gamma(2, 3, 55_000)
    exact = float(sum(map(Fraction, errors.tolist())) / len(errors))
    assert {mae(errors), mae(errors[::-1]), mae(np.sort(errors))} == {exact}


@pytest.mark.parametrize("people", [5, 300])
def test_intervals_of_other_draws_agree_and_those_of_other_errors_do_not(people: int) -> None:
    rng = np.random.default_rng(1)
    subjects = [f"s{n % people}" for n in range(600)]
    errors = rng.gamma(2, 3, people)[np.arange(600) % people] + rng.normal(0, 1, 600)
    for seed in range(1, 20):
        other = mae_interval(errors, subjects, seed=seed)
        assert other is not None
        assert within_sampling_error(other, errors, subjects)
    low, high = mae_interval(errors, subjects) or (0, 0)
    tenth = (high - low) / 10
    for wrong in ((low - tenth, high), (low, high + tenth), (low + tenth, high - tenth)):
        assert people < 10 or not within_sampling_error(wrong, errors, subjects)
    assert not within_sampling_error((low - 1, high - 1), errors, subjects)
