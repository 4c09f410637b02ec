"""OR-CNN: one binary classifier a threshold (Niu, Zhou, Wang, Gao and Hua, CVPR 2016).

With `[network] head = "shared"`, which gives all thresholds one vector of weights and each its own bias, it is CORAL
(Cao, Mirjalili and Raschka, Pattern Recognition Letters 2020).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agebench.training.decoding import CLASSES, THRESHOLDS, decoded_by


@decoded_by(THRESHOLDS)
def or_cnn_loss(logits: Tensor, ages: Tensor) -> Tensor:
    """The cross entropies of 99 answers to "older than k years?", summed; every threshold has the same weight.

    logits: (B, K) raw scores, of which the first 99 are used. ages: (B,) whole years. Returns the mean, a scalar.
    """
    scores = logits.float()[:, : CLASSES - 1]
    older = ages.unsqueeze(1) > torch.arange(scores.shape[1], device=ages.device)
    return F.binary_cross_entropy_with_logits(scores, older.float(), reduction="none").sum(1).mean()


loss = or_cnn_loss
