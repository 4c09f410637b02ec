"""What another package adds by entry points is found, named and used: the package of `docs/extending.md`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agebench.demo.releases import DemoReleases

from .plugin import files, install

CARD = """
name = "people"
title = "People"
roles = ["train"]
layout = "age-first"
root = "data/people"
recipe = "by-colours"
age_rule = "the name begins with it"
files = "34_anna.jpg"
source = "drawn"
licence = "free"
citation = "none"
expected = {records = 8}
"""
RECIPE = """
name = "by-colours"
dataset = "people"
title = "Faces that are not the subject's go to review"
observe = {identities = "colours"}

[[check]]
name = "somebody_else"
review = "NOT identity_face"
reason = "no face is the subject's"
"""
TOP = Path(__file__).resolve().parents[2]
AgeBench = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def with_plugin(tmp_path_factory: pytest.TempPathFactory, drawn_release: DemoReleases) -> AgeBench:
    """Runs a command where the package is installed and the drawn IMDB-WIKI lies; its JSON document."""
    folder = tmp_path_factory.mktemp("plugin")
    site = install(folder / "site")
    (folder / "models").mkdir()
    (folder / "models" / "shallow-focal.toml").write_text(files()["models/shallow-focal.toml"])
    (folder / "data").mkdir()
    (folder / "data" / "imdb-wiki").symlink_to(drawn_release.roots["imdb-wiki"])
    paths = os.pathsep.join([str(site), str(TOP), os.environ.get("PYTHONPATH", "")])

    def run(*arguments: object) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "agebench", *map(str, arguments), "--json"],
            cwd=folder, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        document["folder"] = folder
        return document

    return run


@pytest.fixture(scope="session")
def curated(with_plugin: AgeBench, detector: str) -> dict[str, Any]:
    return with_plugin("curate", "imdb-wiki", "--detector", detector, "--estimator", "brightness", "--workers", 2)


def test_curate_doubts_ages_by_the_age_model_of_another_package(curated: dict[str, Any]) -> None:
    import duckdb

    with duckdb.connect(curated["folder"] / curated["manifest"], read_only=True) as con:
        names = con.execute("SELECT DISTINCT estimator FROM age_estimate").fetchall()
        [(suspected,)] = con.execute("SELECT count(label_suspicion) FROM evidence").fetchall()
    assert names == [("brightness-1",)]
    assert suspected > 0


def test_train_takes_the_loss_and_the_network_of_another_package(
    with_plugin: AgeBench, curated: dict[str, Any]
) -> None:
    from safetensors import safe_open

    trained = with_plugin("train", "shallow-focal", "--set", "train.steps=3", "--set", "train.batch=8")
    run = trained["folder"] / trained["path"]
    card = json.loads((run / "card.json").read_text())
    assert trained["steps"] == 3
    assert card["recipe"]["loss"] == {"name": "focal", "age": "mean", "gamma": 1.5}
    assert card["recipe"]["network"].items() >= {"name": "shallow", "weights": None, "width": 16}.items()
    with safe_open(run / "weights.safetensors", framework="np") as weights:
        assert weights.get_slice("0.weight").get_shape() == [16, 3, 3, 3]


def test_train_takes_the_method_and_the_feature_of_another_package(
    with_plugin: AgeBench, curated: dict[str, Any]
) -> None:
    (curated["folder"] / "models" / "nearest.toml").write_text(files()["models/nearest.toml"])
    trained = with_plugin("train", "nearest", "--set", "method.neighbours=3")
    card = json.loads((trained["folder"] / trained["path"] / "card.json").read_text())
    assert card["recipe"]["method"] == {"name": "nearest", "features": "brightness-by-row", "neighbours": 3}
    predicted = with_plugin("predict", "data/imdb-wiki", "--run", "nearest")["faces"]
    ages = [face["age"] for face in predicted if not face["fault"]]
    assert ages
    assert all(0 <= age <= 99 for age in ages)


def test_predict_loads_the_network_of_another_package(with_plugin: AgeBench, curated: dict[str, Any]) -> None:
    with_plugin("train", "shallow-focal", "--set", "train.steps=1", "--set", "train.batch=8")
    picture = next((curated["folder"] / "data" / "imdb-wiki").rglob("*.jpg"))
    assert with_plugin("predict", picture)["faces"]


def test_curate_looks_with_the_detector_of_another_package(with_plugin: AgeBench) -> None:
    report = with_plugin(
        "curate", "imdb-wiki", "--manifest", "centre.duckdb", "--detector", "centre", "--recipe", "imdb-wiki-none"
    )
    assert report["kept"] > 0


def test_curate_takes_the_layout_and_the_embedder_of_another_package(
    with_plugin: AgeBench, curated: dict[str, Any], detector: str
) -> None:
    import duckdb

    folder = curated["folder"]
    (folder / "data" / "people").mkdir()
    for name, text in {"manifests/people.toml": CARD, "pipelines/by-colours.toml": RECIPE}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with duckdb.connect(folder / curated["manifest"], read_only=True) as con:
        rows = con.execute("SELECT file, age FROM curated WHERE age BETWEEN 10 AND 80 LIMIT 8").fetchall()
    for number, (file, age) in enumerate(rows):
        shutil.copy(file, folder / "data" / "people" / f"{age}_person{number % 2}.jpg")
    with_plugin("curate", "people", "--detector", detector)
    with duckdb.connect(folder / "manifests" / "people.duckdb", read_only=True) as con:
        subjects = con.execute("SELECT DISTINCT subject_id FROM record ORDER BY 1").fetchall()
        models = con.execute("SELECT DISTINCT model FROM embedding").fetchall()
    assert subjects == [("person0",), ("person1",)]
    assert models == [("colours-1",)]


def test_a_setting_that_the_loss_does_not_take_is_refused(with_plugin: AgeBench, curated: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="gama"):
        with_plugin("train", "shallow-focal", "--set", "loss.gama=2")
