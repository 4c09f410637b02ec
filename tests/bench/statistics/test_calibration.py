"""Calibration against scikit-learn, numeric integration and distributions that are calibrated by construction."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import energy_distance, norm
from sklearn.metrics import log_loss

from agebench.bench.statistics.calibration import calibration

YEARS = np.arange(100)


def distributions(center: np.ndarray, spread: float) -> np.ndarray:
    p = norm.pdf(YEARS, center[:, None], spread)
    return p / p.sum(axis=1, keepdims=True)


def drawn(n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Ages drawn from the distributions themselves, which are therefore calibrated."""
    rng = np.random.default_rng(0)
    p = distributions(rng.uniform(20, 70, n), 5)
    return (np.cumsum(p, axis=1) < rng.uniform(size=(n, 1))).sum(axis=1), p


def test_calibrated_distributions_are_found_calibrated() -> None:
    age, p = drawn()
    found = calibration(age, p)
    assert found.calibration_error < 0.01
    assert found.pit == pytest.approx([0.1] * 10, abs=0.01)
    for level, share in found.coverage.items():
        assert level - 0.01 <= share <= level + 0.08  # whole years: an interval holds at least its level


def test_too_narrow_distributions_cover_too_little() -> None:
    age, p = drawn()
    narrow = calibration(age, distributions((p * YEARS).sum(axis=1), 2))
    assert narrow.coverage[0.9] < 0.6
    assert narrow.calibration_error > 0.05
    assert narrow.pit[0] > 0.2 < narrow.pit[-1]


def test_the_log_likelihood_agrees_with_scikit_learn() -> None:
    age, p = drawn(500)
    assert calibration(age, p).negative_log_likelihood == pytest.approx(log_loss(age, p, labels=YEARS))


def test_the_crps_agrees_with_the_energy_distance() -> None:
    """CRPS is half of the squared energy distance to the point mass (Székely and Rizzo, 2013)."""
    age, p = drawn(30)
    theirs = [energy_distance(YEARS, [a], u_weights=row) ** 2 / 2 for a, row in zip(age, p, strict=True)]
    assert calibration(age, p).crps == pytest.approx(np.mean(theirs))


def test_the_crps_of_a_certain_prediction_is_its_error() -> None:
    assert calibration(np.array([30]), np.eye(100)[[37]]).crps == 7


@pytest.mark.parametrize(
    ("age", "p", "says"),
    [
        ([30], np.ones((1, 100)), "sum to 1"),
        ([30.5], np.eye(100)[[30]], "whole year"),
        ([100], np.eye(100)[[30]], "whole year"),
        ([30, 31], np.eye(100)[[30]], "a row for each"),
        ([30], np.full((1, 100), np.nan), "sum to 1"),
    ],
)
def test_what_is_no_distribution_is_refused(age: list[float], p: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        calibration(np.array(age), p)
