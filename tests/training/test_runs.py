"""Run folders: complete or not, never altered, found by name, and refused with a sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from agebench.errors import Interrupted, Missing, NothingCurated, RunError, StorageError, UsageError
from agebench.recipes import digest
from agebench.training import runs as runs_module
from agebench.training.data import TrainingData
from agebench.training.inference import predict_ages
from agebench.training.runs import Run, changed_files, find_run, list_runs, load_network, load_run, train_run

from .conftest import InMemory, InMemoryMany, data_of, records_of, tiny

PROVENANCE = {"manifest": "abc", "plan": {"name": "default", "sha256": "def"}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Run:
    runs = tmp_path_factory.mktemp("runs")
    return train_run(tiny(steps=4), data_of(), runs_dir=runs, seed=9, provenance=PROVENANCE)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished.path, tmp_path / finished.id))


def stop(step: int, *_: object) -> None:
    raise KeyboardInterrupt


def test_a_complete_run_holds_what_the_design_says_and_no_checkpoint(finished):
    assert {p.name for p in finished.path.iterdir()} == {
        "weights.safetensors",
        "card.json",
        "metrics.jsonl",
        "records.parquet",
        "predictions",
        "COMMITTED",
    }


def test_a_run_is_named_by_model_time_and_a_short_hash(finished):
    name, day, clock, short = finished.id.rsplit("-", 3)
    assert name == "tiny"
    datetime.strptime(f"{day}{clock}", "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    assert len(short) == 6


def test_the_card_tells_recipe_provenance_seed_versions_hardware_and_times(finished):
    card = finished.card
    assert card["recipe"] == tiny(steps=4).model_dump(mode="json")
    assert card["recipe_digest"] == digest(tiny(steps=4))
    assert card["provenance"] == PROVENANCE
    assert card["seed"] == 9
    assert card["versions"].keys() >= {"agebench", "python", "torch"}
    assert card["hardware"]["device"]
    assert card["started"] < card["finished"]
    assert card["seconds"] > 0
    assert card["train_records"] + card["validation_records"] == 40
    assert finished.recipe == tiny(steps=4)


def test_the_records_are_kept_with_the_split_that_the_training_made(finished):
    records = pl.read_parquet(finished.path / "records.parquet")
    assert set(records["split"]) == {"train", "validation"}
    assert (records["split"] == "train").sum() == finished.card["train_records"]
    assert records.group_by("group_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert records.equals(data_of().records)


def test_the_marker_lists_the_files_as_sha256sum_checks_them(finished):
    for line in (finished.path / "COMMITTED").read_text().splitlines():
        sha256, name = line.split("  ")
        assert len(sha256) == 64
        assert (finished.path / name).exists()
    assert changed_files(finished) == []


def test_two_runs_of_one_second_have_two_names(tmp_path, monkeypatch):
    class Still(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(runs_module, "datetime", Still)
    names = {train_run(tiny(steps=1), data_of(), runs_dir=tmp_path).id for _ in range(2)}
    assert len(names) == 2
    assert all(name.startswith("tiny-20260102-030405-") for name in names)


def test_a_run_without_its_marker_is_unfinished_and_never_loaded(copied):
    (copied / "COMMITTED").unlink()
    (listed,) = list_runs(copied.parent)
    assert (listed.id, listed.complete, listed.card["model"]) == (copied.name, False, "tiny")
    with pytest.raises(RunError, match="unfinished"):
        load_run(copied)


def test_a_folder_that_is_not_there_is_missing(tmp_path):
    with pytest.raises(Missing, match="no run in"):
        load_run(tmp_path / "nothing")
    assert list_runs(tmp_path / "nothing") == []


def test_listing_runs_does_not_wait_for_torch():
    program = "import sys, agebench.training.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_broken_card_is_named(copied):
    (copied / "card.json").write_text("{ half")
    with pytest.raises(RunError, match=r"card\.json is not JSON"):
        load_run(copied)
    assert [run.complete for run in list_runs(copied.parent)] == [False]


def test_a_card_that_was_altered_later_is_refused(copied):
    card = json.loads((copied / "card.json").read_text())
    (copied / "card.json").write_text(json.dumps(card | {"seed": 1}))
    with pytest.raises(RunError, match="was changed after"):
        load_run(copied)


def test_weights_of_another_network_are_refused(copied):
    weights = load_file(copied / "weights.safetensors")
    weights["fc.weight"] = torch.zeros(100, 8)
    save_file(weights, copied / "weights.safetensors")
    with pytest.raises(RunError, match=r"fc\.weight is \[100, 8\], expected \[100, 16\]"):
        load_run(copied)


def test_weights_that_are_no_safetensors_are_refused_and_run_no_code(copied):
    torch.save({"a": 1}, copied / "weights.safetensors")
    with pytest.raises(RunError, match="cannot be read"):
        load_run(copied)


def test_weights_that_were_altered_later_are_refused(copied):
    weights = load_file(copied / "weights.safetensors")
    weights["fc.bias"] += 1
    save_file(weights, copied / "weights.safetensors")
    run = load_run(copied)
    assert changed_files(run) == ["weights.safetensors"]
    with pytest.raises(RunError, match="was changed after the run"):
        load_network(run)


def test_a_run_is_found_by_id_path_beginning_or_model(finished):
    folder = finished.path.parent
    for name in (finished.id, str(finished.path), finished.id[:-3], "tiny"):
        assert find_run(name, folder).id == finished.id


def test_an_unknown_run_is_answered_with_the_nearest(finished):
    with pytest.raises(UsageError, match=finished.id):
        find_run(finished.id[:-6] + "xxxxxx", finished.path.parent)


def test_without_any_run_the_answer_says_how_to_make_one(tmp_path):
    with pytest.raises(Missing, match="agebench train"):
        find_run("tiny", tmp_path)


def test_a_beginning_that_fits_several_runs_lists_them(copied):
    shutil.copytree(copied, copied.parent / f"{copied.name[:-2]}zz")
    with pytest.raises(UsageError, match="matches 2 runs"):
        find_run(copied.name[:-2], copied.parent)


def test_resuming_takes_the_run_of_the_same_recipe_seed_and_records_only(tmp_path):
    with pytest.raises(Interrupted):
        train_run(tiny(), data_of(), runs_dir=tmp_path, seed=1, on_progress=stop)
    for recipe, data, seed, told in (
        (tiny(rate=1.0), data_of(), 1, "another recipe"),
        (tiny(), data_of(seed=8), 1, "another records"),
        (tiny(), data_of(), 2, "another seed"),
    ):
        with pytest.raises(Missing, match=f"no unfinished run of tiny.*{told}"):
            train_run(recipe, data, runs_dir=tmp_path, seed=seed, resume=True)
    run = train_run(tiny(), data_of(), runs_dir=tmp_path, seed=1, resume=True)
    assert [listed.id for listed in list_runs(tmp_path)] == [run.id]
    with pytest.raises(Missing):
        train_run(tiny(), data_of(), runs_dir=tmp_path, seed=1, resume=True)


def test_two_processes_do_not_resume_one_run(tmp_path):
    with pytest.raises(Interrupted):
        train_run(tiny(), data_of(), runs_dir=tmp_path, on_progress=stop)
    (folder,) = tmp_path.iterdir()
    with FileLock(folder / "lock"), pytest.raises(RunError, match="Another process is training"):
        train_run(tiny(), data_of(), runs_dir=tmp_path, resume=True)
    run = train_run(tiny(), data_of(), runs_dir=tmp_path, resume=True)
    assert not (run.path / "lock").exists()


def test_records_that_are_dropped_are_neither_trained_on_nor_validated(tmp_path):
    ages = np.arange(40)
    dropped = np.arange(40) % 4 == 0
    records = records_of(ages, 1).with_columns(copies=pl.Series(np.where(dropped, 0, 2)))

    class Watched(InMemoryMany):
        def read_many(self, rows):
            assert not dropped[rows].any()
            return super().read_many(rows)

    data = TrainingData.from_records(Watched(ages), np.arange(40), records)
    run = train_run(tiny(), data, runs_dir=tmp_path)
    assert run.card["train_records"] + run.card["validation_records"] == 30
    assert run.card["draws_per_epoch"] == 2 * run.card["train_records"]


def test_a_split_that_leaves_nothing_to_train_on_is_refused(tmp_path):
    records = records_of(np.arange(4), 1).with_columns(split=pl.lit("validation"))
    data = TrainingData.from_records(InMemory(np.arange(4)), np.arange(4), records)
    with pytest.raises(NothingCurated):
        train_run(tiny(steps=1, batch=2), data, runs_dir=tmp_path)


def test_the_card_tells_the_true_draws_of_each_class_the_largest_group_and_what_was_left_out(tmp_path):
    records = records_of(np.array([7, 7, 7, 30, 30, 30])).with_columns(
        group_id=pl.Series([0, 0, 0, 1, 2, 3]), copies=pl.Series([2, 2, 1, 5, 1, 0]),
        split=pl.Series(["train"] * 4 + ["validation", "left out"]),
    )  # fmt: skip
    data = TrainingData.from_records(InMemory(np.arange(6)), np.arange(6), records)
    card = train_run(tiny(steps=1, batch=2), data, runs_dir=tmp_path).card
    assert {age: n for age, n in enumerate(card["classes"]["records"]) if n} == {7: 3, 30: 1}
    assert {age: n for age, n in enumerate(card["classes"]["draws"]) if n} == {7: 5, 30: 5}
    assert (card["largest_group"], card["left_out_records"], card["validation_records"]) == (3, 1, 1)


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError, match="Cannot write the run in"):
        train_run(tiny(steps=1), data_of(), runs_dir=tmp_path / "runs")


def test_predictions_are_expected_ages_and_probabilities_whatever_the_batch(finished):
    data = data_of()
    ages, probabilities = predict_ages(finished, data.pictures, [3, 1, 2], batch=64)
    assert ages.shape == (3,)
    assert probabilities.shape == (3, 100)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities @ np.arange(100), ages, rtol=1e-4)
    one_by_one, _ = predict_ages(finished, InMemory(data.ages), [3, 1, 2], batch=1)
    np.testing.assert_allclose(one_by_one, ages, rtol=1e-3)


def test_predicting_nothing_gives_empty_arrays(finished):
    ages, probabilities = predict_ages(finished, data_of().pictures, [])
    assert ages.shape == (0,)
    assert probabilities.shape == (0, 100)
