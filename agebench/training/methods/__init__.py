"""Classical methods by name: a class `method` a file, or an entry point of the group `agebench.methods`.

A method is made with keyword-only settings, those that a recipe's table `[method]` may give, checked by their
annotations (`registry.settings_of`); an instance is the interface `Method`. What is fitted is kept as named arrays, so
that a run holds no pickles and prediction needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agebench import registry
from agebench.recipes import Named
from agebench.training.data import Ints
from agebench.training.features import Advance, Faces

Ages = NDArray[np.float64]
Parameters = dict[str, NDArray[Any]]


class Method(Protocol):
    """What learns ages from faces at once, without steps and batches."""

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        """Everything that `predict` needs, as named arrays that safetensors can keep.

        faces: N faces, read batch by batch (`features.extract`), for all of them may not fit into memory. ages: (N,)
        whole years, 0..99. weights: (N,) how much each face counts, above 0: the copies of a balance plan.
        seed: equal seeds give equal arrays. `on_progress(done, total)` is told of the faces that have been read.
        """

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, Ages | None]:
        """Ages (N,) in years and probabilities (N, 100) of the ages 0..99, None where the method has none."""


def make_method(recipe: Named) -> Method:
    """The method that a recipe names, with its settings. Raises UsageError where there is none of that name."""
    made: Method = registry.find("methods", recipe.name)(**recipe.settings)
    return made
