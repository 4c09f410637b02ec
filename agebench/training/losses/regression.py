"""Regression of the age itself."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from agebench.training.decoding import VALUE, decoded_by, value_of


@decoded_by(VALUE)
def regression_loss(
    logits: Tensor,
    ages: Tensor,
    *,
    norm: Literal["l1", "l2", "huber"] = "l1",
    delta: Annotated[float, Field(gt=0)] = 5.0,
) -> Tensor:
    """The absolute error in years (`l1`), half its square (`l2`), or Huber's: as `l2` up to `delta` years, then linear.

    logits: (B, K) raw scores, of which the first is the age (see `decoding.value_of`). ages: (B,) years. Returns the
    mean, a scalar.
    """
    predicted, true = value_of(logits.float()), ages.float()
    if norm == "l1":
        return F.l1_loss(predicted, true)
    return F.mse_loss(predicted, true) / 2 if norm == "l2" else F.huber_loss(predicted, true, delta=delta)


loss = regression_loss
