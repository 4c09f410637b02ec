"""Networks that somebody's own function makes, and heads whose thresholds share their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from agebench.errors import Missing, RecipeError
from agebench.recipes import Network, NetworkRecipe
from agebench.training.networks import SharedWeights, make_network, zoomed
from agebench.training.resolve import resolve_recipe
from agebench.training.runs import load_network, train_run

from .conftest import TINY, data_of

MINE = """
from torch import nn

def net(*, width=4, classes=100):
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))

def not_a_network(**settings):
    return 3

class Flat(nn.Module):
    def forward(self, x):
        return x.mean((1, 2, 3))

def flat():
    return Flat()

answer = 42
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "their_networks.py").write_text(MINE)
    (tmp_path / "models").mkdir()
    return tmp_path


def recipe_of(folder: Path, network: str) -> NetworkRecipe:
    (folder / "models" / "theirs.toml").write_text(
        'name = "theirs"\ntitle = "t"\nlabel = "l"\ntables = []\n[network]\n' + network + "\n[crop]\nsize = 32\n"
        '[loss]\nname = "cross-entropy"\n[train]\nsteps = 2\nbatch = 4\nrate = 1e-3\n'
    )
    recipe = resolve_recipe("theirs")
    assert isinstance(recipe, NetworkRecipe)
    return recipe


def test_a_network_of_somebodys_function_is_trained_kept_and_loaded(mine: Path) -> None:
    recipe = recipe_of(mine, 'factory = "their_networks:net"\nwidth = 6')
    run = train_run(recipe, data_of(), runs_dir=mine / "runs")
    assert load_network(run)[0].out_channels == 6
    assert load_network(run)(torch.zeros(1, 3, 32, 32)).shape == (1, 100)


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        ('factory = "their_networks:gone"', Missing, "no 'gone' in their_networks"),
        ('factory = "no_such_package:net"', Missing, "no_such_package:net cannot be imported: ModuleNotFoundError"),
        ('factory = "their_networks:answer"', Missing, "is int, not a function"),
        ('factory = "their_networks:net"\ndepth = 3', RecipeError, "failed: TypeError: .*depth"),
        ('factory = "their_networks:not_a_network"', RecipeError, r"returned int, not a torch\.nn\.Module"),
        ('factory = "their_networks:net"\nclasses = 7', RecipeError, r"gives \(2, 7\) for two pictures"),
        ('factory = "their_networks:flat"', RecipeError, r"gives \(2,\) for two pictures"),
        ('factory = "their_networks.py"', RecipeError, "network.factory"),
        ('factory = "their_networks:net"\nwidth = 6\nhead = "other"', RecipeError, "network.head"),
    ],
)
def test_a_factory_that_does_not_serve_is_one_sentence(mine: Path, network: str, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        recipe_of(mine, network)


def test_a_shared_head_has_one_vector_of_weights_and_its_own_biases() -> None:
    network = make_network(Network.model_validate({"name": "residual", "blocks": [1], "widths": [8], "head": "shared"}))
    heads = [module for module in network.modules() if isinstance(module, SharedWeights)]
    assert len(heads) == 1
    with torch.inference_mode():
        scores = network.eval()(torch.randn(5, 3, 32, 32))
    assert scores.shape == (5, 100)
    torch.testing.assert_close(scores - scores[:, :1], (scores - scores[:, :1])[:1].expand(5, -1), atol=1e-5, rtol=0)
    assert (scores.diff(dim=1) < 0).all()  # the biases descend, so that the thresholds do not cross


def test_a_shared_head_needs_a_fully_connected_layer(mine: Path) -> None:
    with pytest.raises(RecipeError, match="no fully connected layer"):
        recipe_of(mine, 'factory = "their_networks:flat"\nhead = "shared"')


def test_coral_trains(tmp_path: Path) -> None:
    shared = {"network": TINY["network"] | {"head": "shared"}, "loss": {"name": "or-cnn"}}
    run = train_run(NetworkRecipe.model_validate(TINY | shared), data_of(), runs_dir=tmp_path)
    assert any(isinstance(module, SharedWeights) for module in load_network(run).modules())
    assert isinstance(run.card["val_mae"], float)


def plain_and_seen_as(folder: Path, views: str) -> tuple[nn.Module, nn.Module]:
    """A network, and one with the same weights whose [network] table has these keys too."""
    torch.manual_seed(0)
    plain = make_network(recipe_of(folder, 'factory = "their_networks:net"').network)
    made = make_network(recipe_of(folder, f'factory = "their_networks:net"\n{views}').network)
    made.load_state_dict(plain.state_dict())
    return plain, made


def test_mirrored_pictures_get_the_same_scores_outside_of_training(mine: Path) -> None:
    plain, both = plain_and_seen_as(mine, "mirror = true")
    pictures = torch.randn(2, 3, 32, 32)
    assert torch.equal(both(pictures), plain(pictures))
    both.eval()
    assert torch.allclose(both(pictures), both(pictures.flip(3)), atol=1e-6)
    assert torch.allclose(both(pictures), (plain(pictures) + plain(pictures.flip(3))) / 2)


def test_pictures_are_seen_at_each_zoom_outside_of_training(mine: Path) -> None:
    plain, made = plain_and_seen_as(mine, "mirror = true\nzooms = [0.8, 1.6]")
    pictures = torch.randn(2, 3, 40, 40)
    assert torch.equal(made(pictures), plain(pictures))
    made.eval()
    views = [pictures, zoomed(pictures, 0.8), zoomed(pictures, 1.6)]
    views += [view.flip(3) for view in views]
    torch.testing.assert_close(made(pictures), torch.stack([plain(view) for view in views]).mean(0))
    with pytest.raises(RecipeError, match="zooms"):
        recipe_of(mine, 'factory = "their_networks:net"\nzooms = [4.0]')


@pytest.mark.parametrize(("zoom", "slope"), [(0.8, 50 / 40), (1.0, 1.0), (1.6, 24 / 40)])
def test_a_slope_is_as_gentle_as_it_is_enlarged(zoom: float, slope: float) -> None:
    ramp = torch.arange(40.0).expand(1, 3, 40, 40)
    seen = zoomed(ramp, zoom)
    assert seen.shape == ramp.shape
    middle = seen[:, :, 10:30, 10:30]
    torch.testing.assert_close(middle.diff(dim=3), torch.full((1, 3, 20, 19), slope), atol=1e-4, rtol=0)
    assert middle.mean() == pytest.approx(19.5, abs=1e-3)
