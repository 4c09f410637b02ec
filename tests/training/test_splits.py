"""Splits and folds: whole subjects, by size, and no photograph on both sides."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.errors import UsageError
from agebench.manifest.plans import PlanFacts
from agebench.training.rows import with_draws
from agebench.training.splits import LEFT_OUT, TRAIN, VALIDATION, fold_of, largest_group, training_for, validation_split


def records(
    groups: list[int | None], photographs: list[int | None] | None = None, ages: list[int] | None = None
) -> pl.DataFrame:
    n = len(groups)
    return pl.DataFrame(
        {"part": ["p"] * n, "path": [f"{i}.jpg" for i in range(n)], "age": ages or [30] * n, "group_id": groups,
         "photograph_id": photographs or [None] * n},
        schema_overrides={"group_id": pl.Int32, "photograph_id": pl.Int32},
    )  # fmt: skip


def sizes(split: pl.Series) -> dict[str, int]:
    return {side: int((split == side).sum()) for side in (TRAIN, VALIDATION, LEFT_OUT)}


SKEWED = [g for g, size in enumerate([700, 90, 60, 30] + [5] * 16 + [1] * 40) for _ in range(size)]


def test_one_group_of_most_records_trains_and_the_share_is_met_for_every_seed():
    for seed in range(300):
        split = validation_split(records(SKEWED), 0.05, seed)
        assert sizes(split)[VALIDATION] == 50
        assert (split[:700] == TRAIN).all()


def test_every_group_that_fits_validates_for_some_seed():
    validated = set()
    for seed in range(300):
        split = validation_split(records(SKEWED), 0.05, seed)
        validated |= {g for g, side in zip(SKEWED, split, strict=True) if side == VALIDATION}
    assert validated == set(range(3, max(SKEWED) + 1))


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    share=st.floats(0.0, 0.9),
    seed=st.integers(0, 1000),
)
def test_the_share_is_met_within_one_group_and_no_group_is_on_both_sides(groups, share, seed):
    split = validation_split(records(groups), share, seed)
    if share > 0 and not (split == VALIDATION).any():
        fits = max(round(share * len(groups)), 1)
        assert min(groups.count(g) for g in set(groups)) > 2 * fits or share * len(groups) > len(groups) - 2
        return
    validating = {g for g, side in zip(groups, split, strict=True) if side == VALIDATION}
    training = {g for g, side in zip(groups, split, strict=True) if side == TRAIN}
    assert not validating & training
    assert training
    assert bool(validating) == (share > 0 and len(set(groups)) > 1)
    largest = max(groups.count(g) for g in set(groups))
    assert abs(sizes(split)[VALIDATION] - share * len(groups)) <= largest


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 40)), min_size=2, max_size=80),
    seed=st.integers(0, 1000),
)
def test_nothing_leaks_neither_a_subject_nor_a_photograph_that_several_subjects_hold(keys, seed):
    """Photographs under several subjects are planted: a photograph is any number of any records."""
    groups, photographs = (list(side) for side in zip(*keys, strict=True))
    split = validation_split(records(groups, photographs), 0.3, seed).to_list()
    for column in (groups, photographs):
        sides = [{k for k, s in zip(column, split, strict=True) if s == side} for side in (TRAIN, VALIDATION)]
        assert not sides[0] & sides[1]
    left_out = [i for i, side in enumerate(split) if side == LEFT_OUT]
    elsewhere = {p for p, side in zip(photographs, split, strict=True) if side != LEFT_OUT}
    assert all(photographs[i] in elsewhere for i in left_out)


def planted(shared: float, people: int, seed: int = 0) -> tuple[list[int], list[int]]:
    """(subjects, photographs) of 6,000 records, with a few subjects of many records. A photograph is filed under one
    subject or, with probability `shared`, under up to three random ones."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, people + 1)
    groups: list[int] = []
    photographs: list[int] = []
    for photograph in range(6000):
        n = 1 + int(rng.random() < shared) * int(rng.integers(1, 3))
        subjects = rng.choice(people, n, replace=False, p=weights / weights.sum())
        groups += subjects.tolist()
        photographs += [photograph] * n
    return groups[:6000], photographs[:6000]


