"""DIF, demographic informative features: those bio-inspired features that tell the age are chosen by boosting, a
hierarchy of support vector machines puts a face into an age group, and a regression of that group tells its age.

Source: Han, Otto, Liu and Jain, "Demographic estimation from face images: human vs. machine performance", PAMI 2015.

Left open there, and chosen here: boosting takes the one feature at a time that explains most of what is left of the age
(componentwise L2 boosting) instead of boosted classifiers, which would need hours; four groups with bounds at the
quartiles of the training ages, so that each has faces enough; each group's regression also learns from faces up to five
years beyond its bounds, because the hierarchy errs near them. Their correction of pose and light is left out: crops are
aligned already, and the filters have no mean. Features are chosen on at most 10,000 faces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from agebench.training.data import Ints
from agebench.training.features import Advance, Faces, FeatureName, Floats, extract
from agebench.training.methods import Ages, Parameters
from agebench.training.regression import (
    PCA_FACES,
    fit_svc,
    fit_svr,
    group_bounds,
    inside,
    machine,
    sample,
    under,
    within_range,
)

STEP = 0.3  # the share of a feature's own fit that boosting takes


def informative(features: Floats, ages: NDArray[Any], weights: NDArray[np.float64], rounds: int) -> Ints:
    """The columns of standardised features (N, D) that L2 boosting takes within so many rounds, in order, each once."""
    share = weights / weights.sum()
    left = ages - share @ ages
    chosen = np.empty(rounds, np.int64)
    for turn in range(rounds):
        gain = np.asarray(share * left, np.float32) @ features
        chosen[turn] = np.abs(gain).argmax()
        left -= STEP * float(gain[chosen[turn]]) * features[:, chosen[turn]]
    return np.unique(chosen)


def hierarchy(bounds: int) -> list[tuple[int, int, int]]:
    """(first group, bound, last group) of each node of a binary tree over groups 0..bounds, parents first.

    A node tells its groups up to `bound` from those above it.
    """
    nodes, waiting = [], [(0, bounds)]
    while waiting:
        first, last = waiting.pop(0)
        if first < last:
            middle = (first + last) // 2
            nodes.append((first, middle, last))
            waiting += [(first, middle), (middle + 1, last)]
    return nodes


@dataclass(frozen=True, kw_only=True)
class Dif:
    features: FeatureName = "bif"
    rounds: Annotated[int, Field(ge=1)] = 300  # of boosting; fewer features, for some are taken again
    groups: Annotated[int, Field(ge=1)] = 4
    overlap: Annotated[int, Field(ge=0)] = 5  # years
    c: Annotated[float, Field(gt=0)] = 30.0
    gamma: Annotated[float, Field(gt=0)] = 0.3
    epsilon: Annotated[float, Field(ge=0)] = 1.0  # years

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        drawn = sample(len(faces), PCA_FACES, seed)
        part = extract(self.features, faces.take(drawn), on_progress=on_progress)
        mean, spread = part.mean(axis=0), np.maximum(part.std(axis=0), 1e-6)
        chosen = informative((part - mean) / spread, ages[drawn], weights[drawn], self.rounds)
        scale = spread[chosen] * np.float32(np.sqrt(len(chosen)))  # a mean square of 1 in all, as for components
        selection = {"chosen": chosen, "mean": mean[chosen], "scale": scale}
        whole = len(drawn) == len(faces)
        points = _select(selection, part) if whole else self._points(selection, faces, on_progress)
        bounds = group_bounds(ages, self.groups)
        edges = np.concatenate([[-1], bounds, [99]])  # group g: edges[g] < age <= edges[g + 1]
        parameters = under("selection", selection) | {"bounds": bounds}
        for first, bound, last in hierarchy(len(bounds)):
            mine = (ages > edges[first]) & (ages <= edges[last + 1])
            above = ages[mine] > edges[bound + 1]
            svc = fit_svc(points[mine], above, weights[mine], c=self.c, gamma=self.gamma, seed=seed)
            parameters |= under(f"bound-{bound}", svc)
        for group in range(len(bounds) + 1):
            mine = (ages > edges[group] - self.overlap) & (ages <= edges[group + 1] + self.overlap)
            settings: dict[str, Any] = {"c": self.c, "gamma": self.gamma, "epsilon": self.epsilon, "seed": seed}
            parameters |= under(f"group-{group}", fit_svr(points[mine], ages[mine], weights[mine], **settings))
        return parameters

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        points = self._points(inside("selection", parameters), faces)
        bounds = len(parameters["bounds"])
        low, high = np.zeros(len(faces), np.int64), np.full(len(faces), bounds)
        for first, bound, last in hierarchy(bounds):
            here = (low == first) & (high == last)
            above = machine(inside(f"bound-{bound}", parameters), points[here]) > 0
            low[here] = np.where(above, bound + 1, first)
            high[here] = np.where(above, last, bound)
        ages = np.zeros(len(faces))
        for group in range(bounds + 1):
            ages[low == group] = machine(inside(f"group-{group}", parameters), points[low == group])
        return within_range(ages), None

    def _points(
        self, selection: Mapping[str, NDArray[Any]], faces: Faces, on_progress: Advance | None = None
    ) -> Floats:
        return extract(self.features, faces, lambda batch: _select(selection, batch), on_progress=on_progress)


def _select(selection: Mapping[str, NDArray[Any]], features: Floats) -> Floats:
    return np.asarray((features[:, selection["chosen"]] - selection["mean"]) / selection["scale"], np.float32)


method = Dif
