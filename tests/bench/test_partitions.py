"""Folds: what is trained on and what is tested, for every kind of partition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agebench.bench.partitions import folds_of
from agebench.errors import RecipeError
from agebench.recipes import Partition


def rows(subjects: list[str | None]) -> pl.DataFrame:
    n = len(subjects)
    return pl.DataFrame(
        {"part": ["a"] * n, "path": [f"{i}.jpg" for i in range(n)], "subject_id": subjects},
        schema={"part": pl.String, "path": pl.String, "subject_id": pl.String},
    )


def made(**settings: object) -> Partition:
    return Partition.model_validate(settings)


SUBJECTS = st.lists(st.sampled_from([*"abcdefgh", None]), min_size=8, max_size=60).filter(
    lambda s: len({x for x in s if x}) >= 4
)


@given(SUBJECTS, st.sampled_from(["leave-one-subject-out", "folds"]))
def test_every_record_is_tested_once_and_no_subject_is_on_both_sides(subjects: list[str | None], kind: str) -> None:
    frame = rows(subjects)
    folds = folds_of(frame, made(kind=kind, folds=3))
    assert np.sum([fold.test for fold in folds], axis=0).tolist() == [1] * len(subjects)
    for fold in folds:
        assert not (fold.train & fold.test).any()
        trained = set(frame.filter(pl.Series(fold.train))["subject_id"].drop_nulls())
        tested = set(frame.filter(pl.Series(fold.test))["subject_id"].drop_nulls())
        assert not trained & tested


def test_leave_one_subject_out_has_a_fold_for_each_subject_and_each_record_of_nobody() -> None:
    folds = folds_of(rows(["x", "x", "y", None, None]), made(kind="leave-one-subject-out"))
    assert sorted(int(fold.test.sum()) for fold in folds) == [1, 1, 1, 2]


def test_a_holdout_has_its_share_and_does_not_depend_on_the_order() -> None:
    frame = rows([str(i // 3) for i in range(300)])
    (fold,) = folds_of(frame, made(kind="holdout", share=0.2))
    assert abs(int(fold.test.sum()) - 60) <= 2
    mixed = frame.sample(fraction=1, shuffle=True, seed=1)
    (again,) = folds_of(mixed, made(kind="holdout", share=0.2))
    assert set(frame.filter(pl.Series(fold.test))["path"]) == set(mixed.filter(pl.Series(again.test))["path"])


def test_a_holdout_by_record_may_split_a_subject() -> None:
    (fold,) = folds_of(rows(["one"] * 100), made(kind="holdout", share=0.2, by="record"))
    assert int(fold.test.sum()) == 20


def test_another_seed_draws_others() -> None:
    frame = rows([str(i) for i in range(100)])
    drawn = [folds_of(frame, made(kind="holdout", share=0.2, seed=seed))[0].test for seed in (0, 1)]
    assert (drawn[0] != drawn[1]).any()


def test_crossed_sets_train_in_turn_and_the_rest_is_always_tested() -> None:
    frame = rows([str(i // 2) for i in range(200)])
    first, second = folds_of(frame, made(kind="crossed", records=50))
    assert (int(first.train.sum()), int(second.train.sum())) == (50, 50)
    assert not (first.train & second.train).any()
    assert (first.test == ~first.train).all()


def test_parts_name_their_sides() -> None:
    frame = rows(["x"] * 4).with_columns(part=pl.Series(["train", "val", "test", "test"]))
    (fold,) = folds_of(frame, made(kind="parts", train=["train"], test=["test"]))
    assert fold.train.tolist() == [True, False, False, False]
    assert fold.test.tolist() == [False, False, True, True]


def test_a_file_of_folds_and_one_of_sides(tmp_path: Path) -> None:
    frame = rows(["x"] * 4)
    split = tmp_path / "split.csv"
    split.write_text("path,folder\n0.jpg,0\n1.jpg,1\na/2.jpg,1\n")
    folds = folds_of(frame, made(kind="file", file="split.csv"), near=tmp_path)
    assert [fold.test.tolist() for fold in folds] == [[True, False, False, False], [False, True, True, False]]
    assert folds[0].train.tolist() == [False, True, True, False]
    split.write_text("path,split\n0.jpg,Train\n1.jpg,test\n2.jpg,val\n")
    (fold,) = folds_of(frame, made(kind="file", file="split.csv", column="split"), near=tmp_path)
    assert (fold.train.tolist(), fold.test.tolist()) == ([True, False, False, False], [False, True, False, False])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("path,folder\nz.jpg,1\n", "no records of the manifest: 'z.jpg'"),
        ("path,folder\n0.jpg,1\n0.jpg,2\n", "more than once"),
        ("file,folder\n0.jpg,1\n", "no column 'path'"),
        ("path,folder\n0.jpg,1\n1.jpg,1\n", "no record to train on"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(RecipeError, match=words):
        folds_of(rows(["x"] * 4), made(kind="file", file="split.csv"), near=tmp_path)


def test_a_partition_that_lacks_what_its_kind_needs_is_refused() -> None:
    with pytest.raises(ValueError, match="needs `share`"):
        made(kind="holdout")
