"""The optimiser of a recipe, its learning rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from agebench.recipes import Training


def make_optimiser(network: nn.Module, how: Training, pretrained: Collection[str] = ()) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters; the `share` of each group is that of the rate which it trains at.

    `adam` has coupled weight decay on every parameter, as published; `adamw` and `sgd` leave biases and normalisation
    without decay. `momentum` is Adam's first beta. pretrained: names of the parameters that train at the share
    `pretrained_rate`; of their layers, in the network's order, the first at `first_layer_rate` of that, and those
    between at a geometric series (discriminative fine-tuning, Howard and Ruder, ACL 2018).
    """
    layers = list(dict.fromkeys(_layer(name) for name, _ in network.named_parameters() if name in pretrained))
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        decay = how.weight_decay if parameter.ndim > 1 or how.optimiser == "adam" else 0.0
        share = 1.0
        if name in pretrained:
            depth = layers.index(_layer(name)) / max(1, len(layers) - 1)  # 0 for the first, 1 for the last
            share = how.pretrained_rate * how.first_layer_rate ** (1 - depth)
        groups.setdefault((share, decay), []).append(parameter)
    given = [
        {"params": parameters, "weight_decay": decay, "share": share}
        for (share, decay), parameters in sorted(groups.items(), key=lambda one: one[0], reverse=True)
    ]
    fused = how.precision != "16-mixed"  # faster, but where the loss is scaled, gradients could not be clipped
    if how.optimiser == "adam":
        return torch.optim.Adam(given, how.rate, betas=(how.momentum, 0.999), fused=fused)
    if how.optimiser == "adamw":
        return torch.optim.AdamW(given, how.rate, betas=(how.momentum, 0.999), fused=fused)
    return torch.optim.SGD(given, how.rate, momentum=how.momentum, nesterov=how.momentum > 0)


def _layer(parameter: str) -> str:
    """The module that a parameter, such as `blocks.0.weight`, belongs to."""
    return parameter.rpartition(".")[0]


def warmup_steps(how: Training) -> int:
    """The steps over which the rate rises."""
    return how.warmup or (max(1, round(0.3 * how.steps)) if how.schedule == "one-cycle" else 0)


def rate_at(how: Training, step: int) -> float:
    """The learning rate of the step that follows `step` completed ones.

    steps: times `decay` at each milestone. cosine: falls along a half cosine to zero. one-cycle: rises linearly (over
    `warmup` steps, or 3/10 of all steps if that is 0) and falls linearly to zero. `warmup` rises linearly from zero.
    """
    rise = warmup_steps(how)
    if step < rise:
        return how.rate * (step + 1) / rise
    if how.schedule == "steps":
        return how.rate * how.decay ** sum(step >= milestone for milestone in how.milestones)
    way = (step - rise) / max(1, how.steps - rise)
    return how.rate * ((1 + math.cos(math.pi * way)) / 2 if how.schedule == "cosine" else 1 - way)


class MovingAverage:
    """Keeps `average`, a copy of `network`, as the exponential moving average of its weights and statistics."""

    def __init__(self, average: nn.Module, network: nn.Module, decay: float) -> None:
        pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
        self.kept = [kept for kept, _ in pairs if kept.is_floating_point()]
        self.live = [live for _, live in pairs if live.is_floating_point()]
        self.decay = decay

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Update with the weights after `step` steps; the decay is lower at first, to forget the initial weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.kept, self.live, 1 - decay)
