"""Several estimators together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from agebench.estimators import Advance, Estimates, Estimator, Faces, Training
from agebench.estimators.run import RunEstimator
from agebench.recipes import EstimatorRecipe
from agebench.training.run_cards import trained_on

# Part of the id, so that evaluations by another rule are not taken for it.
COMBINED = "median of the mean distribution; where an estimator gives none, mean of the ages"


def training_in_words(members: Sequence[Estimator]) -> str | None:
    """What each of several estimators was trained on, with its label; None if it is known of none."""
    each = [
        trained_on(one.run.card) if isinstance(one, RunEstimator) else getattr(one.recipe, "trained_on", None)
        for one in members
    ]
    if not any(each):
        return None
    told = zip(members, each, strict=True)
    return "; ".join(f"{(words or 'pictures unknown').rstrip('.')} ({member.recipe.label})" for member, words in told)


@dataclass(frozen=True)
class Mean:
    """See `agebench.estimators.Estimator`, and `agebench.training.inference.combined` for how estimates are combined.
    Only records that all members estimate are estimated."""

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
        """The recipe's name and a hash of the members' ids, in any order, and of how they are combined."""
        together = "\n".join([COMBINED, *sorted(member.id for member in self.members)])
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
        return {"kind": "ensemble", "combined": COMBINED, "of": [member.id for member in self.members], "files": files}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        from agebench.training.inference import combined, spread  # imports torch

        each = [member.estimate(faces, on_crops, on_predict) for member in self.members]
        keys = [one.records.select("part", "path").rows() for one in each]
        common = set(keys[0]).intersection(*keys[1:])
        kept = [np.array([key in common for key in some], dtype=bool) for some in keys]
        ages, probabilities = combined(
            [
                (one.ages[these], None if one.probabilities is None else one.probabilities[these])
                for one, these in zip(each, kept, strict=True)
            ]
        )
        spreads = np.full(len(ages), np.nan) if probabilities is None else spread(probabilities)
        return Estimates(each[0].records.filter(pl.Series(kept[0])), ages, probabilities, spreads.astype(np.float64))
