"""Multinomial logistic regression on features: a probability for each of the ages 0 to 99.

Each face's target is not its age alone but a normal distribution around it, as in label distribution learning (Geng,
"Label distribution learning", TKDE 2016): 100 classes of which most have few faces could not be learned apart.

Chosen here by cross-fitting on a release with wrong ages: the distribution's deviation and the penalty on the weights.
The regression is fitted on at most 20,000 faces, drawn by weight where there are more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from agebench.training.data import Ints
from agebench.training.decoding import CLASSES
from agebench.training.features import Advance, Faces, FeatureName, extract
from agebench.training.methods import Ages, Parameters
from agebench.training.regression import sample_with_counts

FACES = 20_000
ITERATIONS = 150  # of L-BFGS
YEARS = np.arange(CLASSES)


@dataclass(frozen=True, kw_only=True)
class Logistic:
    """sigma: of the targets' normal distributions, in years. penalty: on the squared weights of standardised features,
    as a share of one face's loss."""

    features: FeatureName = "bif"
    sigma: Annotated[float, Field(gt=0)] = 3.0
    penalty: Annotated[float, Field(ge=0)] = 9.0

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        drawn, counts = sample_with_counts(FACES, seed, weights)
        features = extract(self.features, faces.take(drawn), on_progress=on_progress).astype(np.float64)
        mean, spread = features.mean(0), np.maximum(features.std(0), 1e-6)
        targets = softmax(-((YEARS - ages[drawn, None]) ** 2) / (2 * self.sigma**2), axis=1)
        points = torch.from_numpy((features - mean) / spread)
        wanted = torch.from_numpy(targets * (counts / counts.sum())[:, None])
        slopes = torch.zeros(points.shape[1], CLASSES, dtype=torch.float64, requires_grad=True)
        levels = torch.zeros(CLASSES, dtype=torch.float64, requires_grad=True)
        optimiser = torch.optim.LBFGS([slopes, levels], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            fitted = -(wanted * torch.log_softmax(points @ slopes + levels, 1)).sum()
            total = fitted + self.penalty / len(drawn) * (slopes**2).sum()
            total.backward()
            return total

        optimiser.step(loss)
        return {
            "mean": mean,
            "slopes": slopes.detach().numpy() / spread[:, None],
            "levels": levels.detach().numpy(),
        }

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, Ages]:
        scores = extract(
            self.features,
            faces,
            lambda batch: np.asarray((batch - parameters["mean"]) @ parameters["slopes"], np.float32),
        )
        probabilities = softmax(scores.astype(np.float64) + parameters["levels"], axis=1)
        return probabilities @ YEARS, probabilities


method = Logistic
