"""DLDL-v2: learning the expectation together with the distribution (Gao, Zhou, Wu and Geng, IJCAI 2018)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from agebench.training.decoding import expected_age
from agebench.training.losses.dldl import dldl_loss


def dldl_v2_loss(
    logits: Tensor,
    ages: Tensor,
    *,
    sigma: Annotated[float, Field(gt=0)] = 2.0,
    expectation: Annotated[float, Field(ge=0)] = 1.0,
) -> Tensor:
    """The loss of DLDL and `expectation` times the absolute error of the expected age in years (λ of the paper).

    logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. Returns the mean, a scalar.
    """
    error = (expected_age(logits) - ages.float()).abs().mean()
    return dldl_loss(logits, ages, sigma=sigma) + expectation * error


loss = dldl_v2_loss
