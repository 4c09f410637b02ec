"""The crossed bootstrap over subjects and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from agebench.bench.statistics.bootstrap import Bootstrap, cluster_bootstrap, crossed_bootstrap


def simulated(rng: np.random.Generator, seeds: int, subjects: int, pictures: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors (2, seeds, N) of two models whose true difference is 0.5 years: subjects and seeds shift both."""
    codes = np.repeat(np.arange(subjects), pictures)
    person = rng.normal(0, 1.5, (2, subjects))[:, codes] * 0.3 + rng.normal(0, 2.0, subjects)[codes]
    training = rng.normal(0, 0.15, (2, seeds))
    noise = rng.normal(0, 2.0, (2, seeds, len(codes)))
    return 5 + np.array([0.0, 0.5])[:, None, None] + person[:, None, :] + training[:, :, None] + noise, codes


def test_one_seed_is_the_cluster_bootstrap() -> None:
    errors, codes = simulated(np.random.default_rng(0), 1, 40, 5)
    crossed = crossed_bootstrap(errors, codes, resamples=4000)

    def means(sums: np.ndarray) -> np.ndarray:
        return sums[..., :2] / sums[..., 2:]

    plain = cluster_bootstrap(np.column_stack([*errors[:, 0], np.ones(len(codes))]), codes, means, resamples=4000)
    np.testing.assert_allclose(crossed.values, plain.values)
    for model in range(2):
        assert crossed.interval(model) == pytest.approx(plain.interval(model), abs=0.08)


def test_the_means_are_those_of_all_pictures_and_seeds() -> None:
    errors, codes = simulated(np.random.default_rng(1), 3, 20, 4)
    found = crossed_bootstrap(errors, codes, resamples=10)
    np.testing.assert_allclose(found.values, errors.mean((1, 2)))
    assert found.samples.shape == (10, 2)
    assert found.subjects == 20


def test_the_same_draws_serve_both_models_and_a_seed_gives_the_same_ones() -> None:
    errors, codes = simulated(np.random.default_rng(2), 3, 20, 4)
    errors[1] = errors[0] + 1
    found = crossed_bootstrap(errors, codes, resamples=200)
    np.testing.assert_allclose(found.samples[:, 1] - found.samples[:, 0], 1)
    np.testing.assert_array_equal(found.samples, crossed_bootstrap(errors, codes, resamples=200).samples)


def test_intervals_of_a_difference_cover_it() -> None:
    """400 simulated studies of five seeds and 60 subjects; 95 % intervals cover the true difference in 91 to 98 %."""
    rng, covered = np.random.default_rng(3), 0
    for _ in range(400):
        errors, codes = simulated(rng, 5, 60, 4)
        boot = crossed_bootstrap(errors, codes, resamples=600)
        apart = Bootstrap(boot.values[[1]] - boot.values[[0]], boot.samples[:, [1]] - boot.samples[:, [0]], 60)
        interval = apart.interval(0)
        assert interval is not None
        covered += interval[0] <= 0.5 <= interval[1]
    assert 0.91 <= covered / 400 <= 0.98


def test_one_subject_has_no_interval() -> None:
    found = crossed_bootstrap(np.ones((2, 3, 4)), np.zeros(4, dtype=np.intp))
    assert found.interval(0) is None
    assert found.values.tolist() == [1, 1]
