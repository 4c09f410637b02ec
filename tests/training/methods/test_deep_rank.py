"""From the probabilities of being at least k years old to an age and a distribution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agebench.training.methods.deep_rank import RANKS, distribution


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.just(RANKS)), elements=st.floats(0, 1)))
@settings(max_examples=60, deadline=None)
def test_whatever_the_rankers_say_there_is_a_distribution_whose_mean_is_the_age(at_least: np.ndarray) -> None:
    ages, shares = distribution(at_least)
    assert shares.shape == (len(at_least), 100)
    assert (shares >= 0).all()
    assert shares.sum(1) == pytest.approx(1)
    assert shares @ np.arange(100) == pytest.approx(ages)


@pytest.mark.parametrize("age", [0, 1, 42, 98, 99])
def test_sure_rankers_give_one_age(age: int) -> None:
    ages, shares = distribution((np.arange(1, RANKS + 1) <= age).astype(np.float64)[None])
    assert ages.tolist() == [age]
    assert shares[0].argmax() == age
    assert shares[0, age] == 1


def test_a_rank_that_contradicts_a_lower_one_is_lowered() -> None:
    at_least = np.zeros((1, RANKS))
    at_least[0, :3] = [0.8, 0.2, 0.9]
    ages, shares = distribution(at_least)
    assert shares[0, :5] == pytest.approx([0.2, 0.6, 0.0, 0.2, 0.0])
    assert ages[0] == pytest.approx(1.2)


def test_surer_rankers_give_no_lower_age() -> None:
    at_least = np.sort(np.random.default_rng(1).uniform(0, 1, (5, RANKS)), axis=1)[:, ::-1]
    assert (distribution(np.minimum(at_least + 0.1, 1))[0] > distribution(at_least)[0]).all()
