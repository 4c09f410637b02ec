"""Every shipped model recipe is a statement that loads and trains; a broken one is told all its mistakes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from agebench import registry
from agebench.errors import RecipeError
from agebench.recipes import NetworkRecipe, load_model_recipe, load_study, load_table_row, model_keys
from agebench.resources import shipped_folder
from agebench.training.augment import augment
from agebench.training.losses import make_loss
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import make_optimiser, rate_at
from agebench.training.resolve import resolve_recipe

FILES = [path for path in sorted(shipped_folder("models").glob("*.toml")) if path.stem != "published"]
STUDIES = [path.stem for path in FILES if "arm" in model_keys(path)]
NAMES = [path.stem for path in FILES if path.stem not in STUDIES]
NETWORKS = [name for name in NAMES if isinstance(load_table_row(name), NetworkRecipe)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name == "dex" else name for name in NETWORKS]
)  # 134 million parameters
def test_a_shipped_recipe_loads_and_its_network_takes_one_step(name, tmp_path):
    recipe = load_model_recipe(name, cwd=tmp_path)
    torch.manual_seed(0)
    network = make_network(recipe.network)
    optimiser = make_optimiser(network, recipe.train)
    size = min(recipe.crop.size, 64)  # the paper's 224 pixels would take most of a minute here
    pictures = torch.randint(0, 256, (4, size, size, 3), dtype=torch.uint8)
    generator = torch.Generator().manual_seed(0)
    last = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)][-1]
    before = last.weight.detach().clone()
    logits = network(normalise(augment(pictures, recipe.augment, generator)))
    loss = make_loss(recipe.loss)(logits, torch.tensor([0, 25, 50, 99]))
    loss.backward()
    optimiser.param_groups[0]["lr"] = rate_at(recipe.train, 0)
    optimiser.step()
    assert torch.isfinite(loss)
    assert not torch.equal(before, last.weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_recipe_says_in_a_comment_what_it_is(name):
    assert (shipped_folder("models") / f"{name}.toml").read_text(encoding="utf-8").startswith("# ")


def test_the_rows_of_tables_2_and_3_have_their_recipes():
    tables = {name: load_table_row(name).tables for name in NAMES}
    expected = {"neighborhood-34": [2, 3], "neighborhood-18": [3], "cross-entropy-34": [2]}
    assert {n: tables[n] for n in expected} == expected
    assert {n: tables[f"{n}-published"] for n in expected} == expected
    assert tables["neighborhood-quick"] == tables["cross-entropy-quick"] == [2, 3]


def test_labels_tell_the_recipes_apart():
    labels = [load_table_row(name).label for name in NAMES]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("name", [n for n in NAMES if n.endswith("-published")])
def test_the_published_setting_is_the_papers(name):
    how = load_model_recipe(name).train
    assert (how.optimiser, how.rate, how.momentum, how.weight_decay) == ("adam", 0.1, 0.9, 5e-4)
    assert (how.schedule, how.milestones, how.decay) == ("steps", [50_000, 100_000, 150_000], 0.1)
    assert "batch size not stated" in load_model_recipe(name).title


def test_the_quick_recipes_differ_in_their_loss_only():
    one, other = load_model_recipe("neighborhood-quick"), load_model_recipe("cross-entropy-quick")
    assert (one.network, one.crop, one.augment, one.train) == (other.network, other.crop, other.augment, other.train)
    assert (one.loss.name, other.loss.name) == ("neighborhood", "cross-entropy")


def test_a_broken_recipe_is_told_all_its_mistakes_at_once(tmp_path):
    path = tmp_path / "broken.toml"
    path.write_text(
        """
name = "broken"
title = "…"
label = "…"
tables = [2, 4]
[network]
blocks = [2, 2]
[crop]
size = 64
encodng = "raw"
[loss]
name = "neighbourhood"
[train]
steps = 0
batch = 8
rate = -1.0
"""
    )
    with pytest.raises(RecipeError) as caught:
        resolve_recipe(str(path))
    for told in ("network", "2 stages", "encodng", "encoding", "loss.name", "tables", "train.steps", "train.rate"):
        assert told in str(caught.value)


OTHER_SETTINGS = """
import sys
from agebench.errors import RecipeError
from agebench.recipes import NetworkRecipe, load_model_recipe, load_table_row
from agebench.workflows.catalogue import list_declarations

try:
    load_model_recipe("mine")
except RecipeError as error:
    print(error)
print([row["valid"] for row in list_declarations()["models"] if row["name"] == "mine"])
print("torch" in sys.modules)
"""


def test_a_setting_of_another_loss_or_network_is_a_mistake_that_is_seen_without_torch(tmp_path):
    (tmp_path / "models").mkdir()
    shipped = (shipped_folder("models") / "cross-entropy-quick.toml").read_text(encoding="utf-8")
    mine = shipped.replace('name = "cross-entropy-quick"', 'name = "mine"')
    mine = mine.replace('name = "cross-entropy"', 'name = "cross-entropy"\nsigma = 5.0')
    (tmp_path / "models" / "mine.toml").write_text(mine + "\n[network]\nblokcs = [1]\n")
    done = subprocess.run([sys.executable, "-c", OTHER_SETTINGS], cwd=tmp_path, capture_output=True, text=True)
    assert "loss.sigma: unknown key" in done.stdout, done.stderr
    assert "network.blokcs: unknown key. Did you mean 'blocks'" in done.stdout
    assert done.stdout.splitlines()[-2:] == ["[False]", "False"]
    with pytest.raises(RecipeError, match="2 mistake") as caught:
        resolve_recipe(str(tmp_path / "models" / "mine.toml"))
    assert str(caught.value).count("sigma") == 1


@pytest.mark.parametrize("kind", ["losses", "networks"])
def test_the_settings_that_are_read_from_the_source_are_those_that_are_taken(kind):
    for name in registry.names(kind):
        taken = list(registry.settings_of(registry.find(kind, name)).model_fields)
        assert registry.setting_names(kind, name) in (taken, None)
    assert registry.setting_names("losses", "cross-entropy") == ["reduction"]


def test_a_setting_can_be_changed_by_its_key():
    recipe = load_model_recipe("neighborhood-34", changes={"train.batch": 7})
    assert recipe.train.batch == 7
    with pytest.raises(RecipeError, match=r"train\.batch"):
        load_model_recipe("neighborhood-34", changes={"train.batch": 0})


@pytest.mark.parametrize(
    ("name", "changes", "told"),
    [("neighborhood-quick", {"network.oval": True}, "network.oval"),
     ("svr", {"crop.zoom": 1.5}, "crop.zoom: expected 1"),
     ("cross-entropy-quick", {"loss.name": "regression", "loss.age": "median"}, "no distribution")],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_a_mistake_before_anything_is_trained(name, changes, told):
    with pytest.raises(RecipeError, match=told):
        resolve_recipe(name, changes)


def test_the_34_layer_network_of_its_recipe_has_the_papers_shape():
    network = make_network(load_model_recipe("neighborhood-34").network)
    assert sum(np.prod(p.shape) for p in network.parameters()) == 21_332_516


@pytest.mark.parametrize("name", STUDIES)
def test_every_arm_of_a_shipped_study_resolves_and_differs_from_the_others(name):
    study = load_study(name)
    arms = [resolve_recipe(study.model, arm.set).model_dump_json() for arm in study.arm]
    assert len(set(arms)) == len(arms)
