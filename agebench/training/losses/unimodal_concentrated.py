"""The unimodal-concentrated loss (Li et al., CVPR 2022).

The authors have not published their code. This follows the paper's equations, as the unofficial version in Paplhám and
Franc's benchmark (CVPR 2024) reads them.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from agebench.training.losses.mean_variance import mean_and_variance

SMALLEST = 1e-6  # years²: a variance of 0 has no logarithm


def unimodal_concentrated_loss(
    logits: Tensor, ages: Tensor, *, unimodal: Annotated[float, Field(ge=0)] = 1000.0
) -> Tensor:
    """The negative log-likelihood of the age under a Gaussian with the distribution's own mean and variance, and
    `unimodal` times all rises of the probabilities that lead away from the age (λ of the paper, which gives 1000).

    logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. Returns the mean, a scalar.
    """
    mean, variance = mean_and_variance(logits)
    variance = variance.clamp(min=SMALLEST)
    concentrated = variance.log() / 2 + (mean - ages.float()) ** 2 / (2 * variance)
    rises = logits.float().softmax(1).diff(dim=1)  # from k to k + 1
    years = torch.arange(rises.shape[1], device=logits.device)
    away = torch.where(years >= ages.unsqueeze(1), 1.0, -1.0)
    return (concentrated + unimodal * (away * rises).relu().sum(1)).mean()


loss = unimodal_concentrated_loss
