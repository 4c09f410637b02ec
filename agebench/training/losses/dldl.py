"""Deep label distribution learning (Gao, Xing, Xie, Wu and Geng, TIP 2017)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from agebench.training.losses.neighborhood import neighborhood_target


def dldl_loss(logits: Tensor, ages: Tensor, *, sigma: Annotated[float, Field(gt=0)] = 2.0) -> Tensor:
    """The cross entropy to a normalised Gaussian of deviation `sigma` years around each age. It differs from the
    published Kullback-Leibler divergence by the Gaussian's entropy, which does not depend on the network.

    logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. Returns the mean, a scalar.
    """
    scores = logits.float()
    target = neighborhood_target(ages, scores.shape[1], sigma, normalised=True, two_sigma_squared=True)
    return F.cross_entropy(scores, target)


loss = dldl_loss
