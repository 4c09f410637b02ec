"""A study: several trainings on equal terms, resumable run by run, and the comparison of what they predict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import agebench as product
from agebench.bench.figures import of_study, write_drawings
from agebench.bench.studies import compare_arms, study_tables
from agebench.demo.releases import DemoReleases
from agebench.errors import RecipeError, RunError, UsageError
from agebench.recipes import load_study

STUDY = """name = "pair"
title = "Two losses"
model = "neighborhood-quick"
seeds = 2

[[arm]]
label = "Cross entropy"
set = { "loss.name" = "cross-entropy" }

[[arm]]
label = "Regression"
set = { "loss.name" = "regression", "loss.norm" = "huber" }
"""
SMALL = ("--set", "train.steps=2", "--set", "train.batch=8", "--set", "network.widths=[8,8,8,8]")


@pytest.fixture(scope="module")
def curated(
    drawn_release: DemoReleases,
    detector: str,
    succeed: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("curated")
    for name in ("imdb-wiki", "fg-net"):
        succeed(folder, "curate", name, "--root", drawn_release.roots[name], "--detector", detector)
    return folder


@pytest.fixture
def work(curated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(curated, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "pair.toml").write_text(STUDY)
    return tmp_path


def run_cards(work: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(work.glob("runs/*/card.json"))]


def test_every_arm_is_trained_with_every_seed_on_the_same_records_and_compared(
    work: Path, agebench: Callable[..., Any]
) -> None:
    found = json.loads(agebench("study", "pair", *SMALL, "--figures", "figures", "--json").out)
    assert (found["command"], found["study"]) == ("study", "pair")
    cards = run_cards(work)
    assert sorted((card["recipe"]["loss"]["name"], card["seed"]) for card in cards) == [
        ("cross-entropy", 0), ("cross-entropy", 1), ("regression", 0), ("regression", 1),
    ]  # fmt: skip
    assert {card["recipe"]["train"]["steps"] for card in cards} == {2}
    assert "sigma" not in str([card["recipe"]["loss"] for card in cards])
    for seed in (0, 1):
        assert len({card["records_digest"] for card in cards if card["seed"] == seed}) == 1
    (one,) = found["sets"]
    assert (one["column"], found["seeds"]) == ("FG-NET", 2)
    first, second = one["arms"]
    assert first["difference"] is None
    assert second["difference"] == pytest.approx(second["mae"] - first["mae"])
    assert second["mae"] == pytest.approx(np.mean(second["seeds"]))
    assert {path.suffix for path in (work / "figures").iterdir()} == {".svg", ".pdf"}

    before = {path: path.stat().st_mtime_ns for path in work.glob("runs/*/weights.safetensors")}
    (work / "models" / "pair.toml").write_text(STUDY + '\n[[arm]]\nlabel = "SORD"\nset = { "loss.name" = "sord" }\n')
    again = json.loads(agebench("study", "pair", *SMALL, "--json").out)
    assert [arm["seeds"] for arm in again["sets"][0]["arms"][:2]] == [arm["seeds"] for arm in one["arms"]]
    assert len(run_cards(work)) == 6
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


def test_a_dry_run_of_a_study_tells_what_it_takes_and_writes_nothing(work: Path, agebench: Callable[..., Any]) -> None:
    found = json.loads(agebench("study", "pair", *SMALL, "--dry-run", "--json").out)
    assert (found["dry_run"], found["seeds"]) == (True, 2)
    assert {label: arm["recipe"]["loss"]["name"] for label, arm in found["arms"].items()} == {
        "Cross entropy": "cross-entropy", "Regression": "regression",
    }  # fmt: skip
    assert found["seconds"] == pytest.approx(2 * sum(arm["seconds"] for arm in found["arms"].values()))
    assert all(arm["recipe"]["train"]["steps"] == 2 and arm["parameters"] > 0 for arm in found["arms"].values())
    told = agebench("study", "pair", *SMALL, "--dry-run", "--seeds", "1").out
    assert "Would train each arm 1 time: about" in " ".join(told.split())
    assert "Nothing was written." in " ".join(told.split())
    assert not (work / "runs").exists()


def test_a_study_goes_on_where_it_was_stopped(work: Path) -> None:
    changes = {"train.steps": 4, "train.batch": 8, "train.checkpoint_every": 1, "network.widths": [8, 8, 8, 8]}
    trained = 0

    def stop(step: int, *_: object) -> None:
        nonlocal trained
        trained += 1
        if trained == 7:  # in the second training
            raise KeyboardInterrupt

    with pytest.raises(product.errors.Interrupted):
        product.study("pair", changes=changes, seeds=1, on_step=stop)
    unfinished = [card["run"] for card in run_cards(work) if card["finished"] is None]
    report = product.study("pair", changes=changes, seeds=1)
    assert len(unfinished) == 1
    assert [run.id for runs in report.runs.values() for run in runs][1:] == unfinished
    assert len(run_cards(work)) == 2


def test_a_mistake_in_an_arm_is_told_before_anything_is_trained(work: Path) -> None:
    (work / "models" / "pair.toml").write_text(STUDY.replace("loss.norm", "loss.nrom"))
    with pytest.raises(RecipeError, match=r"loss\.nrom"):
        product.study("pair")
    assert not (work / "runs").exists()


def test_what_is_no_test_set_is_told_before_anything_is_trained(work: Path) -> None:
    with pytest.raises(UsageError, match="not a test set"):
        product.study("pair", on=["imdb-wiki"])
    assert not (work / "runs").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (STUDY.replace('"Regression"', '"Cross entropy"'), "two arms have the label 'Cross entropy'"),
        (STUDY[: STUDY.rindex("[[arm]]")], "arm"),
        (STUDY.replace("seeds = 2", "seeds = 0"), "seeds"),
        (STUDY.replace("title", "titel"), "titel: unknown key"),
    ],
)
def test_a_mistake_in_a_study_is_told(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pair.toml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        load_study(str(tmp_path / "pair.toml"))


def test_a_study_and_a_training_are_not_taken_for_each_other(here: Path) -> None:
    with pytest.raises(UsageError, match="agebench train neighborhood-quick"):
        load_study("neighborhood-quick")
    with pytest.raises(UsageError, match="agebench study losses-quick"):
        product.train("losses-quick")


def predictions(shift: float, seed: int, count: int = 300) -> pl.DataFrame:
    """Of an estimator `shift` years too high, with noise that differs by seed."""
    ages = np.random.default_rng(9).integers(0, 60, count)
    noise = np.random.default_rng(seed).normal(0, 0.5, count)
    return pl.DataFrame(
        {
            "part": "x", "path": [f"{n}.jpg" for n in range(count)], "age": ages, "predicted": ages + shift + noise,
            "subject_id": [f"s{n // 3}" for n in range(count)],
        }
    )  # fmt: skip


def test_differences_are_paired_and_corrected() -> None:
    arms = {f"{shift} years off": [predictions(shift, seed) for seed in range(3)] for shift in (4.0, 4.0001, 6.0)}
    found = compare_arms("fg-net", "FG-NET", arms)
    first, same, worse = found.arms
    assert first.mae == pytest.approx(4, abs=0.05)
    assert first.bias == pytest.approx(4, abs=0.05)
    assert same.difference == pytest.approx(0, abs=1e-3)
    assert worse.difference == pytest.approx(2, abs=0.01)
    low, high = worse.difference_interval or (0, 0)
    assert 1.98 < low <= 2 <= high < 2.02  # the noise is shared, so that it cancels out
    assert worse.p_holm is not None
    assert worse.p_holm < 0.01
    assert worse.groups["n"].sum() == found.n == 300
    assert worse.groups["mae"].to_list() == pytest.approx([6] * 6, abs=0.2)


def test_only_pictures_of_all_trainings_count_and_labels_must_agree() -> None:
    arms = {"a": [predictions(1, 0)], "b": [predictions(2, 0).head(200)]}
    assert compare_arms("fg-net", "FG-NET", arms).n == 200
    with pytest.raises(RunError, match="labels of FG-NET changed"):
        compare_arms("fg-net", "FG-NET", arms | {"c": [predictions(1, 0).with_columns(pl.col("age") + 1)]})
    with pytest.raises(RunError, match="in common"):
        compare_arms("fg-net", "FG-NET", arms | {"c": [predictions(1, 0).clear()]})


def test_the_tables_say_what_was_compared_and_the_figure_is_drawn(tmp_path: Path) -> None:
    arms = {label: [predictions(shift, seed) for seed in range(2)] for label, shift in {"One": 4.0, "Two": 6.0}.items()}
    found = compare_arms("fg-net", "FG-NET", arms)
    errors, apart = study_tables("Losses", 2, [found])
    assert [row.method for row in errors.rows] == ["One", "Two"]
    assert [row.method for row in apart.rows] == ["Two"]
    cell = apart.rows[0].cells["FG-NET"]
    assert cell is not None
    assert cell.number == "2.00"
    assert "Two on FG-NET" in apart.footnotes[0][1]
    assert "2 seeds" in errors.footnotes[0][1]
    written = write_drawings([of_study(found)], tmp_path)
    assert [path.name for path in written] == ["fg-net-study.svg", "fg-net-study.pdf"]
    assert all(path.stat().st_size > 1000 for path in written)
