"""A model recipe that is built on another takes every key that it does not give itself."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from agebench.errors import RecipeError
from agebench.recipes import NetworkRecipe, digest, load_model_recipe, load_study
from agebench.training.resolve import resolve_recipe

BASE = """name = "first"
title = "First"
label = "First"
tables = [2]
published_row = "DEX"
[network]
name = "residual"
blocks = [1, 1]
widths = [8, 16]
weights = "w.pth"
[crop]
size = 32
encoding = "raw"
[loss]
name = "neighborhood"
sigma = 3.0
[train]
steps = 10
batch = 4
rate = 1e-3
"""


def head(name: str, base: str) -> str:
    return f'name = "{name}"\ntitle = "{name}"\nlabel = "{name}"\nbase = "{base}"\n'


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "first.toml").write_text(BASE)
    return tmp_path / "models"


def loaded(name: str) -> NetworkRecipe:
    recipe = load_model_recipe(name)
    assert isinstance(recipe, NetworkRecipe)
    return recipe


def test_keys_that_are_not_given_are_those_of_the_base(models: Path) -> None:
    (models / "second.toml").write_text(head("second", "first") + "[train]\nsteps = 20\n[loss]\nsigma = 4.0\n")
    base, here = loaded("first"), loaded("second")
    assert (here.train.steps, here.train.rate, here.crop) == (20, base.train.rate, base.crop)
    assert here.loss.settings == {"sigma": 4.0}
    assert (here.label, here.tables, here.published_row) == ("second", [2], None)
    assert here.network.weights == str(models.resolve() / "w.pth")


def test_another_loss_or_network_takes_no_settings_of_the_bases(models: Path) -> None:
    text = '[loss]\nname = "dldl"\n[network]\nname = "efficientnet-lite"\n'
    (models / "second.toml").write_text(head("second", "first") + text)
    here = loaded("second")
    assert (here.loss.name, here.loss.settings) == ("dldl", {})
    assert (here.network.name, here.network.settings, here.network.weights) == ("efficientnet-lite", {}, None)


def test_a_base_may_have_a_base_and_lie_elsewhere(models: Path, tmp_path: Path) -> None:
    (models / "second.toml").write_text(head("second", "first") + "[train]\nsteps = 20\n")
    (tmp_path / "here.toml").write_text(head("here", "second") + "[train]\nbatch = 8\n")
    here = loaded("here.toml")
    assert (here.train.steps, here.train.batch, here.train.rate) == (20, 8, 1e-3)


def test_it_is_the_recipe_that_says_the_same_in_full(models: Path) -> None:
    (models / "second.toml").write_text(head("second", "first") + "[train]\nsteps = 20\n")
    whole = BASE.replace('"first"', '"second"').replace('"First"', '"second"').replace("steps = 10", "steps = 20")
    whole = whole.replace('published_row = "DEX"\n', "").replace('"w.pth"', f'"{models.resolve() / "w.pth"}"')
    (models / "other").mkdir()
    (models / "other" / "second.toml").write_text(whole)
    assert digest(loaded("second")) == digest(loaded("models/other/second.toml"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (head("second", "frist"), r"second\.toml: base: .*'frist'.*first"),
        (head("second", "second"), "'second' is built on second itself"),
        (head("second", "first").replace('label = "second"\n', ""), "label: missing"),
        (head("second", "first") + "[train]\nstps = 3\n", r"train\.stps: unknown key"),
        (head("second", "first") + "[loss]\nsgima = 3\n", r"loss\.sgima: unknown key"),
    ],
)
def test_a_mistake_is_told_where_it_is(models: Path, text: str, words: str) -> None:
    (models / "second.toml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        load_model_recipe("second")


def test_two_recipes_that_are_each_others_base_are_refused(models: Path) -> None:
    (models / "second.toml").write_text(head("second", "third"))
    (models / "third.toml").write_text(head("third", "second"))
    with pytest.raises(RecipeError, match="is built on"):
        load_model_recipe("second")


def test_a_change_is_made_to_what_the_base_gave(models: Path) -> None:
    (models / "second.toml").write_text(head("second", "first"))
    (models / "first.toml").write_text(BASE.replace('weights = "w.pth"\n', ""))
    recipe = resolve_recipe("second", {"train.rate": 0.5})
    assert isinstance(recipe, NetworkRecipe)
    assert (recipe.train.rate, recipe.loss.settings["sigma"]) == (0.5, 3.0)


def test_a_study_takes_the_arms_of_another(models: Path, agebench: Any, tmp_path: Path) -> None:
    arm = "".join(f'[[arm]]\nlabel = "{label}"\nset = {{ "loss.sigma" = 1.0 }}\n' for label in ("One", "Two"))
    (models / "sigmas.toml").write_text(f'name = "sigmas"\ntitle = "S"\nmodel = "first"\nseeds = 2\n{arm}')
    (models / "other.toml").write_text('name = "other"\ntitle = "O"\nbase = "sigmas"\nmodel = "second"\n')
    study, base = load_study("other", tmp_path), load_study("sigmas", tmp_path)
    assert (study.name, study.model, study.seeds, study.arm) == ("other", "second", 2, base.arm)
    shown = agebench("show", "other", cwd=tmp_path).out
    resolved = "\n".join(line[2:] for line in shown.splitlines() if line.startswith("# "))
    assert tomllib.loads(resolved.partition("\n")[2])["arm"][1] == {"label": "Two", "set": {"loss.sigma": 1.0}}


def test_show_prints_it_resolved(models: Path, agebench: Any, tmp_path: Path) -> None:
    (models / "second.toml").write_text(head("second", "first") + "[train]\nsteps = 20\n")
    shown = agebench("show", "second", cwd=tmp_path).out
    assert 'base = "first"' in shown
    assert "# train.rate = 0.001" in shown
    assert "# train.steps = 20" in shown
    told = json.loads(agebench("show", "second", "--json", cwd=tmp_path).out)
    assert told["resolved"]["loss.sigma"] == "3.0"
    assert json.loads(agebench("show", "first", "--json", cwd=tmp_path).out)["resolved"] is None
