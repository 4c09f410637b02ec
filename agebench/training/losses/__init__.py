"""Losses by name: one function `loss(logits, ages, *, …settings)` per file, or an entry point of the group
`agebench.losses`.

logits: (B, K) raw scores, class k = age k in years; ages: (B,) whole years; the keyword-only parameters are the
settings that a recipe's table `[loss]` may give. Returns a scalar."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor

from agebench import registry
from agebench.recipes import Named

Reduction = Literal["mean", "sum"]


def make_loss(recipe: Named) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that a recipe names, as a function of logits (B, K) and ages (B,) in years."""
    return partial(registry.find("losses", recipe.name), **recipe.settings)