@pytest.mark.parametrize("shared", [0.0, 0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("people", [100, 1500])
def test_the_share_is_met_however_many_photographs_are_shared(shared, people):
    groups, photographs = planted(shared, people)
    for seed in range(5):
        split = validation_split(records(groups, photographs), 0.05, seed)
        found = sizes(split)
        assert 285 <= found[VALIDATION] <= 300
        assert found[LEFT_OUT] <= 600
        for column in (groups, photographs):
            sides = [{k for k, s in zip(column, split, strict=True) if s == side} for side in (TRAIN, VALIDATION)]
            assert not sides[0] & sides[1]


def test_a_photograph_of_very_many_people_trains():
    """A placeholder, filed under every second of 200 people: validation does without it, training does not."""
    groups = [g for g in range(200) for _ in range(3)]
    photographs = [10_000 if g % 2 and i % 3 == 0 else i for i, g in enumerate(groups)]
    split = validation_split(records(groups, photographs), 0.1, 0).to_list()
    sides = {side for photograph, side in zip(photographs, split, strict=True) if photograph == 10_000}
    assert sides == {TRAIN, LEFT_OUT}


def test_the_only_record_of_an_age_trains_even_if_nothing_else_fits():
    """Of 5 % of 41 records, 2, no large group fits; the small one alone holds age 5."""
    frame = records([0] * 20 + [1] * 20 + [2], ages=[30] * 40 + [5])
    assert sizes(validation_split(frame, 0.05, 0))[TRAIN] == 41


def test_half_of_all_records_never_validate_for_a_small_share():
    frame = records([0] * 10 + [1] * 10)
    assert sizes(validation_split(frame, 0.05, 0))[TRAIN] == 20
    assert sizes(validation_split(frame, 0.3, 0))[VALIDATION] == 10  # at most twice of what was asked for


def test_a_photograph_of_two_people_does_not_make_them_one_group():
    groups, photographs = [1, 1, 2, 2, 3, 3], [0, 9, 0, 1, 2, 3]
    found = {tuple(validation_split(records(groups, photographs), 0.34, seed)) for seed in range(60)}
    assert (LEFT_OUT, TRAIN, VALIDATION, VALIDATION, TRAIN, TRAIN) in found
    assert (VALIDATION, VALIDATION, LEFT_OUT, TRAIN, TRAIN, TRAIN) in found


def test_the_split_depends_on_the_records_and_the_seed_only_in_any_order():
    frame = records([n // 3 for n in range(3000)])
    split = validation_split(frame, 0.1, 7)
    assert sizes(split)[VALIDATION] == 300
    again = validation_split(frame.reverse(), 0.1, 7).reverse()
    assert (again == split).all()
    assert (validation_split(frame, 0.1, 8) != split).any()


def test_the_split_is_the_same_on_every_machine():
    split = validation_split(records(list(range(40))), 0.2, 0)
    assert (split == VALIDATION).arg_true().to_list() == [4, 8, 16, 18, 19, 23, 28, 38]


def test_no_age_vanishes_from_the_training():
    ages = [1, 2, 3, 4] + [40] * 200
    for seed in range(100):
        split = validation_split(records(list(range(204)), ages=ages), 0.3, seed)
        assert (split[:4] == TRAIN).all()
        assert 57 <= sizes(split)[VALIDATION] <= 61


def test_shares_outside_of_0_to_1_are_refused():
    for share in (-0.1, 1.0):
        with pytest.raises(UsageError, match="validation share"):
            validation_split(records([1, 2]), share, 0)


def test_records_without_a_group_stand_alone():
    assert largest_group(records([3, None, None, 3])) == 2
    assert len(set(fold_of(records([None] * 5), 5, 0).tolist())) == 5


@settings(max_examples=60, deadline=None)
@given(groups=st.lists(st.integers(0, 30), min_size=1, max_size=120), folds=st.integers(2, 6))
def test_folds_take_whole_groups_and_differ_by_at_most_one_group(groups, folds):
    place = fold_of(records(groups), folds, 0)
    assert all(len(set(place[np.array(groups) == group])) == 1 for group in set(groups))
    counts = np.bincount(place, minlength=folds)
    assert counts.max() - counts.min() <= max(groups.count(g) for g in set(groups))


def test_skewed_groups_make_folds_as_even_as_the_largest_allows():
    counts = np.bincount(fold_of(records(SKEWED), 5, 0), minlength=5)
    assert sorted(counts) == [70, 70, 70, 90, 700]


def test_people_who_share_photographs_are_in_one_fold():
    """200 films with five people each, who share photographs with each other only."""
    rng = np.random.default_rng(0)
    groups, photographs = [], []
    for photograph in range(3000):
        film, n = int(rng.integers(200)), int(rng.integers(1, 4))
        groups += (film * 5 + rng.choice(5, n, replace=False)).tolist()
        photographs += [photograph] * n
    frame = records(groups, photographs)
    place = fold_of(frame, 5, 0)
    counts = np.bincount(place, minlength=5)
    largest = max(groups.count(g) for g in set(groups))
    assert counts.max() - counts.min() <= max(largest, 0.02 * len(groups) / 5)
    trained = [training_for(frame, place == fold).sum() / (len(groups) - counts[fold]) for fold in range(5)]
    assert min(trained) > 0.95
    assert (fold_of(frame.reverse(), 5, 0)[::-1] == place).all()


def test_a_copy_of_a_photograph_that_is_held_out_is_not_learnt_from():
    frame = records([1, 1, 2, 2], [0, 1, 0, 2])
    held_out = np.array([True, True, False, False])
    assert training_for(frame, held_out).tolist() == [False, False, False, True]


def test_every_class_that_trains_is_complete_after_the_split():
    """Ages 5 (few), 30 (many, thinned) and 70 (many, kept): the rule holds over what trains."""
    ages = [5] * 7 + [30] * 400 + [70] * 60
    frame = records(list(range(len(ages))), ages=ages)
    plan = PlanFacts("p", 50, (20, 60), 3, "", "")
    for seed in range(20):
        drawn = with_draws(frame, plan, validation=0.2, seed=seed)
        trains = drawn.filter(pl.col("split") == TRAIN)
        draws = dict(trains.group_by("age").agg(pl.col("copies").sum()).iter_rows())
        assert (draws[5], draws[30]) == (50, 50)
        assert draws[70] == max(50, len(trains.filter(pl.col("age") == 70)))
        assert (drawn.filter(pl.col("split") == VALIDATION)["copies"] == 1).all()


def test_a_limit_of_records_leaves_validation_alone_and_fewer_are_a_part_of_more():
    frame = records(list(range(200)), ages=[n % 90 for n in range(200)])
    whole, more, fewer = (with_draws(frame, None, validation=0.2, seed=1, most=most) for most in (None, 100, 40))
    paths = [set(one.filter(pl.col("split") == TRAIN)["path"]) for one in (whole, more, fewer)]
    assert [len(one) for one in paths] == [160, 100, 40]
    assert paths[0] > paths[1] > paths[2]
    held_out = [one.filter(pl.col("split") == VALIDATION)["path"].to_list() for one in (whole, more, fewer)]
    assert held_out[0] == held_out[1] == held_out[2]
    other = with_draws(frame, None, validation=0.2, seed=2, most=40)
    assert set(other.filter(pl.col("split") == TRAIN)["path"]) != paths[2]
