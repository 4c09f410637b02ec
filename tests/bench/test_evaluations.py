"""Kept predictions give their kept numbers again: exactly, or as near as other random draws can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from agebench.bench.evaluations import Evaluation, differences, measures
from agebench.bench.metrics import mae_interval

RNG = np.random.default_rng(0)
AGES = RNG.integers(0, 90, 400)
PREDICTIONS = pl.DataFrame({
    "age": AGES, "predicted": AGES + RNG.normal(0, 5, 400), "subject_id": [f"s{n // 4}" for n in range(400)],
    "face_no": [0] * 400, "leak": pl.Series([None] * 400, dtype=pl.String),
})  # fmt: skip
KEPT = Evaluation(
    name="morph", dataset="morph", manifest="m", unreadable=0, matches_card=True, pictures_match=None, records=400,
    expected=400, detector=None, training_detector=None, predictions_sha256="", **measures(PREDICTIONS),
)  # fmt: skip
OLDER = replace(KEPT, versions={"numpy": "1.0", "scipy": "1.0"})


def of_another_seed() -> tuple[float, float]:
    interval = mae_interval((AGES - PREDICTIONS["predicted"].to_numpy()), PREDICTIONS["subject_id"].to_list(), seed=1)
    assert interval is not None
    return interval


def test_the_same_versions_give_the_same_interval_again() -> None:
    assert differences(KEPT, PREDICTIONS) == []
    (found,) = differences(replace(KEPT, ci95=of_another_seed()), PREDICTIONS)
    assert found.startswith("ci95")


def test_an_interval_of_other_versions_may_differ_by_its_sampling_error_and_by_no_more() -> None:
    assert differences(OLDER, PREDICTIONS) == []
    low, high = of_another_seed()
    assert differences(replace(OLDER, ci95=(low, high)), PREDICTIONS) == []
    for wrong in ((low - 0.3, high), (low, high + 0.3), (low + 0.3, high), None):
        (found,) = differences(replace(OLDER, ci95=wrong), PREDICTIONS)
        assert found.startswith("ci95")


def test_mae_and_count_are_compared_exactly_whatever_the_versions() -> None:
    assert KEPT.mae is not None
    for change in ({"mae": np.nextafter(KEPT.mae, 99)}, {"n": 399}):
        for kept in (KEPT, OLDER):
            (found,) = differences(replace(kept, **change), PREDICTIONS)
            assert found.startswith(next(iter(change)))
