"""The weighted median of the training ages for every face: what a method that learned nothing would say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agebench.training.data import Ints
from agebench.training.features import Advance, Faces
from agebench.training.methods import Ages, Parameters


@dataclass(frozen=True, kw_only=True)
class Median:
    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        """The least age up to which half of the weight lies, in years."""
        counts = np.bincount(ages, weights).cumsum()
        return {"age": np.array([np.searchsorted(counts, counts[-1] / 2)], np.float64)}

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        return np.repeat(parameters["age"], len(faces)), None


method = Median
