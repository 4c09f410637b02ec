"""OHRank: a hyperplane for each age k says whether a face is older than k; the rank is how many say so.

Source: Chang, Chen and Hung, "Ordinal hyperplanes ranker with cost sensitivities for age estimation", CVPR 2011. Each
hyperplane is a support vector machine in which a face costs as much as the years by which its misplacement would move
the rank: at the threshold k a face of age y costs k - y + 1 where y is at most k, else y - k.

Left open there, and chosen here: C and gamma. Their features for FG-NET are an active appearance model's, from 68
points placed by hand; here bio-inspired ones on principal components. For speed, the RBF kernel is approximated by
Nyström's method on a draw of the training faces, and the hinge is squared: a hundred linear machines in the primal
instead of a hundred kernel ones.
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
from agebench.training.regression import fit_projection, inside, project, rbf, sample, sample_with_counts, under

HYPERPLANE_FACES = 20_000  # a hundred machines are fitted on at most so many faces, drawn by weight


def costs(ages: Ints, threshold: int) -> NDArray[np.float64]:
    """(N,) years by which the rank moves at least where a face of each age lies on the wrong side of a threshold."""
    return np.where(ages <= threshold, threshold - ages + 1, ages - threshold).astype(np.float64)


def rank(scores: NDArray[np.float64], youngest: float) -> Ages:
    """Ages (N,) of hyperplanes' scores (N, K): one year above the youngest for each that says `older`."""
    return youngest + (scores > 0).sum(axis=1)


@dataclass(frozen=True, kw_only=True)
class OhRank:
    features: FeatureName = "bif"
    components: Annotated[int, Field(ge=1)] = 300
    c: Annotated[float, Field(gt=0)] = 1.0
    gamma: Annotated[float, Field(gt=0)] = 1.0
    landmarks: Annotated[int, Field(ge=1)] = 500  # faces that the kernel is approximated on

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        from sklearn.svm import LinearSVC

        projection, points = fit_projection(self.features, faces, self.components, seed, on_progress)
        drawn, counts = sample_with_counts(HYPERPLANE_FACES, seed, weights)
        points, ages = points[drawn], ages[drawn]
        centres = points[sample(len(points), self.landmarks, seed)]
        values, vectors = np.linalg.eigh(rbf(centres, centres, self.gamma))
        whiten = vectors / np.sqrt(np.maximum(values, 1e-6))  # (M, M): the kernel becomes a plain product
        mapped = rbf(points, centres, self.gamma) @ whiten
        planes, offsets = [], []
        for threshold in range(ages.min(), ages.max()):
            cost = costs(ages, threshold) * counts
            svm = LinearSVC(C=self.c, dual=False, tol=1e-3)
            svm.fit(mapped, ages > threshold, sample_weight=cost / cost.mean())
            planes.append(whiten @ svm.coef_[0])
            offsets.append(svm.intercept_[0])
        return under("projection", projection) | {
            "landmarks": centres,
            "planes": np.reshape(planes, (-1, len(centres))),
            "offsets": np.asarray(offsets, np.float64),
            "youngest": np.array([ages.min()]),
        }

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = project(self.features, faces, inside("projection", parameters))
        kernel = rbf(points, parameters["landmarks"], self.gamma)
        return rank(kernel @ parameters["planes"].T + parameters["offsets"], parameters["youngest"][0]), None


method = OhRank
