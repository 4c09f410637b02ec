"""Resolved model recipes: the settings of network, loss and method are checked against their code, and defaults
filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from agebench import registry, resources
from agebench.errors import RecipeError, UsageError, described
from agebench.recipes import (
    Loss,
    Method,
    ModelRecipe,
    Named,
    Network,
    NetworkRecipe,
    mistaken,
    mistakes_of,
    read_model_recipe,
    weights_path,
    wrong_changes,
)
from agebench.training.decoding import CLASSES, decoding_of
from agebench.training.networks import make_network

TABLES: dict[str, tuple[str, type[Named]]] = {
    "network": ("networks", Network),
    "loss": ("losses", Loss),
    "method": ("methods", Method),
}


def resolve_recipe(name: str, changes: dict[str, Any] | None = None) -> ModelRecipe:
    """A model recipe by name or file, with dotted keys changed (`train.steps`) and every setting stated.

    Raises UsageError, and RecipeError (exit 2) that lists every mistake.
    """
    path = resources.find("models", name)
    recipe, data, mistakes = read_model_recipe(path, changes)
    whole = {}
    for table in TABLES:
        if isinstance(data.get(table), dict):
            whole[table], wrong = _completed(table, data[table])
            mistakes += wrong
    if recipe is None or mistakes:
        mistakes = list(dict.fromkeys(mistakes))  # both report an unknown key
        if changes:
            resolve_recipe(name)  # raises where the file itself is at fault
            raise wrong_changes(path, mistakes)
        raise mistaken(path, mistakes)
    recipe = _with_weights(recipe.model_copy(update=whole), path, changes)
    if isinstance(recipe, NetworkRecipe) and recipe.network.factory:
        _check_scores(recipe)
    return recipe


def with_new_defaults(recipe: ModelRecipe) -> ModelRecipe | None:
    """The recipe of a run with every setting stated, so also those that agebench has only had since; None if it does
    not fit the code of today."""
    whole = {}
    for table in TABLES:
        if isinstance(named := getattr(recipe, table, None), Named):
            found, mistakes = _completed(table, named.model_dump())
            if found is None or mistakes:
                return None
            whole[table] = found
    return recipe.model_copy(update=whole)


def _with_weights(recipe: ModelRecipe, path: Path, changes: dict[str, Any] | None) -> ModelRecipe:
    """The recipe with the absolute path of its network's weights: a relative one is relative to the recipe's folder, or
    to the current folder if it was given as a change."""
    if not isinstance(recipe, NetworkRecipe) or recipe.network.weights is None:
        return recipe
    folder = Path.cwd() if "network.weights" in (changes or {}) else path.parent
    weights = weights_path(recipe.network.weights, folder)
    return recipe.model_copy(update={"network": recipe.network.model_copy(update={"weights": weights})})


@torch.inference_mode()
def _check_scores(recipe: NetworkRecipe) -> None:
    """Raises RecipeError unless the network of somebody's factory takes the recipe's crops and gives 100 scores."""
    network, size = make_network(recipe.network).eval(), recipe.crop.size
    try:
        scores = network(torch.zeros(2, 3, size, size))
    except Exception as error:  # somebody else's code
        raise RecipeError(
            f"The network of {recipe.network.factory} fails on pictures of 3×{size}×{size}: {described(error)}."
        ) from error
    shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if not isinstance(scores, torch.Tensor) or scores.ndim != 2 or scores.shape[0] != 2 or scores.shape[1] < CLASSES:
        raise RecipeError(
            f"The network of {recipe.network.factory} gives {shape} for two pictures.",
            "Expected scores of shape (2, 100): one for each age from 0 to 99.",
        )


def _completed(table: str, values: dict[str, Any]) -> tuple[Named | None, list[str]]:
    """The table with every setting, or its mistakes; a wrong name is already reported by `read_model_recipe`."""
    kind, named = TABLES[table]
    try:
        given = named.model_validate(values)
        if isinstance(given, Network) and given.factory:  # its settings are its own affair
            return given, []
        model = registry.settings_of(registry.find(kind, given.name))
    except (ValidationError, UsageError):
        return None, []
    try:
        settings = model.model_validate(given.settings).model_dump()
        whole = named.model_validate(given.model_dump() | settings)
    except ValidationError as error:
        return None, [f"{table}.{mistake}" for mistake in mistakes_of(error, model, given.settings)]
    if isinstance(whole, Loss):
        try:
            decoding_of(whole)
        except RecipeError as error:
            return None, [error.message]
    if isinstance(whole, Network):
        try:
            with torch.device("meta"):
                make_network(whole)
        except (ValueError, TypeError) as error:
            return None, [f"network: {error}"]
    return whole, []
