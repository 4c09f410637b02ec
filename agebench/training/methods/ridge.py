"""Ridge regression on a feature of faces: what a sceptic asks a better method to beat.

The penalty is chosen by generalised cross-validation on the training faces, of seven from 1e-5 to 10 times the
components' total variance.
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
from agebench.training.regression import fit_projection, inside, project, under, within_range


@dataclass(frozen=True, kw_only=True)
class RidgeRegression:
    features: FeatureName = "bif"
    components: Annotated[int, Field(ge=1)] = 500

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        from sklearn.linear_model import RidgeCV

        projection, points = fit_projection(self.features, faces, self.components, seed, on_progress)
        fitted = RidgeCV(len(points) * np.logspace(-5, 1, 7)).fit(
            np.asarray(points, np.float64), ages, sample_weight=weights / weights.mean()
        )
        ridge = {"coefficients": np.asarray(fitted.coef_), "intercept": np.array([fitted.intercept_])}
        return under("projection", projection) | under("ridge", ridge)

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = project(self.features, faces, inside("projection", parameters))
        return within_range(points @ parameters["ridge.coefficients"] + parameters["ridge.intercept"][0]), None


method = RidgeRegression
