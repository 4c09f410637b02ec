"""Networks by name: one function `network(*, …settings)` per file, or an entry point of the group `agebench.networks`.

A network is a module that takes normalised pictures (B, 3, S, S) and gives raw scores (B, K), class k = age k in years,
K at least 100; its keyword-only parameters are the settings that a recipe's table `[network]` may give. This module
also has the steps before and after a network: normalising pictures, the expected age, probabilities."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from agebench import registry
from agebench.recipes import Named

CLASSES = 100  # the ages 0 to 99


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


def expected_age(logits: Tensor) -> Tensor:
    """The expected age `Σ k p_k` in years (eq. 6). logits: (B, K) raw scores. Returns (B,) float32."""
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return logits.float().softmax(1) @ years


def age_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (B, 100) of the ages 0..99 from raw scores (B, K); ages beyond 99 are counted as 99."""
    shares = logits.softmax(1)
    return torch.cat([shares[:, : CLASSES - 1], shares[:, CLASSES - 1 :].sum(1, keepdim=True)], 1)


def make_network(recipe: Named) -> nn.Module:
    """The network that a recipe names, with new weights."""
    made: nn.Module = registry.find("networks", recipe.name)(**recipe.settings)
    return made


def trained_network(recipe: Named, weights: Mapping[str, Tensor], device: torch.device | str) -> nn.Module:
    """The network that a recipe names with these weights, on a device and in evaluation mode."""
    network = make_network(recipe)
    network.load_state_dict(dict(weights))
    return network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
