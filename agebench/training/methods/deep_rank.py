"""DeepRank+: scattering features on principal components, then fully connected layers that rank within age groups.

Source: Yang, Lin, Chang and Chen, "Automatic age estimation from face images via deep ranking", BMVC 2015: a
scattering network of three layers, PCA, and category-wise rankers, in which a face's rank is coded by "is at least k
years old" for every k.

Left open there, and chosen here: the scattering network's scales (`agebench.training.features.scattering`), 500
components, two hidden layers of 256 with dropout; three age groups of equal size in the training faces. The third layer
gives the groups' probabilities and, for each group, the probability of every rank; a face's ranks are the groups'
weighted by their probabilities. Each face teaches the ranker of its own group and those of groups whose bounds are at
most five years away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from agebench.training.data import Ints
from agebench.training.features import Advance, Faces, FeatureName
from agebench.training.methods import Ages, Parameters
from agebench.training.regression import fit_projection, group_bounds, inside, project, under

RANKS = 99  # rank k = 1..99: the face is at least k years old
OVERLAP = 5  # years beyond a group's bounds from which its ranker learns


class Rankers(nn.Module):
    """Points (B, d) → the groups' scores (B, G) and the ranks' scores (B, G, 99)."""

    def __init__(self, components: int, hidden: int, groups: int, dropout: float) -> None:
        super().__init__()
        self.groups = groups
        self.hidden = nn.Sequential(
            nn.Linear(components, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.out = nn.Linear(hidden, groups * (RANKS + 1))

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.out(self.hidden(points)).view(-1, self.groups, RANKS + 1)
        return scores[..., 0], scores[..., 1:]


@dataclass(frozen=True, kw_only=True)
class DeepRank:
    features: FeatureName = "scattering"
    components: Annotated[int, Field(ge=1)] = 500
    hidden: Annotated[int, Field(ge=1)] = 256
    groups: Annotated[int, Field(ge=1)] = 3
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    steps: Annotated[int, Field(ge=1)] = 3000
    batch: Annotated[int, Field(ge=1)] = 128
    rate: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        projection, points = fit_projection(self.features, faces, self.components, seed, on_progress)
        bounds = group_bounds(ages, self.groups)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            rankers = Rankers(points.shape[1], self.hidden, len(bounds) + 1, self.dropout)
            self._train(rankers, _standardised(points), ages, bounds, weights, seed)
        state = {name: value.numpy() for name, value in rankers.state_dict().items()}
        return under("projection", projection) | under("rankers", state) | {"bounds": bounds}

    def _train(
        self,
        rankers: Rankers,
        points: Tensor,
        ages: Ints,
        bounds: Ints,
        weights: NDArray[np.float64],
        seed: int,
    ) -> None:
        edges = np.concatenate([[-1], bounds, [99]])  # group g: edges[g] < age <= edges[g + 1]
        group = torch.from_numpy(np.searchsorted(bounds, ages))
        near = (ages[:, None] > edges[:-1] - OVERLAP) & (ages[:, None] <= edges[1:] + OVERLAP)
        taught = torch.from_numpy(near.astype(np.float32))
        ranks = torch.from_numpy((ages[:, None] >= np.arange(1, RANKS + 1)).astype(np.float32))
        optimiser = torch.optim.AdamW(rankers.parameters(), self.rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        rng, shares = np.random.default_rng(seed), weights / weights.sum()
        drawn = rng.choice(len(ages), (self.steps, self.batch), p=shares)
        for batch in torch.from_numpy(drawn):
            groups, scores = rankers(points[batch])
            wanted = ranks[batch, None].expand_as(scores)
            wrong = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none").sum(2)
            loss = F.cross_entropy(groups, group[batch]) + (wrong * taught[batch]).sum() / taught[batch].sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, Ages]:
        projection, state = inside("projection", parameters), inside("rankers", parameters)
        rankers = Rankers(len(projection["axes"]), self.hidden, len(parameters["bounds"]) + 1, 0.0).eval()
        rankers.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        with torch.inference_mode():
            groups, scores = rankers(_standardised(project(self.features, faces, projection)))
            at_least = (groups.softmax(1)[..., None] * scores.sigmoid()).sum(1).double().numpy()
        return distribution(at_least)


def _standardised(points: NDArray[np.float32]) -> Tensor:
    """Projected faces (N, d), whose mean square is 1 in all, with one of about 1 in each dimension."""
    return torch.from_numpy(points * np.float32(np.sqrt(points.shape[1])))


def distribution(at_least: NDArray[np.float64]) -> tuple[Ages, Ages]:
    """Ages (N,) and probabilities (N, 100) from the probabilities (N, 99) of being at least 1, 2, … 99 years old.

    Rankers do not know of each other: where a higher rank is the more probable, it is lowered to the one before.
    """
    falling = np.minimum.accumulate(at_least, axis=1)
    steps = np.concatenate([np.ones((len(falling), 1)), falling, np.zeros((len(falling), 1))], axis=1)
    return falling.sum(axis=1), -np.diff(steps, axis=1)


method = DeepRank
