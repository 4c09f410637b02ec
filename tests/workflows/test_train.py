"""What a training draws from a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import agebench as product
from agebench.curation.estimates import meant_rows
from agebench.demo.releases import DemoReleases
from agebench.manifest.store import open_manifest
from agebench.training.resolve import resolve_recipe
from agebench.training.splits import LEFT_OUT, TRAIN, VALIDATION
from agebench.workflows import train as workflow
from agebench.workflows.train import _crop, _source


def test_a_picture_that_a_seed_draws_and_that_is_gone_does_not_make_other_data(
    drawn_release: DemoReleases,
    detector: str,
    succeed: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "release"
    shutil.copytree(drawn_release.roots["imdb-wiki"], root)
    succeed(tmp_path, "curate", "imdb-wiki", "--root", root, "--detector", detector)
    monkeypatch.chdir(tmp_path)
    curated = product.Manifest("imdb-wiki").curated
    recipe = resolve_recipe("neighborhood-quick")
    before, _ = _crop(_source("imdb-wiki", None), recipe, 0, None)
    shutil.rmtree("crops")
    Path(curated["file"][0]).unlink()
    after, notes = _crop(_source("imdb-wiki", None), recipe, 0, None)
    assert len(after.records) < len(before.records)
    assert any("could not be cropped" in note for note in notes)
    assert after.fingerprint == before.fingerprint


@pytest.fixture
def shared_photographs(
    drawn_release: DemoReleases,
    detector: str,
    succeed: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A curated release in which pictures of some people are files of other people, as IMDb files one photograph under
    everybody in it. Every readable record of a plausible age is kept."""
    root = tmp_path / "release"
    shutil.copytree(drawn_release.roots["imdb-wiki"], root)
    curate = ("curate", "imdb-wiki", "--root", root, "--detector", detector, "--recipe", "imdb-wiki-none")
    succeed(tmp_path, *curate)
    monkeypatch.chdir(tmp_path)
    rows = product.Manifest("imdb-wiki").curated.sort("record_id")
    firsts = rows.unique("subject_id", keep="first", maintain_order=True)["file"].to_list()
    for one, other in zip(firsts[::2], firsts[1::2], strict=False):
        shutil.copy(one, other)
    succeed(tmp_path, *curate)
    return tmp_path / "manifests" / "imdb-wiki.duckdb"


def on_both_sides(rows: pl.DataFrame, column: str) -> set[str]:
    known = rows.drop_nulls(column)
    sides = [set(known.filter(pl.col("split") == side)[column]) for side in (TRAIN, VALIDATION)]
    return sides[0] & sides[1]


def test_no_subject_and_no_file_is_on_both_sides_of_what_a_manifest_trains(shared_photographs: Path) -> None:
    with open_manifest(shared_photographs, write=True) as con:  # of other ages, each may be the only one to train on
        con.execute("UPDATE record SET age = 30 WHERE age BETWEEN 0 AND 99")
    source, recipe = _source("imdb-wiki", None), resolve_recipe("neighborhood-quick", {"train.validation": 0.3})
    several = source.rows.group_by("sha256").agg(pl.col("subject_id").n_unique()).filter(pl.col("subject_id") > 1)
    assert len(several) >= 3
    left_out = 0
    faces = product.torch_dataset("imdb-wiki", size=32)
    for seed in range(20):
        drawn = source.drawn(recipe, seed)
        assert set(drawn["split"]) >= {TRAIN, VALIDATION}
        training, validation = faces.split(0.3, seed)
        sides = np.full(len(faces), LEFT_OUT, dtype=object)
        sides[training], sides[validation] = TRAIN, VALIDATION
        for rows in (drawn, faces.records.with_columns(split=pl.Series(sides.tolist()))):
            assert not on_both_sides(rows, "subject_id") | on_both_sides(rows, "sha256")
            left_out += int((rows["split"] == LEFT_OUT).sum())
    assert left_out > 0
    with open_manifest(shared_photographs) as con:
        rows = meant_rows(con)  # of which cross-fitting makes its folds
    assert rows["photograph_id"].null_count() == 0
    assert rows.group_by("sha256").agg(pl.col("photograph_id").n_unique())["photograph_id"].max() == 1
    assert set(several["sha256"]) & set(rows["sha256"])


def test_the_card_of_a_balanced_training_has_the_plans_number_of_each_class(
    shared_photographs: Path, succeed: Callable[..., None]
) -> None:
    folder = shared_photographs.parents[1]
    succeed(folder, "balance", "--per-class", 4, "--thin-ages", "0-99")
    short = {"train.steps": 1, "train.batch": 4, "train.warmup": 0, "train.validation": 0.2, "train.balance": 0.0}
    run = product.train("neighborhood-quick", changes=short).run
    card = json.loads((run.path / "card.json").read_text())
    rows = pl.read_parquet(run.path / "records.parquet")
    trained, curated = (set(ages["age"]) for ages in (rows.filter(pl.col("split") == TRAIN), _source(None, None).rows))
    assert trained == curated  # no age has vanished
    assert {age: n for age, n in enumerate(card["classes"]["draws"]) if n} == dict.fromkeys(trained, 4)
    assert card["validation_records"] == (rows["split"] == VALIDATION).sum() > 0
    assert card["largest_group"] >= rows.group_by("group_id").len()["len"].max()
    faces = product.torch_dataset("imdb-wiki", size=32)
    training, _ = faces.split(0.2)
    drawn = faces.ages[list(faces.sampler(training))]
    assert set(np.bincount(drawn)) - {0} == {4}


def test_a_cpu_trains_from_imagenet_weights_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "_accelerator", lambda: False)
    monkeypatch.setattr(workflow, "has_imagenet_weights", lambda: False)
    assert workflow.default_model() == ("neighborhood-quick", "the default on a CPU")
    monkeypatch.setattr(workflow, "has_imagenet_weights", lambda: True)
    assert workflow.default_model()[0] == "neighborhood-lite"
    monkeypatch.setattr(workflow, "_accelerator", lambda: True)
    assert workflow.default_model()[0] == "neighborhood-34"
