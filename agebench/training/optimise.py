"""The optimiser of a recipe, its learning rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import nn

from agebench.recipes import Training


def make_optimiser(network: nn.Module, how: Training) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters.

    `adam` has coupled weight decay on every parameter, as published; `adamw` and `sgd` leave biases and normalisation
    without decay. `momentum` is Adam's first beta.
    """
    if how.optimiser == "adam":
        betas = (how.momentum, 0.999)
        return torch.optim.Adam(network.parameters(), how.rate, betas=betas, weight_decay=how.weight_decay)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if how.optimiser == "adamw":
        return torch.optim.AdamW(groups, how.rate, betas=(how.momentum, 0.999))
    return torch.optim.SGD(groups, how.rate, momentum=how.momentum, nesterov=how.momentum > 0)


def rate_at(how: Training, step: int) -> float:
    """The learning rate of the step that follows `step` completed ones.

    steps: times `decay` at each milestone. cosine: falls along a half cosine to zero. one-cycle: rises linearly (over
    `warmup` steps, or 3/10 of all steps if that is 0) and falls linearly to zero. `warmup` rises linearly from zero.
    """
    rise = how.warmup or (max(1, round(0.3 * how.steps)) if how.schedule == "one-cycle" else 0)
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
