"""CA-SVR: cumulative attributes from a linear ridge regression of all at once, then SVR from attributes to the age.

Source: Chen, Gong, Xiang and Loy, "Cumulative attribute space for age and crowd density estimation", CVPR 2013. The
attribute k of a face is 1 where its age is at least k years, else 0, for k = 1..99.

Left open there, and chosen here: C, gamma and the ridge's penalty. Their features for FG-NET (4.67 years) are an active
appearance model's, from 68 points placed by hand; here bio-inspired ones on principal components. The second layer
learns from attributes estimated with the face itself left out (in closed form), because those of a ridge for its own
training faces are nearer to the truth than those of any other face.
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


def cumulative(ages: Ints) -> NDArray[np.float64]:
    """(N, 99): attribute k = 1..99 is 1 where the age is at least k."""
    return (ages[:, None] >= ATTRIBUTES).astype(np.float64)


def fit_ridge(
    points: NDArray[Any], targets: NDArray[np.float64], weights: NDArray[np.float64], penalty: float
) -> tuple[Parameters, NDArray[np.float64]]:
    """Ridge regression of all targets (N, K) on points (N, d), and each face's targets as estimated without it.

    Solves min Σ wᵢ |tᵢ - xᵢ B - b|² + penalty · N / d · |B|² with weights of mean 1; b is free.
    """
    share = weights / weights.sum()
    x, t = np.asarray(points, np.float64), targets
    centre, level = share @ x, share @ t
    x, t = x - centre, t - level
    gram = (x * share[:, None]).T @ x + penalty / x.shape[1] * np.eye(x.shape[1])
    solved = np.linalg.solve(gram, (x * share[:, None]).T)  # (d, N)
    coefficients = solved @ t
    leverage = (x * solved.T).sum(1) + share
    fitted = x @ coefficients
    without = t - (t - fitted) / np.maximum(1 - leverage, 1e-3)[:, None]
    return {"coefficients": coefficients, "intercept": level - centre @ coefficients}, without + level


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
        ridge, attributes = fit_ridge(points, cumulative(ages), weights, self.penalty)
        svr = fit_svr(attributes, ages, weights, c=self.c, gamma=self.gamma, epsilon=self.epsilon, seed=seed)
        return under("projection", projection) | under("ridge", ridge) | under("svr", svr)

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = project(self.features, faces, inside("projection", parameters))
        attributes = points @ parameters["ridge.coefficients"] + parameters["ridge.intercept"]
        return within_range(machine(inside("svr", parameters), attributes)), None


method = CaSvr
