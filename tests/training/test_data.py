"""Batches, epochs and the validation split."""

from __future__ import annotations

import pickle
from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.errors import NothingCurated, RecipeError, UsageError
from agebench.training.data import (
    Batches,
    TrainingData,
    _Reader,
    check_size,
    epoch_order,
    loader,
    read,
    validation_mask,
)

from .conftest import InMemory, InMemoryMany, data_of, records_of


def batches(copies, batch=4, seed=0, start=0, steps=10, rank=0, world=1):
    copies = np.asarray(copies)
    rows = np.arange(len(copies))
    return list(Batches(rows, rows % 100, copies, batch, seed, start, steps, rank, world))


@settings(max_examples=50, deadline=None)
@given(copies=st.lists(st.integers(0, 5), min_size=1, max_size=40), seed=st.integers(0, 99), epoch=st.integers(0, 9))
def test_an_epoch_draws_every_record_as_often_as_it_has_copies(copies, seed, epoch):
    counted = Counter(epoch_order(np.array(copies), seed, epoch).tolist())
    assert [counted[n] for n in range(len(copies))] == copies


@settings(max_examples=50, deadline=None)
@given(copies=st.lists(st.integers(0, 4), min_size=1, max_size=30).filter(sum), batch=st.integers(1, 50))
def test_the_batches_of_whole_epochs_draw_every_record_by_its_copies(copies, batch):
    epochs = batch  # so many epochs fill whole batches
    drawn = np.concatenate([rows for rows, _ in batches(copies, batch, steps=sum(copies))])
    counted = Counter(drawn.tolist())
    assert [counted[n] for n in range(len(copies))] == [c * epochs for c in copies]


def test_epochs_are_shuffled_unlike_each_other_and_alike_for_one_seed():
    copies = np.ones(50, dtype=int)
    assert (epoch_order(copies, 1, 0) == epoch_order(copies, 1, 0)).all()
    assert (epoch_order(copies, 1, 0) != epoch_order(copies, 1, 1)).any()
    assert (epoch_order(copies, 1, 0) != epoch_order(copies, 2, 0)).any()


def test_batches_from_the_middle_are_those_of_an_undisturbed_training():
    whole, rest = batches([1, 2, 0, 3], steps=20), batches([1, 2, 0, 3], start=7, steps=20)
    assert len(rest) == 13
    for (rows, ages), (rows_again, ages_again) in zip(whole[7:], rest, strict=True):
        assert (rows == rows_again).all()
        assert (ages == ages_again).all()


def test_processes_share_every_batch_without_overlap():
    whole = batches([1] * 23, batch=6)
    shares = [batches([1] * 23, batch=6, rank=rank, world=2) for rank in range(2)]
    for n, (rows, _) in enumerate(whole):
        assert sorted(rows) == sorted(np.concatenate([shares[0][n][0], shares[1][n][0]]))


@settings(max_examples=60, deadline=None)
@given(
    groups=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    share=st.floats(0.0, 0.9),
    seed=st.integers(0, 1000),
)
def test_the_validation_split_never_splits_a_group_and_leaves_both_sides_something(groups, share, seed):
    mask = validation_mask(groups, share, seed)
    validating = {g for g, v in zip(groups, mask, strict=True) if v}
    training = {g for g, v in zip(groups, mask, strict=True) if not v}
    assert not validating & training
    assert training
    assert bool(validating) == (share > 0 and len(set(groups)) > 1)


def test_the_split_depends_on_seed_and_group_only():
    groups = [f"g{n}" for n in range(2000)]
    mask = validation_mask(groups, 0.1, 7)
    assert 120 < mask.sum() < 280
    assert (validation_mask(groups[::-1], 0.1, 7)[::-1] == mask).all()
    assert (validation_mask(groups[:1000], 0.1, 7) == mask[:1000]).all()
    assert (validation_mask(groups, 0.1, 8) != mask).any()


def test_the_split_is_the_same_on_every_machine():
    assert np.flatnonzero(validation_mask(range(40), 0.2, 0)).tolist() == [17, 19, 23, 34, 38]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", [InMemory, InMemoryMany])
def test_the_loader_gives_the_pictures_and_ages_of_each_batch_in_order(kind, workers):
    data = data_of(20, kind=kind)
    order = Batches(data.rows, data.ages, data.copies, 6, 0, 0, 5, 0, 1)
    given_ = list(loader(data.pictures, order, workers, pin=False))
    assert len(given_) == 5
    for (rows, ages), (pictures, labels) in zip(order, given_, strict=True):
        assert pictures.dtype == torch.uint8
        assert (pictures.numpy() == read(data.pictures, rows)).all()
        assert (labels.numpy() == ages).all()


def test_what_goes_to_reader_processes_holds_no_table():
    assert len(pickle.dumps(_Reader(Fixed()))) < 500


class Fixed:
    def __len__(self):
        return 10**6

    def __getitem__(self, row):
        return np.zeros((8, 8, 3), np.uint8)


def test_pictures_of_another_size_are_refused_with_both_sizes():
    with pytest.raises(RecipeError, match="64 pixels, but the pictures are 32×32×3"):
        check_size(data_of().pictures, 0, 64)


def test_records_without_a_needed_column_are_refused():
    records = records_of(np.array([1, 2])).drop("group_id", "copies")
    with pytest.raises(UsageError, match="lack group_id, copies"):
        TrainingData.from_records(Fixed(), [0, 1], records)


def test_ages_outside_0_to_99_are_refused_never_clipped():
    for age in (-1, 100, None):
        records = records_of(np.array([5, 6])).with_columns(age=pl.Series([5, age]))
        with pytest.raises(UsageError, match="1 training records have no age within 0–99, the first is 1"):
            TrainingData.from_records(Fixed(), [0, 1], records)


def test_a_record_without_a_group_is_a_group_of_its_own():
    records = records_of(np.array([5, 6, 7, 8])).with_columns(group_id=pl.Series([3, None, None, 3]))
    assert len(set(TrainingData.from_records(Fixed(), [0, 1, 2, 3], records).groups)) == 3


def test_a_plan_that_draws_nothing_is_refused():
    records = records_of(np.array([1, 2])).with_columns(copies=pl.lit(0))
    with pytest.raises(NothingCurated):
        TrainingData.from_records(Fixed(), [0, 1], records)


def test_the_fingerprint_changes_with_ages_copies_and_groups_only():
    records = records_of(np.array([1, 2, 3]))
    prints = {
        TrainingData.from_records(Fixed(), [0, 1, 2], frame).fingerprint()
        for frame in (
            records,
            records.with_columns(age=pl.Series([1, 2, 4])),
            records.with_columns(copies=pl.lit(2)),
            records.with_columns(group_id=pl.lit(0)),
        )
    }
    assert len(prints) == 4
    moved = TrainingData.from_records(Fixed(), [7, 8, 9], records.with_columns(split=pl.lit("x")))
    assert moved.fingerprint() in prints
