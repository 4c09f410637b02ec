"""CA-SVR: cumulative attributes from a linear ridge regression of all at once, then SVR from attributes to the age.

Source: Chen, Gong, Xiang and Loy, "Cumulative attribute space for age and crowd density estimation", CVPR 2013. The
attribute k of a face is 1 where its age is at least k years, else 0, for k = 1..99.

Left open there, and chosen here: C, gamma and the ridge's penalty. Their features for FG-NET (4.67 years) are an active
appearance model's, from 68 points placed by hand; here bio-inspired ones on principal components. The second layer
learns from attributes that were estimated by ten-fold cross-fitting, because those of a ridge for its own training
faces are nearer to the truth than those of any other face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agebench.training.data import Ints
from agebench.training.features import Advance, Faces, FeatureName
from agebench.training.methods import Ages, Parameters
from agebench.training.regression import fit_projection, fit_svr, inside, machine, project, under, within_range

ATTRIBUTES = np.arange(1, 100)
FOLDS = 10


def cumulative(ages: Ints) -> NDArray[np.float64]:
    """(N, 99): attribute k = 1..99 is 1 where the age is at least k."""
    return (ages[:, None] >= ATTRIBUTES).astype(np.float64)


def fit_ridge(
    points: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], penalty: float
) -> Parameters:
    """Ridge regression of all targets (N, K) on points (N, d): min Σ wᵢ |tᵢ - xᵢ B - b|² + penalty · N / d · |B|², with
    weights of mean 1 and b free."""
    share = weights / weights.sum()
    centre, level = share @ points, share @ targets
    x = points - centre
    gram = (x * share[:, None]).T @ x + penalty / x.shape[1] * np.eye(x.shape[1])
    coefficients = np.linalg.solve(gram, (x * share[:, None]).T @ (targets - level))
    return {"coefficients": coefficients, "intercept": level - centre @ coefficients}


def attributes_of(ridge: Mapping[str, NDArray[Any]], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The attributes (N, K) that a ridge estimates."""
    return np.asarray(points @ ridge["coefficients"] + ridge["intercept"])


def cross_fitted(
    points: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64], penalty: float, seed: int
) -> NDArray[np.float64]:
    """Each face's attributes (N, K) as estimated by a ridge fitted to the other folds."""
    fold = np.random.default_rng(seed).permutation(len(points)) % min(FOLDS, len(points))
    found = np.empty_like(targets)
    for one in np.unique(fold):
        out = fold == one
        ridge = fit_ridge(points[~out], targets[~out], weights[~out], penalty)
        found[out] = attributes_of(ridge, points[out])
    return found


@dataclass(frozen=True, kw_only=True)
class CaSvr:
    features: FeatureName = "bif"
    components: Annotated[int, Field(ge=1)] = 300
    penalty: Annotated[float, Field(gt=0)] = 0.1  # of the first layer, in the components' mean variance
    c: Annotated[float, Field(gt=0)] = 30.0
    gamma: Annotated[float, Field(gt=0)] = 0.1
    epsilon: Annotated[float, Field(ge=0)] = 1.0  # years

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        projection, points = fit_projection(self.features, faces, self.components, seed, on_progress)
        x, targets = np.asarray(points, np.float64), cumulative(ages)
        ridge = fit_ridge(x, targets, weights, self.penalty)
        attributes = cross_fitted(x, targets, weights, self.penalty, seed)
        svr = fit_svr(attributes, ages, weights, c=self.c, gamma=self.gamma, epsilon=self.epsilon, seed=seed)
        return under("projection", projection) | under("ridge", ridge) | under("svr", svr)

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = project(self.features, faces, inside("projection", parameters))
        attributes = attributes_of(inside("ridge", parameters), np.asarray(points, np.float64))
        return within_range(machine(inside("svr", parameters), attributes)), None


method = CaSvr
