"""Finding an estimator by what the command line calls it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agebench import registry, resources
from agebench.errors import AgebenchError, Missing, RecipeError, RunError, UsageError, nearest
from agebench.estimators import Estimator
from agebench.estimators.ensemble import Mean, training_in_words
from agebench.estimators.external import External, Onnx, Ready
from agebench.estimators.function import FromFunction
from agebench.estimators.predictions import FromFile
from agebench.estimators.run import RunEstimator
from agebench.recipes import (
    Ensemble,
    EstimatorRecipe,
    FunctionEstimator,
    OnnxEstimator,
    PredictionsEstimator,
    ReadyEstimator,
    load_estimator_recipe,
    load_table_row,
    name_from,
)
from agebench.training.run_cards import RUNS
from agebench.training.runs import Run, find_run, list_evaluated

PREDICTIONS = (".csv", ".parquet")
HOW = "a run, a recipe in models/, an ONNX file, module:function, predictions (.csv, .parquet), an age model, or A+B"


def find_estimator(name: str | Path | Run, runs_dir: Path = RUNS, *, also: Sequence[str] = ()) -> Estimator:
    """The estimator that a name means.

    In this order: several joined by `+`; an ONNX file with its recipe (the same name with .toml) beside it; a recipe
    (.toml); predictions (.csv, .parquet); `module:function`; a recipe with an [estimator] table in `models/`; a ready
    age model (`ready` is the best one installed); a run by id, start of an id, model or folder; the id under which an
    estimator that was not trained here was kept.

    also: other names that the caller takes, for the message. Raises UsageError, Missing, RecipeError, or RunError.
    """
    if isinstance(name, Run):
        return RunEstimator(name)
    text = str(name)
    path = Path(text)
    if "+" in text and not path.exists():
        return _mean(text.split("+"), runs_dir)
    if path.suffix.lower() == ".onnx":
        return _onnx(path)
    if path.suffix.lower() in PREDICTIONS:
        if not path.is_file():
            raise Missing(f"There is no file {path}.")
        return _of(_recipe(path.stem, kind="predictions", file=path.name), path.parent, runs_dir, text)
    if path.suffix == ".toml":
        return _from_recipe(text, runs_dir)
    if re.fullmatch(r"[\w.]+:[\w.]+", text):
        return _of(_recipe(text.replace(":", "-"), kind="function", function=text), Path(), runs_dir, text)
    if text in resources.available("models") and isinstance(load_table_row(text), EstimatorRecipe):
        return _from_recipe(text, runs_dir)
    if text == "ready" or text in registry.names("estimators"):
        return _ready(text, runs_dir)
    try:
        return RunEstimator(find_run(text, runs_dir))
    except (Missing, UsageError) as error:
        if "matches" in error.message:  # several runs
            raise
        kept = [listed for listed in list_evaluated(runs_dir) if listed.complete]
        for listed in kept:
            if listed.id == text and not listed.trained:
                return find_estimator(str(listed.card["estimator"]["called"]), runs_dir)
        if text in resources.available("models"):
            raise Missing(f"There is no run of {text} in {runs_dir}.", f"`agebench train {text}` makes one.") from error
        known = {listed.id for listed in kept} | {*also, "ready", *registry.names("estimators"), *_estimator_recipes()}
        raise UsageError(f"There is no estimator '{text}'. {nearest(text, known)}", f"Expected {HOW}.") from error


def _estimator_recipes() -> list[str]:
    """The names of the recipes in `models/` that have an [estimator] table."""
    found = []
    for name in resources.available("models"):
        try:
            if isinstance(load_table_row(name), EstimatorRecipe):
                found.append(name)
        except AgebenchError:
            continue
    return found


def _onnx(path: Path) -> Estimator:
    beside = path.with_name(f"{name_from(path.stem)}.toml")
    if not path.is_file():
        raise Missing(f"There is no file {path}.")
    if not beside.is_file():
        raise RecipeError(
            f"{path} has no recipe {beside.name} beside it, which says what it takes and gives.",
            f"Rename {path.stem}.toml to {beside.name}, and its `name`: names are small letters, digits and hyphens."
            if path.with_suffix(".toml").is_file()
            else f'Write one with name = "{beside.stem}", title, label, and an [estimator] table: kind = "onnx", '
            f'file = "{path.name}", size, mean, scale, colour, template, decoding. docs/how-to/benchmark.md shows one.',
        )
    return _of(load_estimator_recipe(beside), beside.parent, RUNS, str(beside))


def _from_recipe(name: str, runs_dir: Path) -> Estimator:
    path = resources.find("models", name)
    recipe = load_table_row(name)
    if not isinstance(recipe, EstimatorRecipe):
        raise UsageError(
            f"{path} is a recipe for training, not an estimator.", f"`agebench train {recipe.name}` trains it."
        )
    return _of(recipe, path.parent, runs_dir, name)


def _of(recipe: EstimatorRecipe, folder: Path, runs_dir: Path, called: str) -> Estimator:
    how = recipe.estimator
    if isinstance(how, Ensemble):
        return _together(recipe, [find_estimator(member, runs_dir) for member in how.of])
    kinds: dict[type, type[External]] = {
        OnnxEstimator: Onnx,
        FunctionEstimator: FromFunction,
        PredictionsEstimator: FromFile,
        ReadyEstimator: Ready,
    }
    made: Any = kinds[type(how)]
    estimator: Estimator = made(recipe, folder, called)
    return estimator


def _ready(name: str, runs_dir: Path) -> Estimator:
    model = "auto" if name == "ready" else name
    label = "Ready-made age model" + ("" if model == "auto" else f" {model}")
    return _of(_recipe(name, label=label, kind="ready", model=model), Path(), runs_dir, name)


def _mean(names: list[str], runs_dir: Path) -> Estimator:
    if not all(name.strip() for name in names):
        raise UsageError(f"'{'+'.join(names)}' names no estimator before or after a +.", "Expected A+B.")
    members = [find_estimator(name.strip(), runs_dir) for name in names]
    label = " and ".join(member.recipe.label for member in members) + " together"
    tables = sorted({table for member in members for table in member.recipe.tables})
    recipe = _recipe("mean", label=label, kind="ensemble", of=[member.id for member in members])
    return _together(recipe.model_copy(update={"tables": tables}), members)


def _together(recipe: EstimatorRecipe, members: list[Estimator]) -> Mean:
    told = recipe.trained_on or training_in_words(members)
    return Mean(recipe.model_copy(update={"trained_on": told}), members)


def _recipe(stem: str, *, label: str | None = None, **estimator: Any) -> EstimatorRecipe:
    """The recipe of an estimator that has none, with a name made from `stem`."""
    name = name_from(stem)
    try:
        return EstimatorRecipe.model_validate(
            {"name": name, "title": label or stem, "label": label or stem, "estimator": estimator}
        )
    except ValidationError as error:
        raise RunError(f"'{stem}' cannot be used as an estimator: {error.errors()[0]['msg']}.") from error
