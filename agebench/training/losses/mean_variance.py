"""The mean-variance loss (Pan, Han, Shan and Chen, CVPR 2018)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F


def mean_and_variance(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B,) in years and variance (B,) in years² of the softmax of raw scores (B, K)."""
    shares = logits.float().softmax(1)
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    mean = shares @ years
    return mean, (shares * (years - mean.unsqueeze(1)) ** 2).sum(1)


def mean_variance_loss(
    logits: Tensor,
    ages: Tensor,
    *,
    mean: Annotated[float, Field(ge=0)] = 0.2,
    variance: Annotated[float, Field(ge=0)] = 0.05,
) -> Tensor:
    """Cross entropy, `mean` times half the squared error of the expected age, and `variance` times the variance of the
    distribution (λ₁ and λ₂ of the paper, which gives 0.2 and 0.05).

    logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. Returns the mean, a scalar.
    """
    centre, spread = mean_and_variance(logits)
    errors = (centre - ages.float()) ** 2 / 2
    return F.cross_entropy(logits.float(), ages.long()) + mean * errors.mean() + variance * spread.mean()


loss = mean_variance_loss
