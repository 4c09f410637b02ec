"""Label suspicion on claims whose truth is known: it ranks, it is a probability, and it is comparable over ages."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from agebench.curation.suspicion import CLASSES, SCHEMA, label_suspicion

YEARS = np.arange(CLASSES)


def people(n: int, wrong_share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True ages, claimed ages, and which claims are wrong (any age, at least 12 years off)."""
    rng = np.random.default_rng(seed)
    true = np.where(rng.random(n) < 0.6, np.clip(rng.normal(38, 13, n), 1, 95), rng.integers(0, 96, n)).astype(int)
    other = rng.integers(0, 96, n)
    wrong = (rng.random(n) < wrong_share) & (abs(other - true) >= 12)
    return true, np.where(wrong, other, true), wrong


def said(true: np.ndarray, claimed: np.ndarray, seed: int = 1, name: str = "one", spread: bool = True) -> pl.DataFrame:
    """What a compressed estimator says: 12 + 0.68 × age, its errors 3 years at birth and 12 at 80, with long tails."""
    rng = np.random.default_rng(seed)
    deviation = 3 + 0.11 * true
    estimate = 12 + 0.68 * true + 0.7 * deviation * rng.standard_t(5, len(true))
    return pl.DataFrame({
        "record_id": np.arange(len(true), dtype=np.int32), "age": claimed.astype(np.int32),
        "estimator": [name] * len(true), "estimate": estimate,
        "spread": deviation if spread else np.full(len(true), math.nan),
    })  # fmt: skip


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("spread", [True, False])
def test_wrong_claims_rank_first_and_better_than_by_the_bare_gap(share: float, spread: bool) -> None:
    true, claimed, wrong = people(3000, share)
    rows = said(true, claimed, spread=spread)
    found = label_suspicion(rows)
    assert found.schema == SCHEMA
    area = roc_auc_score(wrong, found["label_suspicion"])
    assert area > 0.9
    assert area > roc_auc_score(wrong, (rows["estimate"] - claimed).abs())


def test_it_is_a_probability() -> None:
    """Of those with a suspicion about p a share of about p is wrong; those nearly certain are."""
    true, claimed, wrong = people(20_000, 0.15)
    found = label_suspicion(said(true, claimed))["label_suspicion"].to_numpy()
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 0.9)):
        some = (found >= low) & (found < high)
        assert wrong[some].mean() == pytest.approx(found[some].mean(), abs=0.12)
    assert wrong[found > 0.9].mean() > 0.93
    assert found.mean() == pytest.approx(wrong.mean(), abs=0.05)


def test_the_same_gap_means_more_at_five_than_at_sixty() -> None:
    true, claimed, _ = people(5000, 0.1)
    rows = said(true, claimed)
    asked = pl.DataFrame({
        "record_id": [90_000, 90_001], "age": [5, 60], "estimator": ["one", "one"],
        "estimate": [12 + 0.68 * 19, 12 + 0.68 * 74], "spread": [3 + 0.11 * 19, 3 + 0.11 * 74],
    }, schema_overrides=rows.schema)  # fmt: skip
    found = label_suspicion(pl.concat([rows, asked])).tail(2)
    young, old = found["label_suspicion"].to_list()
    assert young > 2 * old
    assert found["age_gap"].to_list() == pytest.approx([14, 14], abs=4)


def test_suggested_ages_have_the_estimators_bias_taken_out() -> None:
    true, claimed, _ = people(4000, 0.2)
    rows = said(true, claimed)
    suggested = label_suspicion(rows)["suggested_age"].to_numpy()
    assert abs(suggested - true).mean() < 0.92 * abs(rows["estimate"].to_numpy() - true).mean()
    for low in range(10, 70, 10):
        some = (suggested >= low) & (suggested < low + 10)
        assert abs(np.median(true[some] - suggested[some])) < 3


def test_a_suggested_age_does_not_look_at_the_records_own_claim() -> None:
    true, claimed, _ = people(1000, 0.1)
    rows = said(true, claimed)
    changed = rows.with_columns(age=pl.when(pl.col("record_id") == 7).then(90).otherwise("age").cast(pl.Int32))
    before, after = (label_suspicion(one)["suggested_age"][7] for one in (rows, changed))
    assert before == pytest.approx(after, abs=0.7)


def test_a_second_estimator_helps_and_the_same_one_twice_does_not_count_twice() -> None:
    true, claimed, wrong = people(3000, 0.15)
    first, second = said(true, claimed), said(true, claimed, seed=2, name="two")
    alone = label_suspicion(first)
    joined = label_suspicion(pl.concat([first, second]))
    twice = label_suspicion(pl.concat([first, first.with_columns(estimator=pl.lit("again"))]))
    areas = [roc_auc_score(wrong, one["label_suspicion"]) for one in (alone, joined)]
    assert areas[1] > areas[0] + 0.01
    assert abs(joined["suggested_age"].to_numpy() - true).mean() < abs(alone["suggested_age"].to_numpy() - true).mean()
    assert joined["estimates"].unique().to_list() == [2]
    assert (twice["label_suspicion"] - alone["label_suspicion"]).abs().mean() < 0.02
    assert (twice["label_suspicion"] > 0.99).sum() <= (alone["label_suspicion"] > 0.99).sum() + 15


