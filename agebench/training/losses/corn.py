"""CORN: conditional probabilities of passing one threshold after the other (Shi, Cao and Raschka, 2021)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from agebench.training.decoding import CLASSES, CONDITIONAL_THRESHOLDS, decoded_by


@decoded_by(CONDITIONAL_THRESHOLDS)
def corn_loss(logits: Tensor, ages: Tensor) -> Tensor:
    """The cross entropies of the answers to "older than k years?", each asked only of those older than k − 1.

    The sum over the batch is divided by the number of classes times the batch, so that it does not grow with the batch
    as in the authors' code, which divides by the classes alone.
    logits: (B, K) raw scores, of which the first 99 are used. ages: (B,) whole years. Returns a scalar.
    """
    scores = logits.float()[:, : CLASSES - 1]
    thresholds = torch.arange(scores.shape[1], device=ages.device)
    older, asked = ages.unsqueeze(1) > thresholds, ages.unsqueeze(1) >= thresholds
    losses = F.binary_cross_entropy_with_logits(scores, older.float(), reduction="none")
    return (losses * asked).sum() / (scores.shape[1] + 1) / len(scores)


loss = corn_loss
