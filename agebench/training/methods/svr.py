"""Support vector regression (SVR) with an RBF kernel on bio-inspired features, or on LBP or HOG.

Sources: Guo, Mu, Fu and Huang, CVPR 2009 (on bio-inspired features); Guo, Fu, Dyer and Huang, "Image-based human age
estimation by manifold learning and locally adjusted robust regression", TIP 2008 (the 5.66 years of FG-NET in tables of
comparison), whose features are an active appearance model's: shape and texture from 68 points placed by hand, which
unseen pictures do not have.

Left open there, and chosen here by cross-validation on FG-NET with persons held out: principal components in place of
their manifold or their sequential selection; C and gamma, the latter per unit of the components' total variance. The
machine is fitted on at most 10,000 faces, drawn by weight where there are more.
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


@dataclass(frozen=True, kw_only=True)
class Svr:
    features: FeatureName = "bif"
    components: Annotated[int, Field(ge=1)] = 600
    c: Annotated[float, Field(gt=0)] = 30.0
    gamma: Annotated[float, Field(gt=0)] = 0.3
    epsilon: Annotated[float, Field(ge=0)] = 1.0  # years

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        projection, points = fit_projection(self.features, faces, self.components, seed, on_progress)
        svr = fit_svr(points, ages, weights, c=self.c, gamma=self.gamma, epsilon=self.epsilon, seed=seed)
        return under("projection", projection) | under("svr", svr)

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = project(self.features, faces, inside("projection", parameters))
        return within_range(machine(inside("svr", parameters), points)), None


method = Svr
