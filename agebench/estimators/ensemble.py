"""The mean of several estimators."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from agebench.estimators import Advance, Estimates, Estimator, Faces, Training
from agebench.recipes import EstimatorRecipe


@dataclass(frozen=True)
class Mean:
    """See `agebench.estimators.Estimator`. Only records that all members estimate are estimated."""

    recipe: EstimatorRecipe
    members: Sequence[Estimator]

    @property
    def called(self) -> str:
        return "+".join(member.called for member in self.members)

    @property
    def crops(self) -> bool:
        return any(member.crops for member in self.members)

    @property
    def id(self) -> str:
        """The recipe's name and a hash of the members' ids, whose order does not matter."""
        together = "\n".join(sorted(member.id for member in self.members))
        return f"{self.recipe.name}-{hashlib.sha256(together.encode()).hexdigest()[:8]}"

    def training(self) -> Training:
        """What all members were trained on together; known if that of each is."""
        each = [member.training() for member in self.members]
        if not all(one.known and one.records is not None for one in each):
            return Training(known=False)
        datasets, detectors = {one.dataset for one in each}, {one.detector for one in each}
        records = pl.concat([one.records for one in each if one.records is not None], how="diagonal_relaxed")
        return Training(
            True,
            datasets.pop() if len(datasets) == 1 else None,
            detectors.pop() if len(detectors) == 1 else "several",
            records,
            tuple(dict.fromkeys(path for one in each for path in one.manifests)),
        )

    def facts(self) -> dict[str, Any]:
        files: dict[str, str] = {}
        for member in self.members:
            files |= member.facts()["files"]
        return {"kind": "ensemble", "of": [member.id for member in self.members], "files": files}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        each = [member.estimate(faces, on_crops, on_predict) for member in self.members]
        keys = [set(one.records.select("part", "path").iter_rows()) for one in each]
        common = set.intersection(*keys)
        picked = []
        for one in each:
            kept = np.array([key in common for key in one.records.select("part", "path").iter_rows()], dtype=bool)
            shares = None if one.probabilities is None else one.probabilities[kept]
            picked.append((one.records.filter(pl.Series(kept)), one.ages[kept], shares))
        ages = np.mean([ages for _, ages, _ in picked], axis=0)
        distributions = [shares for _, _, shares in picked if shares is not None]
        probabilities = np.mean(distributions, axis=0) if len(distributions) == len(picked) else None
        spreads = np.full(len(ages), np.nan)
        if probabilities is not None:
            years = np.arange(probabilities.shape[1])
            spreads = np.sqrt(np.maximum(probabilities @ years**2 - (probabilities @ years) ** 2, 0))
        return Estimates(picked[0][0], ages, probabilities, spreads)
