"""Training either kind of model recipe: a network step by step, or a classical method at once."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric

from agebench.errors import RecipeError
from agebench.recipes import MethodRecipe, ModelRecipe, NetworkRecipe
from agebench.training import loop
from agebench.training.data import Ints
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

    Raises as `loop.fit` does, and RunError if the device has not enough memory.
    """
    if isinstance(recipe, NetworkRecipe):
        try:
            return loop.fit(recipe, train, validation, folder=folder, seed=seed, fabric=fabric, on_progress=on_progress)
        except torch.OutOfMemoryError as error:
            raise loop.out_of_memory(recipe) from error
    assert isinstance(recipe, MethodRecipe)
    return _fit_method(recipe, Faces(train.pictures, train.rows), train.ages, train.copies, seed, on_progress)


def fit_faces(recipe: ModelRecipe, faces: Faces, ages: Ints, *, folder: Path, seed: int) -> Trained:
    """Train as the recipe says on faces of these ages, (N,) years, each once, with none held back.

    folder: for a network's checkpoint. Raises as `loop.fit` does, and RecipeError for a recipe with distrust.
    """
    once = np.ones(len(ages), dtype=np.int64)
    if isinstance(recipe, MethodRecipe):
        return _fit_method(recipe, faces, ages, once, seed, None)
    if recipe.distrust:
        raise RecipeError(
            "train.distrust cannot be used in cross-validation, which knows no label suspicion.",
            "Set it to 0 in a copy of the recipe.",
        )
    train = Examples(faces.pictures, faces.rows, ages, once).balanced(recipe.balance)
    none = Examples(faces.pictures, faces.rows[:0], ages[:0], once[:0])
    return fit_recipe(recipe, train, none, folder=folder, seed=seed, fabric=start_fabric(recipe))


def _fit_method(
    recipe: MethodRecipe, faces: Faces, ages: Ints, copies: Ints, seed: int, on_progress: Progress | None
) -> Trained:
    begun = time.perf_counter()

    def read(done: int, total: int) -> None:
        if on_progress:
            on_progress(done, total, None, None)

    weights = copies.astype(np.float64)
    parameters = make_method(recipe.method).fit(faces, ages, weights=weights, seed=seed, on_progress=read)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in parameters.items()}
    return Trained(tensors, None, time.perf_counter() - begun)
