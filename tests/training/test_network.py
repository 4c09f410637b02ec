"""The networks against table 1 of the paper."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from agebench.faces.alignment import template
from agebench.training.decoding import expected_age
from agebench.training.networks import face_oval, normalise
from agebench.training.networks.dla import network as dla
from agebench.training.networks.levi_hassner import network as levi_hassner
from agebench.training.networks.residual import ResidualNetwork
from agebench.training.networks.vgg_16 import network as vgg_16

EIGHTEEN, THIRTY_FOUR = (2, 2, 2, 2), (3, 4, 6, 3)


def outputs(network: ResidualNetwork, size: int) -> list[tuple[int, ...]]:
    seen: list[tuple[int, ...]] = []
    watched = [network.stem[0], network.stem, *network.stages, network.fc]
    hooks = [m.register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:]))) for m in watched]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("unit", ["post-activation", "pre-activation"])
@pytest.mark.parametrize("blocks", [EIGHTEEN, THIRTY_FOUR])
def test_every_stage_has_the_output_of_table_1(blocks, unit):
    assert outputs(ResidualNetwork(blocks, unit=unit), 224) == [
        (64, 224, 224),  # the stem keeps the resolution: its stride is 1
        (64, 112, 112),  # the pooling
        (64, 56, 56),
        (128, 28, 28),
        (256, 14, 14),
        (512, 7, 7),
        (100,),
    ]


@pytest.mark.parametrize(("blocks", "parameters"), [(EIGHTEEN, 11_224_356), (THIRTY_FOUR, 21_332_516)])
def test_the_networks_have_the_parameters_of_our_reading(blocks, parameters):
    assert sum(p.numel() for p in ResidualNetwork(blocks).parameters()) == parameters


@pytest.mark.parametrize("blocks", [EIGHTEEN, THIRTY_FOUR])
def test_only_the_second_convolution_of_the_first_block_of_a_stage_and_its_shortcut_halve(blocks):
    strided = {name for name, m in ResidualNetwork(blocks).named_modules() if getattr(m, "stride", 1) in (2, (2, 2))}
    expected = {"stem.3"}  # the pooling
    for stage in range(4):
        expected |= {f"stages.{stage}.0.conv2", f"stages.{stage}.0.shortcut.0"}
    assert strided == expected


def test_the_layers_with_weights_are_34_and_18_without_the_shortcuts():
    for blocks, layers in ((EIGHTEEN, 18), (THIRTY_FOUR, 34)):
        named = ResidualNetwork(blocks).named_modules()
        weighted = [n for n, m in named if isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in n]
        assert len(weighted) == layers


def test_convolutions_have_no_bias_and_each_is_followed_by_a_normalisation_of_its_width():
    network = ResidualNetwork(EIGHTEEN)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    normalisations = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.bias is None for m in convolutions)
    assert [m.out_channels for m in convolutions] == [m.num_features for m in normalisations]


def test_weights_start_as_he_initialisation_has_them():
    torch.manual_seed(0)
    network = ResidualNetwork(EIGHTEEN)
    for m in network.modules():
        if isinstance(m, nn.Conv2d) and m.weight.numel() > 30_000:
            expected = (2 / (m.out_channels * m.kernel_size[0] * m.kernel_size[1])) ** 0.5
            assert m.weight.std().item() == pytest.approx(expected, rel=0.03)


def test_dropout_keeps_four_fifths():
    assert ResidualNetwork(EIGHTEEN).dropout.p == pytest.approx(0.2)


@pytest.mark.parametrize("size", [32, 50, 64, 112])
def test_any_input_size_gives_one_score_per_age(size):
    network = ResidualNetwork((1, 1, 1, 1), (4, 8, 8, 16)).eval()
    assert network(torch.zeros(2, 3, size, size)).shape == (2, 100)


def test_pictures_are_normalised_as_the_paper_says():
    pictures = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 2, 2, 1).expand(1, 2, 2, 3)
    normalised = normalise(pictures)
    assert normalised.shape == (1, 3, 2, 2)
    assert normalised[0, 0].flatten().tolist() == [-127.5 / 128, -0.5 / 128, 0.5 / 128, 127.5 / 128]


def test_normalising_leaves_its_input_as_it_was():
    pictures = torch.full((1, 2, 2, 3), 100.0)
    normalise(pictures)
    assert (pictures == 100).all()


def test_the_expected_age_weighs_every_age_by_its_probability():
    logits = torch.full((2, 100), -torch.inf)
    logits[0, 30], logits[0, 50] = 0.0, torch.log(torch.tensor(3.0))
    logits[1, 99] = 0.0
    assert expected_age(logits).tolist() == pytest.approx([45.0, 99.0])


@pytest.mark.parametrize(
    "made",
    [
        lambda: ResidualNetwork((1, 1), (8, 8), oval=True),
        lambda: vgg_16(width=0.1, grid=2, oval=True),
        lambda: levi_hassner(stride=2, width=0.1, oval=True),
        dla,
    ],
    ids=["residual", "vgg-16", "levi-hassner", "dla"],
)
def test_a_network_with_the_oval_does_not_see_what_lies_around_the_face(made: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    network = made().eval()
    pictures = torch.randn(2, 3, 64, 64)
    oval = face_oval(64, 64, torch.device("cpu")).bool()
    changed = torch.where(oval, pictures, torch.randn_like(pictures))
    assert torch.equal(network(pictures), network(changed))
    inside = torch.where(oval, torch.randn_like(pictures), pictures)
    assert not torch.equal(network(pictures), network(inside))


def test_the_oval_holds_the_landmarks_of_the_crop_template_and_leaves_the_corners_out() -> None:
    oval = face_oval(224, 224, torch.device("cpu")).bool()
    for x, y in template(224):
        assert oval[round(y), round(x)]
    assert not oval[[0, 0, -1, -1], [0, -1, 0, -1]].any()
