"""Networks that start from a file of weights: what fits is taken, what does not is told, and no code is run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from agebench.errors import Interrupted, Missing, RecipeError
from agebench.recipes import NetworkRecipe
from agebench.resources import find
from agebench.training.networks import make_network
from agebench.training.pretrained import load_pretrained, pretrained_of
from agebench.training.resolve import resolve_recipe
from agebench.training.run_cards import changes_in_words
from agebench.training.runs import load_network, train_run

from .conftest import TINY, data_of, tiny


def starting_from(weights: Path | None, **train: Any) -> NetworkRecipe:
    given = {} if weights is None else {"weights": str(weights)}
    return NetworkRecipe.model_validate(
        TINY | {"network": TINY["network"] | given, "train": TINY["train"] | {"steps": 2, "workers": 0} | train}
    )


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_network(tiny().network)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """The state of another network of the same kind, one tensor of it of another shape, one lacking, one more."""
    state = {name: value.clone() for name, value in network(1).state_dict().items()}
    state["fc.weight"] = torch.zeros(7, 16)
    del state["fc.bias"]
    state["head.weight"] = torch.zeros(3)
    save_file(state, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_what_has_the_same_name_and_shape_is_taken_and_the_rest_is_told(weights: Path) -> None:
    here, before = network(0), network(0).state_dict()
    loaded = load_pretrained(here, weights)
    there = load_file(weights)
    for name in loaded.taken:
        assert torch.equal(here.state_dict()[name], there[name])
    assert torch.equal(here.state_dict()["fc.weight"], before["fc.weight"])
    assert loaded.new == {"fc.weight": "the file has 7×16, the network 100×16", "fc.bias": "not in the file"}
    assert loaded.unused == ["head.weight"]
    assert set(loaded.taken) == set(before) - {"fc.weight", "fc.bias"}
    assert "fc.bias (not in the file)" in str(loaded)


@pytest.mark.parametrize("wrap", [dict, lambda state: {"state_dict": dict(state), "epoch": 3}])
def test_a_state_dict_of_torch_is_taken_too(tmp_path: Path, wrap: Any) -> None:
    torch.save(wrap(network(1).state_dict()), tmp_path / "w.pth")
    here = network(0)
    loaded = load_pretrained(here, tmp_path / "w.pth")
    assert not loaded.new
    assert torch.equal(here.state_dict()["fc.weight"], network(1).state_dict()["fc.weight"])


class Runs:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": Runs(tmp_path / "ran")}, tmp_path / "zip.pth")
    torch.save({"fc.weight": Runs(tmp_path / "ran")}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Runs(tmp_path / "ran")))
    for name in ("zip.pth", "old.pth", "plain.pkl"):
        with pytest.raises(RecipeError, match=r"cannot be read as weights") as refused:
            load_pretrained(network(), tmp_path / name)
        assert name in str(refused.value)
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"no weights at all", "cannot be read"),
        (b"PK\x05\x06" + bytes(18), "cannot be read"),  # an empty zip
        (torch.zeros(3), "holds no tensors"),
        ({"epoch": 3}, "holds no tensors"),
        ({"other.weight": torch.zeros(3, 3)}, "No weights in"),
        ({"fc.bias": torch.zeros(100)}, "No weights in"),  # a bias alone is no weights
    ],
)
def test_a_file_of_nothing_that_fits_is_one_sentence(tmp_path: Path, content: Any, words: str) -> None:
    file = tmp_path / "w.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(RecipeError, match=words):
        load_pretrained(network(), file)


def test_without_the_file_no_run_is_begun(tmp_path: Path) -> None:
    with pytest.raises(Missing, match=r"no weights in .*gone\.pth"):
        train_run(starting_from(tmp_path / "gone.pth"), data_of(), runs_dir=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    assert pretrained_of(starting_from(None)) is None


def test_the_card_tells_what_was_taken_and_the_run_needs_the_file_no_more(weights: Path, tmp_path: Path) -> None:
    run = train_run(starting_from(weights), data_of(), runs_dir=tmp_path / "runs")
    told = run.card["pretrained"]
    assert told["file"] == weights.name
    assert told["new"].keys() == {"fc.weight", "fc.bias"}
    assert told["unused"] == ["head.weight"]
    assert len(told["sha256"]) == 64
    weights.unlink()
    load_network(run)
    assert train_run(starting_from(None), data_of(), runs_dir=tmp_path / "runs").card["pretrained"] is None


def test_a_training_starts_from_the_file(weights: Path, tmp_path: Path) -> None:
    still = {"rate": 1e-12, "steps": 1, "average": 0.0}
    run = train_run(starting_from(weights, **still), data_of(), runs_dir=tmp_path / "runs")
    name = "stem.0.weight" if "stem.0.weight" in load_file(weights) else run.card["pretrained"]["taken"][0]
    assert torch.allclose(load_network(run).state_dict()[name], load_file(weights)[name], atol=1e-6)


def test_a_resumed_training_goes_on_from_its_checkpoint_not_from_the_file(weights: Path, tmp_path: Path) -> None:
    def stop(step: int, *_: object) -> None:
        if step == 2:
            raise KeyboardInterrupt

    recipe = starting_from(weights, steps=4, checkpoint_every=1)
    with pytest.raises(Interrupted):
        train_run(recipe, data_of(), runs_dir=tmp_path / "stopped", on_progress=stop)
    resumed = train_run(recipe, data_of(), runs_dir=tmp_path / "stopped", resume=True)
    whole = train_run(recipe, data_of(), runs_dir=tmp_path / "whole")
    one, other = load_file(resumed.path / "weights.safetensors"), load_file(whole.path / "weights.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert resumed.card["pretrained"]["taken"]


def test_the_file_is_looked_for_beside_the_recipe_and_a_change_in_the_working_folder(here: Path) -> None:
    shipped = resolve_recipe("neighborhood-quick")
    (here / "models").mkdir()
    text = find("models", shipped.name).read_text().replace(f'"{shipped.name}"', '"mine"', 1)
    assert "[network]" in text
    (here / "models" / "mine.toml").write_text(text.replace("[network]", '[network]\nweights = "w.pth"'))
    beside = resolve_recipe("mine")
    changed = resolve_recipe("mine", {"network.weights": "other.pth"})
    assert isinstance(beside, NetworkRecipe)
    assert isinstance(changed, NetworkRecipe)
    assert beside.network.weights == str(here.resolve() / "models" / "w.pth")
    assert changed.network.weights == str(here.resolve() / "other.pth")
    assert changes_in_words(beside.model_dump(mode="json")) == ""
    assert changes_in_words(changed.model_dump(mode="json")) == "network.weights = other.pth"
    absolute = resolve_recipe("mine", {"network.weights": "/elsewhere/w.pth"})
    assert isinstance(absolute, NetworkRecipe)
    assert absolute.network.weights == "/elsewhere/w.pth"
