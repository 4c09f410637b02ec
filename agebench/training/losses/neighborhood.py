"""The neighborhood loss (Kwak et al., eq. 4 and 5)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from agebench.training.losses import Reduction


def neighborhood_target(
    ages: Tensor, classes: int = 100, sigma: float = 5.0, *, normalised: bool = False, two_sigma_squared: bool = False
) -> Tensor:
    """The Gaussian around each age, `d_k = exp(−(k − age)² / σ²)` (eq. 4). ages: (B,) years. Returns (B, classes).

    Not normalised, as published: the sum is about σ√π away from the ends, and half of that at the ends.
    normalised: divide by the sum. two_sigma_squared: `2σ²` in the exponent, the usual Gaussian of deviation σ.
    """
    years = torch.arange(classes, device=ages.device, dtype=torch.float32)
    spread = (2.0 if two_sigma_squared else 1.0) * sigma**2
    target = torch.exp(-((years - ages.float().unsqueeze(1)) ** 2) / spread)
    return target / target.sum(1, keepdim=True) if normalised else target


def neighborhood_loss(
    logits: Tensor,
    ages: Tensor,
    *,
    sigma: Annotated[float, Field(gt=0)] = 5.0,
    normalised: bool = False,
    two_sigma_squared: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """The neighborhood loss `−Σ_k d_k log y_k` (Kwak et al., eq. 5), y the softmax of the logits.

    logits: (B, K) raw scores, class k = age k in years. ages: (B,) whole years, 0..K−1. sigma: years.
    Returns a scalar: the mean over the batch, or the sum as eq. 1 has it.
    """
    scores = logits if logits.dtype == torch.float64 else logits.float()
    target = neighborhood_target(
        ages, scores.shape[1], sigma, normalised=normalised, two_sigma_squared=two_sigma_squared
    )
    losses = -(target * F.log_softmax(scores, dim=1)).sum(1)
    return losses.mean() if reduction == "mean" else losses.sum()


loss = neighborhood_loss
