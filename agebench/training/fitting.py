"""Training either kind of model recipe: a network step by step, or a classical method at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from agebench.recipes import MethodRecipe, ModelRecipe, NetworkRecipe
from agebench.training import loop
from agebench.training.features import Faces
from agebench.training.loop import Examples, Progress, Trained
from agebench.training.methods import make_method


def start_fabric(recipe: ModelRecipe) -> Fabric:
    """Where a recipe is trained: one process on the best device for a network, the CPU for a classical method."""
    if isinstance(recipe, NetworkRecipe):
        return loop.start_fabric(recipe)
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    return fabric


def fit_recipe(
    recipe: ModelRecipe,
    train: Examples,
    validation: Examples,
    *,
    folder: Path,
    seed: int,
    fabric: Fabric,
    on_progress: Progress | None = None,
) -> Trained:
    """Train as the recipe says; `on_progress` counts the steps of a network, or the faces that a method has read.

    Raises as `loop.fit` does.
    """
    if isinstance(recipe, NetworkRecipe):
        return loop.fit(recipe, train, validation, folder=folder, seed=seed, fabric=fabric, on_progress=on_progress)
    assert isinstance(recipe, MethodRecipe)
    begun = time.perf_counter()

    def read(done: int, total: int) -> None:
        if on_progress:
            on_progress(done, total, None, None)

    parameters = make_method(recipe.method).fit(
        Faces(train.pictures, train.rows),
        train.ages,
        weights=train.copies.astype(np.float64),
        seed=seed,
        on_progress=read,
    )
    weights = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in parameters.items()}
    return Trained(weights, None, time.perf_counter() - begun)
