"""The networks of DEX, of Levi and Hassner and of DLA have the layers of their sources."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from agebench.training.decoding import age_probabilities, expected_age
from agebench.training.networks.dla import network as dla
from agebench.training.networks.levi_hassner import network as levi_hassner
from agebench.training.networks.vgg_16 import network as vgg_16

# The parameters of torchvision's vgg16, for 1,000 classes.
VGG = {
    "features.0": (64, 3), "features.2": (64, 64), "features.5": (128, 64), "features.7": (128, 128),
    "features.10": (256, 128), "features.12": (256, 256), "features.14": (256, 256), "features.17": (512, 256),
    "features.19": (512, 512), "features.21": (512, 512), "features.24": (512, 512), "features.26": (512, 512),
    "features.28": (512, 512),
}  # fmt: skip
VGG_HEAD = {"classifier.0": (4096, 25088), "classifier.3": (4096, 4096), "classifier.6": (1000, 4096)}


def convolutions(net: nn.Module) -> list[tuple[int, int]]:
    """(filters, side) of every convolution, in order."""
    return [(m.out_channels, m.kernel_size[0]) for m in net.modules() if isinstance(m, nn.Conv2d)]


def test_vgg_16_has_the_names_and_shapes_of_the_published_weights() -> None:
    with torch.device("meta"):
        here = {name: tuple(value.shape) for name, value in vgg_16().state_dict().items()}
    there = {f"{name}.weight": (*shape, 3, 3) for name, shape in VGG.items()}
    there |= {f"{name}.weight": shape for name, shape in VGG_HEAD.items()}
    there |= {name.replace("weight", "bias"): shape[:1] for name, shape in there.items()}
    assert here.keys() == there.keys()
    assert {name for name in here if here[name] != there[name]} == {"classifier.6.weight", "classifier.6.bias"}
    assert here["classifier.6.weight"] == (101, 4096)


@pytest.mark.parametrize("normalised", [False, True])
def test_101_classes_are_probabilities_of_the_ages_0_to_99(normalised: bool) -> None:
    net = vgg_16(width=0.05, grid=1, normalised=normalised).eval()
    with torch.inference_mode():
        scores = net(torch.randn(3, 3, 64, 64))
    assert scores.shape == (3, 101)
    shares = age_probabilities(scores)
    assert shares.shape == (3, 100)
    assert torch.allclose(shares.sum(1), torch.ones(3))
    assert torch.allclose(shares[:, 99], scores.softmax(1)[:, 99:].sum(1))


def test_the_class_of_100_years_counts_for_the_expected_age() -> None:
    scores = torch.full((1, 101), -1e9)
    scores[0, 100] = 0
    assert expected_age(scores).item() == pytest.approx(100)


@pytest.mark.parametrize(("size", "stride"), [(227, 4), (64, 1)])
def test_levi_and_hassners_network_has_three_convolutions_and_any_size(size: int, stride: int) -> None:
    net = levi_hassner(stride=stride).eval()
    assert convolutions(net) == [(96, 7), (256, 5), (384, 3)]
    assert sum(isinstance(m, nn.Linear) for m in net.modules()) == 3
    assert sum(isinstance(m, nn.LocalResponseNorm) for m in net.modules()) == 2
    with torch.inference_mode():
        assert net(torch.randn(2, 3, size, size)).shape == (2, 100)


@pytest.mark.parametrize("size", [32, 64, 72])
def test_every_layer_of_dlas_network_can_be_read(size: int) -> None:
    net = dla(hidden=80).eval()
    with torch.inference_mode():
        layers = net.layers(torch.randn(2, 3, size, size))
        assert [tuple(layer.shape[:2]) for layer in layers] == [(2, 32), (2, 48), (2, 64), (2, 80)]
        assert [layer.shape[2] for layer in layers[:3]] == [size // 2, size // 4, size // 8]
        x = torch.randn(2, 3, size, size)
        assert torch.equal(net(x), net.fc(net.layers(x)[-1]))  # without dropout, the last layer reads the others
    assert len(convolutions(net)) == 3


def test_each_starts_near_a_guess_of_no_age() -> None:
    """Random weights give no age a large share: a training starts at the loss of a uniform guess, log K."""
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 64, 64)
    for net in (vgg_16(width=0.1, grid=2, normalised=True), levi_hassner(stride=1), dla()):
        with torch.inference_mode():
            assert net.eval()(pictures).softmax(1).max().item() < 0.3
