"""From a network's raw scores to ages and probabilities: what each output means depends on the loss that trained it.

A loss is decorated with `decoded_by`; without it, the scores are those of the classes 0, 1, … years.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from agebench import registry
from agebench.errors import RecipeError
from agebench.recipes import Loss

CLASSES = 100  # the ages 0 to 99
F = TypeVar("F", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class Decoding:
    """ages: raw scores (B, K) → (B,) float32 years. probabilities: → (B, 100) of the ages 0 to 99, None where the
    scores do not give a distribution."""

    ages: Callable[[Tensor], Tensor]
    probabilities: Callable[[Tensor], Tensor] | None


def decoded_by(decoding: Decoding) -> Callable[[F], F]:
    """Marks a loss with the decoding of the scores that it trains."""

    def mark(loss: F) -> F:
        loss.decoding = decoding  # type: ignore[attr-defined]
        return loss

    return mark


def decoding_of(loss: Loss) -> Decoding:
    """How the scores of a network are decoded that was trained with the loss which a recipe names.

    Raises RecipeError if the recipe wants the median of a distribution which the loss does not give.
    """
    found: Decoding = getattr(registry.find("losses", loss.name), "decoding", CLASS_SCORES)
    if loss.age == "mean":
        return found
    shares = found.probabilities
    if shares is None:
        raise RecipeError(f'loss.age: {loss.name} gives no distribution that could have a median; leave it at "mean".')
    return Decoding(lambda scores: median_age(shares(scores.float())), shares)


def median_age(probabilities: Tensor) -> Tensor:
    """The median in years of distributions (B, K) over the ages 0, 1, …, linear within the age that holds it, whose
    share is spread evenly from half a year before to half a year after: (B,)."""
    passed = probabilities.cumsum(1)
    at = (passed < 0.5).sum(1, keepdim=True).clamp(max=probabilities.shape[1] - 1)
    share, until = probabilities.gather(1, at), passed.gather(1, at)
    return (at + 0.5 - (until - 0.5) / share.clamp(min=1e-9)).squeeze(1)


def expected_age(logits: Tensor) -> Tensor:
    """The expected age `Σ k p_k` in years (Kwak et al., eq. 6). logits: (B, K) raw scores. Returns (B,) float32."""
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return logits.float().softmax(1) @ years


def age_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (B, 100) of the ages 0..99 from raw scores (B, K); ages beyond 99 are counted as 99."""
    shares = logits.softmax(1)
    return torch.cat([shares[:, : CLASSES - 1], shares[:, CLASSES - 1 :].sum(1, keepdim=True)], 1)


def _older(scores: Tensor) -> Tensor:
    """(B, K) → (B, 99): the probability of being older than k years, k = 0..98, each from its own score."""
    return scores[:, : CLASSES - 1].sigmoid()


def _older_in_turn(scores: Tensor) -> Tensor:
    """(B, K) → (B, 99): as `_older`, from scores that are about those older than k - 1 years: their product."""
    return _older(scores).cumprod(1)


def _differences(older: Tensor) -> Tensor:
    """Probabilities (B, 100) of the ages, from those of being older than each. Where thresholds contradict each other,
    as independent ones may, an age gets 0, and all are divided by their sum."""
    edges = torch.nn.functional.pad(torch.nn.functional.pad(older, (1, 0), value=1.0), (0, 1), value=0.0)
    shares = (edges[:, :-1] - edges[:, 1:]).clamp(min=0)
    return shares / shares.sum(1, keepdim=True)


def value_of(scores: Tensor) -> Tensor:
    """(B, K) → (B,): the first score as years, 0 is 50 and ±1 is ±50."""
    return 50 + 50 * scores[:, 0]


CLASS_SCORES = Decoding(expected_age, age_probabilities)
# The number of thresholds that are passed, each counted by its probability, is the expected age.
THRESHOLDS = Decoding(lambda s: _older(s.float()).sum(1), lambda s: _differences(_older(s)))
CONDITIONAL_THRESHOLDS = Decoding(lambda s: _older_in_turn(s.float()).sum(1), lambda s: _differences(_older_in_turn(s)))
VALUE = Decoding(lambda s: value_of(s.float()), None)
