"""Networks by name: one function `network(*, …settings)` per file, or an entry point of the group `agebench.networks`.

A network is a module that takes normalised pictures (B, 3, S, S) and gives raw scores (B, K), class k = age k in years,
K at least 100; its keyword-only parameters are the settings that a recipe's table `[network]` may give. What the scores
mean is up to the loss (`agebench.training.decoding`). This module also normalises pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from agebench import registry
from agebench.errors import RecipeError
from agebench.recipes import Network


def normalise(pictures: Tensor) -> Tensor:
    """`(x − 127.5) / 128` of the paper.

    pictures: (B, H, W, 3) RGB, uint8 or floating 0..255. Returns (B, 3, H, W) float32, −1..1, channels last in memory.
    """
    values = pictures.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
    return (values - 127.5).div_(128)


def face_oval(height: int, width: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """1 inside the oval from hairline to chin of an aligned crop (as `agebench.crops` aligns), 0 outside: (H, W)."""
    y = (torch.arange(height, device=device, dtype=torch.float32) + 0.5) / height
    x = (torch.arange(width, device=device, dtype=torch.float32) + 0.5) / width
    inside = ((x - 0.5) / 0.35) ** 2 + ((y.unsqueeze(1) - 0.565) / 0.385) ** 2 < 1
    return inside.to(dtype)


def only_oval(pictures: Tensor) -> Tensor:
    """Normalised pictures (B, 3, H, W) with 0 outside of the face's oval. Networks that learn from tight chips, whose
    surroundings are black, are misled by the hair and background of other photographs."""
    return pictures * face_oval(pictures.shape[2], pictures.shape[3], pictures.device, pictures.dtype)


def standardised(pictures: Tensor) -> Tensor:
    """Normalised pictures (B, 3, H, W) brought to one brightness and contrast: mean 0, and a deviation near a half
    over all pixels and channels of each; less in flat pictures, so that their noise is not enlarged."""
    mean, deviation = pictures.mean((1, 2, 3), keepdim=True), pictures.std((1, 2, 3), keepdim=True)
    return (pictures - mean) / (2 * deviation + 0.125)


class SharedWeights(nn.Module):
    """A last layer whose outputs have the same weights, and each its own bias: features (B, D) → (B, K). The biases
    start descending from 1 to 0 (Cao, Mirjalili and Raschka, Pattern Recognition Letters 2020)."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, 1, bias=False)
        self.bias = nn.Parameter(torch.linspace(1, 0, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.score(x) + self.bias


def make_network(recipe: Network) -> nn.Module:
    """The network that a recipe's table describes, with new weights. Raises Missing where a factory cannot be imported,
    RecipeError where it fails or the head does not fit."""
    if recipe.factory is None:
        made: nn.Module = registry.find("networks", recipe.name)(**recipe.settings)
    else:
        made = _from_factory(recipe.factory, recipe.settings)
    if recipe.head == "shared":
        _share_weights(made)
    if recipe.mirror or recipe.zooms:
        made.register_forward_hook(partial(_mean_over_views, recipe.mirror, recipe.zooms))
    return made


def _mean_over_views(
    mirror: bool, zooms: Sequence[float], network: nn.Module, given: tuple[Tensor], scores: Tensor
) -> Tensor:
    """The mean of the scores of pictures as they are, at each zoom, and mirrored at each, except during training."""
    if network.training:
        return scores
    (pictures,) = given
    views = [pictures, *(zoomed(pictures, zoom) for zoom in zooms)]
    if mirror:
        views += [view.flip(3) for view in views]
    for view in views[1:]:
        scores = scores + network.forward(view)
    return scores / len(views)


def zoomed(pictures: Tensor, zoom: float) -> Tensor:
    """Pictures (B, C, H, W) that show their content `zoom` times as large, to the nearest even number of pixels; around
    smaller content is its reflection."""
    height, width = (int(side) for side in pictures.shape[2:])
    down, across = (round((side / zoom - side) / 2) for side in (height, width))
    if zoom < 1:
        seen = functional.pad(pictures, (across, across, down, down), mode="reflect")
    else:
        seen = pictures[:, :, -down : height + down, -across : width + across]
    return functional.interpolate(seen, size=(height, width), mode="bilinear", align_corners=False)


def _from_factory(place: str, settings: Mapping[str, Any]) -> nn.Module:
    function = registry.function_at(place)
    try:
        made = function(**settings)
    except Exception as error:  # somebody else's code
        raise RecipeError(
            f"network.factory: {place} failed: {type(error).__name__}: {error}.",
            "It is called with the other keys of [network] as keyword arguments.",
        ) from error
    if not isinstance(made, nn.Module):
        raise RecipeError(f"network.factory: {place} returned {type(made).__name__}, not a torch.nn.Module.")
    return made


def _share_weights(network: nn.Module) -> None:
    """Replace the last fully connected layer by one of `SharedWeights`."""
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name]
    if not layers:
        raise RecipeError("network.head: the network has no fully connected layer whose weights could be shared.")
    parent, _, name = layers[-1].rpartition(".")
    last = network.get_submodule(layers[-1])
    assert isinstance(last, nn.Linear)
    setattr(network.get_submodule(parent), name, SharedWeights(last.in_features, last.out_features))


def trained_network(recipe: Network, weights: Mapping[str, Tensor], device: torch.device | str) -> nn.Module:
    """The network that a recipe names with these weights, on a device and in evaluation mode."""
    network = make_network(recipe)
    network.load_state_dict(dict(weights))
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
