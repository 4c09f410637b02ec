"""Temperatures that make intervals hold what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agebench.training.calibrate import FEWEST, central_interval, find_temperature, tempered
from agebench.training.inference import predict_ages
from agebench.training.runs import train_run

from .conftest import data_of, tiny


def distributions(count: int, said: float, true: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gaussians of deviation `said` around estimates whose errors have the deviation `true`."""
    random = np.random.default_rng(seed)
    ages = random.integers(25, 75, count)
    centre = ages + random.normal(0, true, count)
    shares = np.exp(-((np.arange(100) - centre[:, None]) ** 2) / (2 * said**2))
    return shares / shares.sum(axis=1, keepdims=True), ages


@pytest.mark.parametrize(("said", "true"), [(3.0, 6.0), (9.0, 6.0), (6.0, 6.0)])
def test_intervals_hold_what_they_say_on_other_records(said: float, true: float) -> None:
    temperature = find_temperature(*distributions(2000, said, true))
    assert temperature == pytest.approx((true / said) ** 2, rel=0.2)  # whole years make intervals wider than they are
    shares, ages = distributions(5000, said, true, seed=1)
    for level in (0.8, 0.9, 0.95):
        low, high = central_interval(tempered(shares, temperature), level)
        assert ((low <= ages) & (ages <= high)).mean() == pytest.approx(level, abs=0.03)


def test_tempering_keeps_distributions_and_1_changes_nothing() -> None:
    shares, _ = distributions(10, 5.0, 5.0)
    np.testing.assert_allclose(tempered(shares, 1.0), shares, atol=1e-6)
    wide = tempered(shares, 4.0)
    np.testing.assert_allclose(wide.sum(axis=1), 1, atol=1e-5)
    years = np.arange(100)
    spread = (wide @ years**2 - (wide @ years) ** 2) ** 0.5
    assert np.median(spread) == pytest.approx(10.0, rel=0.03)  # twice as wide, but at the ends


def test_an_interval_by_hand() -> None:
    low, high = central_interval(np.array([[0.04, 0.1, 0.6, 0.2, 0.06], [0, 0, 1, 0, 0]]), 0.9)
    assert (low.tolist(), high.tolist()) == ([1, 2], [4, 2])


def test_few_records_give_no_temperature() -> None:
    assert find_temperature(*distributions(FEWEST - 1, 3.0, 9.0)) == 1.0


def test_a_run_keeps_its_temperature_and_predicts_with_it(tmp_path: Path) -> None:
    data = data_of(400)
    run = train_run(tiny(steps=20), data, runs_dir=tmp_path)
    known = run.card["calibration"]
    assert known["records"] == run.card["validation_records"] >= FEWEST
    ages, shares = predict_ages(run, data.pictures, data.rows[:50])
    assert shares is not None
    plain = type(run)(run.id, run.path, run.card | {"calibration": None}, run.recipe)
    ages_before, before = predict_ages(plain, data.pictures, data.rows[:50])
    assert before is not None
    np.testing.assert_array_equal(ages, ages_before)
    np.testing.assert_allclose(shares, tempered(before, known["temperature"]), atol=1e-6)
    held_back = (data.records["split"] == "validation").to_numpy()
    _, shares = predict_ages(run, data.pictures, data.rows[held_back])
    assert shares is not None
    low, high = central_interval(shares, 0.9)
    truth = data.ages[held_back]
    assert 0.8 <= ((low <= truth) & (truth <= high)).mean() <= 1.0
