"""Cross entropy (Kwak et al., eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agebench.training.losses import Reduction


def cross_entropy_loss(logits: Tensor, ages: Tensor, *, reduction: Reduction = "mean") -> Tensor:
    """The cross entropy `−log y_age` (eq. 2). logits: (B, K) raw scores. ages: (B,) whole years, 0..K−1. A scalar."""
    scores = logits if logits.dtype == torch.float64 else logits.float()
    return F.cross_entropy(scores, ages.long(), reduction=reduction)


loss = cross_entropy_loss
