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


def test_a_plan_that_draws_nothing_is_refused():
    records = records_of(np.array([1, 2])).with_columns(copies=pl.lit(0))
    with pytest.raises(NothingCurated):
        TrainingData.from_records(Fixed(), [0, 1], records)


def test_the_fingerprint_is_of_what_the_records_were_drawn_from_and_of_themselves_by_default():
    records = records_of(np.array([1, 2, 3]))

    def fingerprint(frame, *given_):
        return TrainingData.from_records(Fixed(), [0, 1, 2], frame, *given_).fingerprint

    changed = [
        records.with_columns(age=pl.Series([1, 2, 4])), records.with_columns(copies=pl.lit(2)),
        records.with_columns(group_id=pl.lit(0)), records.with_columns(photograph_id=pl.lit(0)),
    ]  # fmt: skip
    assert len({fingerprint(frame) for frame in (records, *changed)}) == 5
    assert fingerprint(records.with_columns(note=pl.lit("x"))) == fingerprint(records)
    assert {fingerprint(frame, "source") for frame in (records, *changed)} == {"source"}
