"""SORD: soft labels for ordinal regression (Díaz and Marathe, CVPR 2019)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F


def sord_loss(
    logits: Tensor, ages: Tensor, *, squared: bool = False, scale: Annotated[float, Field(gt=0)] = 1.0
) -> Tensor:
    """The cross entropy to the softmax of minus the distance between each class and the age.

    The distance is `scale` times the years between them, or times their square (`squared`). The paper leaves it open;
    the absolute one of scale 1 is that of Paplhám and Franc's benchmark (CVPR 2024).
    logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. Returns the mean, a scalar.
    """
    years = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    distance = (years - ages.float().unsqueeze(1)).abs()
    target = (-scale * (distance**2 if squared else distance)).softmax(1)
    return F.cross_entropy(logits.float(), target)


loss = sord_loss