def test_probabilities_serve_where_they_mean_something_and_do_no_harm_where_they_do_not() -> None:
    true, claimed, wrong = people(3000, 0.15)
    rng = np.random.default_rng(3)
    sure = rng.random(len(true)) < 0.5  # of every second picture it is nearly certain: only its probabilities say so
    centre = true + rng.normal(0, np.where(sure, 2, 15))
    probabilities = norm.pdf(YEARS, centre[:, None], np.where(sure, 2, 15)[:, None]) + 1e-9
    probabilities /= probabilities.sum(1, keepdims=True)
    rows = said(true, claimed).with_columns(estimate=centre, spread=pl.lit(None, pl.Float64))
    plain = label_suspicion(rows)
    told = label_suspicion(rows.with_columns(probabilities=pl.Series(probabilities.tolist())))
    noise = rng.dirichlet(np.full(CLASSES, 0.1), len(true))
    misled = label_suspicion(rows.with_columns(probabilities=pl.Series(noise.tolist())))
    area = [roc_auc_score(wrong, one["label_suspicion"]) for one in (plain, told, misled)]
    assert area[1] > area[0] + 0.01
    assert area[2] > area[0] - 0.02


def test_probabilities_learned_from_wrong_claims_do_not_make_them_likely() -> None:
    """A model fitted to claims of which a fifth are wrong gives a fifth of its probability to ages at random. By the
    estimates alone it would be certain of the wrong ones, too: they are made to say nothing here."""
    true, claimed, wrong = people(4000, 0.25)
    clean = norm.pdf(YEARS, true[:, None] + np.random.default_rng(3).normal(0, 4, (4000, 1)), 5)
    clean /= clean.sum(1, keepdims=True)
    by_chance = np.bincount(claimed[wrong], minlength=CLASSES) / wrong.sum()
    learned = 0.8 * clean + 0.2 * by_chance
    rows = said(true, claimed).with_columns(estimate=40.0, probabilities=pl.Series(learned, dtype=pl.List(pl.Float64)))
    found = label_suspicion(rows)["label_suspicion"].to_numpy()
    assert found[wrong].mean() > 0.75
    assert found[~wrong].mean() < 0.1


def test_a_record_without_probabilities_takes_them_from_no_other_record() -> None:
    true, claimed, _ = people(2000, 0.15)
    centre = true + np.random.default_rng(3).normal(0, 4, len(true))
    probabilities = norm.pdf(YEARS, centre[:, None], 4) + 1e-9
    probabilities /= probabilities.sum(1, keepdims=True)
    rows = said(true, claimed).with_columns(probabilities=pl.Series(probabilities.tolist()))
    lacking = rows.with_columns(pl.when(pl.col("record_id") != 9).then("probabilities").alias("probabilities"))
    none = rows.with_columns(pl.when(pl.col("record_id") < 0).then("probabilities").alias("probabilities"))
    whole, one_lacks, plain = (label_suspicion(one)["suggested_age"].to_numpy() for one in (rows, lacking, none))
    others = np.arange(len(true)) != 9
    assert abs(one_lacks - whole)[others].max() < 0.1
    assert abs(plain - whole)[others].mean() > 1
    assert abs(one_lacks - true)[others].mean() < abs(plain - true)[others].mean() - 1
    assert np.isfinite(one_lacks[9])


def test_what_is_missing_flows_through() -> None:
    true, claimed, _ = people(300, 0.1)
    rows = said(true, claimed).with_columns(
        age=pl.when(pl.col("record_id") == 0).then(None).when(pl.col("record_id") == 1).then(140)
        .when(pl.col("record_id") == 2).then(-3).otherwise("age").cast(pl.Int32),
        estimate=pl.when(pl.col("record_id") == 3).then(None).when(pl.col("record_id") == 4).then(math.nan)
        .otherwise("estimate"),
        spread=pl.when(pl.col("record_id") == 5).then(math.nan).when(pl.col("record_id") == 6).then(0)
        .otherwise("spread"),
    )  # fmt: skip
    second = said(true, claimed, seed=2, name="two").filter(pl.col("record_id") > 250)
    found = label_suspicion(pl.concat([rows, second]))
    assert found["record_id"].to_list() == [0, 1, 2, *range(5, 300)]
    assert found["label_suspicion"].head(3).to_list() == [None, 1.0, 1.0]
    assert found["age_gap"].head(1).to_list() == [None]
    assert found["suggested_age"].is_between(0, 99).all()
    assert found["label_suspicion"].drop_nulls().is_between(0, 1).all()
    assert found["estimates"].tail(1).to_list() == [2]


def test_nothing_estimated_and_hardly_anything() -> None:
    true, claimed, _ = people(100, 0.0)
    rows = said(true, claimed)
    assert label_suspicion(rows.clear()).schema == SCHEMA
    assert len(label_suspicion(rows.clear())) == 0
    assert len(label_suspicion(rows.with_columns(estimate=pl.lit(None, pl.Float64)))) == 0
    one = pl.DataFrame({"record_id": [1, 2], "age": [30, 70], "estimator": ["a", "a"], "estimate": [31.0, 20.0]})
    near, far = label_suspicion(one)["label_suspicion"].to_list()
    assert near < far
    nobody = label_suspicion(rows.with_columns(age=pl.lit(None, pl.Int32)))
    assert nobody["label_suspicion"].null_count() == 100
    assert nobody["suggested_age"].null_count() == 0


@pytest.mark.parametrize("n", [100, 400])
def test_few_records_serve_too(n: int) -> None:
    areas = []
    for seed in range(6):
        true, claimed, wrong = people(n, 0.15, seed)
        areas.append(roc_auc_score(wrong, label_suspicion(said(true, claimed, seed + 50))["label_suspicion"]))
    assert np.mean(areas) > 0.87


def test_the_order_of_rows_does_not_matter() -> None:
    true, claimed, _ = people(500, 0.1)
    rows = pl.concat([said(true, claimed), said(true, claimed, seed=2, name="two")])
    assert label_suspicion(rows.sample(fraction=1, shuffle=True, seed=4)).equals(label_suspicion(rows))
