"""Cross-fitting: who is held out, what is kept, and that it goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agebench import registry
from agebench.errors import Interrupted, NothingCurated, RecipeError
from agebench.recipes import MethodRecipe
from agebench.training import crossfit as module
from agebench.training.crossfit import SCHEMA, crossfit
from agebench.training.data import TrainingData
from agebench.training.splits import fold_of

from .conftest import InMemoryMany, data_of, records_of, tiny

RECIPE = tiny(steps=4, checkpoint_every=2, validation=0.0)


def test_every_record_is_estimated_once_in_order(tmp_path: Path, data: TrainingData) -> None:
    steps: list[tuple[int, int]] = []
    found = crossfit(RECIPE, data, folder=tmp_path, folds=3, on_progress=lambda *now: steps.append(now[:2]))
    assert found.schema == SCHEMA
    assert found["path"].to_list() == data.records["path"].to_list()
    assert found["fold"].to_list() == fold_of(data.records, 3, 0).tolist()
    probabilities = np.array(found["probabilities"].to_list())
    years = np.arange(100)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-4)
    assert found["estimate"].to_numpy() == pytest.approx(probabilities @ years, abs=1e-2)
    variance = probabilities @ years**2 - (probabilities @ years) ** 2
    assert found["spread"].to_numpy() == pytest.approx(np.sqrt(variance), abs=0.05)
    claimed = probabilities[np.arange(len(found)), data.ages]
    assert found["log_probability"].to_numpy() == pytest.approx(np.log(claimed), abs=1e-3)
    assert steps[-1] == (12, 12)


def test_a_methods_estimates_have_no_probabilities_where_it_gives_none(tmp_path: Path, data: TrainingData) -> None:
    table = {"name": "median", "title": "for tests", "label": "Median", "crop": {"size": 32, "encoding": "raw"}}
    recipe = MethodRecipe.model_validate(table | {"method": {"name": "median"}})
    found = crossfit(recipe, data, folder=tmp_path, folds=3)
    assert found.schema == SCHEMA
    assert found["path"].to_list() == data.records["path"].to_list()
    assert found.select("spread", "log_probability", "probabilities").null_count().row(0) == (len(found),) * 3
    for (fold,), some in found.group_by("fold"):
        others = found.filter(pl.col("fold") != fold)["age"]
        assert some["estimate"].to_list() == pytest.approx([others.median()] * len(some), abs=2)


def test_a_methods_features_are_read_once_for_all_folds(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def brightness(faces: np.ndarray) -> np.ndarray:
        read.append(len(faces))
        return faces.mean((1, 2)).astype(np.float32)

    real = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: brightness if kind == "features" else real(kind, name))
    table = {"name": "fitted", "title": "for tests", "label": "Fitted", "crop": {"size": 32, "encoding": "raw"}}
    recipe = MethodRecipe.model_validate(table | {"method": {"name": "logistic", "penalty": 0.1}})
    found = crossfit(recipe, data, folder=tmp_path, folds=3)
    assert sum(read) == len(data.rows) + 1  # one to know the size
    assert (found["estimate"] - found["age"]).abs().mean() < 15  # brightness tells the age
    assert np.array(found["probabilities"].to_list()).sum(1) == pytest.approx(1, abs=1e-4)


def test_a_network_never_sees_what_it_is_asked_about(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[int]] = []
    real = module.fit

    def watched(recipe, train, validation, **how):
        seen.append(set(train.rows.tolist()))
        assert len(validation.rows) == 0
        return real(recipe, train, validation, **how)

    monkeypatch.setattr(module, "fit", watched)
    found = crossfit(RECIPE, data, folder=tmp_path, folds=3)
    folds = found["fold"].to_numpy()
    for fold, rows in zip(sorted(set(folds)), seen, strict=True):
        assert rows == set(np.flatnonzero(folds != fold).tolist())


def test_it_is_seeded_and_changing_a_records_age_does_not_change_its_own_estimate(tmp_path: Path) -> None:
    ages = np.arange(0, 96, 4)
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(24), records_of(ages, 1))
    first = crossfit(RECIPE, data, folder=tmp_path / "a", folds=2)
    assert crossfit(RECIPE, data, folder=tmp_path / "b", folds=2).equals(first)
    assert not crossfit(RECIPE, data, folder=tmp_path / "c", folds=2, seed=1).equals(first)
    changed = ages.copy()
    changed[5] = 99
    lying = TrainingData.from_records(InMemoryMany(ages), np.arange(24), records_of(changed, 1))
    other = crossfit(RECIPE, lying, folder=tmp_path / "d", folds=2)
    assert other["estimate"][5] == first["estimate"][5]
    assert (other["estimate"] != first["estimate"]).any()


def test_an_interrupted_one_goes_on_to_the_same_result(tmp_path: Path, data: TrainingData) -> None:
    whole = crossfit(RECIPE, data, folder=tmp_path / "whole", folds=3)

    def stop(step: int, steps: int, loss: float, rate: float) -> None:
        if step == 7:  # in the second fold, after a checkpoint
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="Finished folds are in"):
        crossfit(RECIPE, data, folder=tmp_path / "cut", folds=3, on_progress=stop)
    assert (tmp_path / "cut" / "fold-0.parquet").exists()
    again: list[int] = []
    resumed = crossfit(RECIPE, data, folder=tmp_path / "cut", folds=3, on_progress=lambda *now: again.append(now[0]))
    assert min(again) > 7
    assert resumed.equals(whole)
    assert sorted(one.name for one in (tmp_path / "cut").iterdir()) == [
        "crossfit.json", "fold-0.parquet", "fold-1.parquet", "fold-2.parquet",
    ]  # fmt: skip


def test_finished_folds_are_kept_for_the_same_work_only(tmp_path: Path, data: TrainingData) -> None:
    steps: list[int] = []

    def count(step: int, *_: object) -> None:
        steps.append(step)

    crossfit(RECIPE, data, folder=tmp_path, folds=2, on_progress=count)
    steps.clear()
    crossfit(RECIPE, data, folder=tmp_path, folds=2, on_progress=count)
    assert steps == []
    for changed in ({"seed": 3}, {"folds": 3}):
        crossfit(RECIPE, data, folder=tmp_path, **({"folds": 2} | changed), on_progress=count)
        assert steps
        steps.clear()
    crossfit(tiny(steps=5, validation=0.0), data, folder=tmp_path, folds=2, on_progress=count)
    assert steps


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"", lambda content: b"\xff" * 99])
def test_a_damaged_fold_is_repeated(tmp_path: Path, data: TrainingData, damage: Callable[[bytes], bytes]) -> None:
    whole = crossfit(RECIPE, data, folder=tmp_path, folds=2)
    for name in ("fold-1.parquet", "crossfit.json"):
        (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
        assert crossfit(RECIPE, data, folder=tmp_path, folds=2).equals(whole)


def test_records_without_copies_are_estimated_but_not_trained_on(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = data.records.with_columns(copies=pl.when(pl.int_range(pl.len()) < 10).then(0).otherwise(1))
    thinned = TrainingData.from_records(data.pictures, data.rows, records)
    real = module.fit

    def watched(recipe, train, validation, **how):
        assert train.rows.min() >= 10
        return real(recipe, train, validation, **how)

    monkeypatch.setattr(module, "fit", watched)
    assert len(crossfit(RECIPE, thinned, folder=tmp_path, folds=2)) == len(data.rows)


def test_one_group_and_pictures_of_another_size_are_refused(tmp_path: Path) -> None:
    ages = np.arange(10)
    alone = TrainingData.from_records(InMemoryMany(ages), np.arange(10), records_of(ages, per_group=10))
    with pytest.raises(NothingCurated, match="at least two groups"):
        crossfit(RECIPE, alone, folder=tmp_path)
    with pytest.raises(RecipeError, match="pixels"):
        crossfit(RECIPE, data_of(size=48), folder=tmp_path)


def test_a_fold_learns_from_no_copy_of_a_photograph_that_it_estimates(
    tmp_path: Path, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first record of every second subject shows one photograph."""
    photograph = pl.when(pl.col("group_id") % 2 == 0).then(0).otherwise(pl.int_range(100, 100 + len(data.rows)))
    records = data.records.with_columns(photograph_id=photograph)
    planted = TrainingData.from_records(data.pictures, data.rows, records)
    learnt: list[set[int]] = []
    real = module.fit

    def watched(recipe: object, train: object, validation: object, **how: object) -> object:
        learnt.append(set(train.rows.tolist()))  # type: ignore[attr-defined]
        return real(recipe, train, validation, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "fit", watched)
    found = crossfit(RECIPE, planted, folder=tmp_path, folds=2)
    for fold, rows in enumerate(learnt):
        estimated = set(records.filter(found["fold"] == fold)["photograph_id"])
        assert not estimated & set(records[sorted(rows)]["photograph_id"])
