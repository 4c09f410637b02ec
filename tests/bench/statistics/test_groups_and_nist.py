"""Errors by group, and NIST's figures, against numbers worked by hand and plain Polars."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from agebench.bench.statistics.groups import breakdown, group_labels
from agebench.bench.statistics.nist import nist_figures


def predictions(n: int = 1200) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    age = rng.integers(5, 60, n).astype(float)
    return pl.DataFrame(
        {
            "age": age,
            "predicted": age + rng.normal(1, 6, n),
            "subject_id": [f"s{i}" for i in rng.integers(0, 300, n)],
            "gender": rng.choice(["female", "male"], n),
            "race": rng.choice(["asian", "black", "white"], n),
            "face_size": rng.uniform(20, 300, n),
            "interocular_distance": rng.uniform(10, 100, n),
            "yaw": rng.uniform(-60, 60, n),
            "sharpness": rng.gamma(2, 100, n),
        }
    )


def test_each_group_has_its_own_mae_and_bias_and_no_picture_is_lost() -> None:
    frame = predictions()
    found = breakdown(frame, resamples=100)
    assert set(found["by"]) == {
        "age", "gender", "race", "face_size", "interocular_distance", "yaw", "sharpness",
    }  # fmt: skip
    assert found.group_by("by").agg(pl.col("n").sum())["n"].unique().to_list() == [len(frame)]
    women = frame.filter(pl.col("gender") == "female")
    row = found.row(by_predicate=(pl.col("by") == "gender") & (pl.col("group") == "female"), named=True)
    error = women["predicted"] - women["age"]
    assert (row["n"], row["mae"], row["bias"]) == pytest.approx((len(women), error.abs().mean(), error.mean()))
    assert row["mae_low"] < row["mae"] < row["mae_high"]


def test_groups_with_few_subjects_are_marked_and_missing_values_are_a_group() -> None:
    frame = predictions(50).with_columns(
        gender=pl.Series(["female"] * 3 + [None] * 2 + ["male"] * 45), subject_id=pl.Series(["a"] * 3 + [None] * 47)
    )
    found = breakdown(frame, ["gender"], resamples=50)
    assert found.select("group", "subjects", "few_subjects").rows() == [
        ("female", 1, True), ("male", 45, False), ("unknown", 2, True),
    ]  # fmt: skip
    assert found["mae_low"][0] is None


def test_bins_hold_their_lower_edge_and_yaw_has_no_side() -> None:
    found = group_labels(pl.Series("yaw", [0.0, -15.0, 44.9, 45.0, None]))
    assert found.to_list() == ["< 15", "15 to < 30", "30 to < 45", "≥ 45", "unknown"]


def test_an_empty_set_has_no_groups() -> None:
    assert breakdown(predictions(5).clear(), resamples=10).is_empty()


def test_nists_rates_worked_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "age": [17.0, 17.0, 14.0, 18.0, 10.0, 14.0, 20.0],
            "predicted": [25.0, 24.9, 16.9, 30.0, 13.0, 17.0, 16.0],
            "subject_id": list("abcdefg"),
            "gender": ["male", "female", "male", "male", "female", "female", "female"],
        }
    )
    found = nist_figures(frame, resamples=50)
    assert (found.challenge25.n, found.challenge25.value) == (5, pytest.approx(1 / 5))
    assert (found.challenge25_by_sex["male"].value, found.challenge25_by_sex["female"].value) == (0.5, 0)
    assert (found.challenge25_balanced, found.mae_18_30, found.by_interocular_distance) == (None, None, None)
    inside = {ages: (r.n, r.value) for ages, r in found.in_13_to_16.items()}
    assert inside == {"8 to 12": (1, 1), "13 to 16": (2, 0.5), "17 to 22": (4, 0.25)}


def test_nists_balanced_figures_weigh_both_sexes_and_each_age_alike() -> None:
    frame = predictions(4000)
    found = nist_figures(frame, resamples=200)
    error = (pl.col("predicted") - pl.col("age")).abs()
    cells = frame.filter(pl.col("age").is_between(18, 30)).group_by("gender", "age").agg(error.mean())
    assert found.mae_18_30 is not None
    assert found.mae_18_30.value == pytest.approx(cells["predicted"].mean())
    low, high = found.mae_18_30.interval or (0, 0)
    assert low < found.mae_18_30.value < high
    teenagers = frame.filter(pl.col("age").is_between(14, 17))
    rates = teenagers.group_by("gender", "age").agg((pl.col("predicted") >= 25).mean())
    assert found.challenge25_balanced == pytest.approx(rates["predicted"].mean())
    assert found.by_age["age"].to_list() == list(range(5, 60))
    assert set(found.by_sex_and_age["gender"]) == {"female", "male"}
    assert len(found.by_sex_and_age) == 2 * 55
    assert found.children["group"].to_list() == ["8 to 12", "13 to 16", "17 to 22"]


def test_nists_figures_do_without_gender_and_children() -> None:
    frame = predictions(50).filter(pl.col("age") > 30).drop("gender", "interocular_distance")
    found = nist_figures(frame, resamples=20)
    assert (found.challenge25.n, found.challenge25.value, found.challenge25_by_sex) == (0, None, {})
    assert found.by_sex_and_age.is_empty()
    assert found.children.is_empty()
