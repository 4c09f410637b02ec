"""Reading cards and recipes from TOML, with every mistake reported at once."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from agebench import registry, resources
from agebench.errors import RecipeError, UsageError, nearest
from agebench.files import DECLARATION, read_file
from agebench.recipes.cards import Card
from agebench.recipes.curation import Check, CurationRecipe
from agebench.recipes.estimators import EstimatorRecipe
from agebench.recipes.fields import Named, Strict
from agebench.recipes.mistakes import mistaken, mistakes_of, wrong_changes
from agebench.recipes.models import (
    NAMED_TABLES,
    Loss,
    MethodRecipe,
    ModelRecipe,
    Network,
    NetworkRecipe,
    TableRow,
    weights_path,
)
from agebench.recipes.studies import StudyRecipe


def model_recipe_kind(path: Path, data: dict[str, Any]) -> type[ModelRecipe]:
    """Which kind of model recipe a file's keys make. Raises UsageError if they are an estimator's, which is not
    trained."""
    if "arm" in data:
        raise UsageError(f"{path.stem} is a study of several trainings.", f"`agebench study {path.stem}` runs it.")
    if "estimator" in data:
        raise UsageError(
            f"{path.stem} is not trained: its recipe has an [estimator] table.",
            f"`agebench evaluate {path.stem}` measures it.",
        )
    return MethodRecipe if "method" in data else NetworkRecipe


T = TypeVar("T", bound=Strict)


def load_card(name: str, cwd: Path | None = None) -> Card:
    """The card of a dataset, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("manifests", name, cwd), Card)


def load_curation_recipe(name: str, cwd: Path | None = None) -> CurationRecipe:
    """A curation recipe, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("pipelines", name, cwd), CurationRecipe)


def load_model_recipe(name: str, cwd: Path | None = None, changes: dict[str, Any] | None = None) -> ModelRecipe:
    """A model recipe, by name or file, with dotted keys changed (`train.steps`).

    Raises UsageError or RecipeError (exit 2).
    """
    path = resources.find("models", name, cwd)
    return _load(path, model_recipe_kind(path, model_keys(path)), changes)


def load_table_row(name: str, cwd: Path | None = None) -> TableRow:
    """Any recipe in `models/`, by name or file: something to train, or an estimator. Raises UsageError or RecipeError
    (exit 2)."""
    path = resources.find("models", name, cwd)
    data = model_keys(path)
    return _load(path, EstimatorRecipe if "estimator" in data else model_recipe_kind(path, data))


def load_study(name: str, cwd: Path | None = None) -> StudyRecipe:
    """A study, by name or file. Raises UsageError or RecipeError (exit 2)."""
    path = resources.find("models", name, cwd)
    if "arm" not in model_keys(path):
        raise UsageError(f"{path.stem} is not a study: it has no [[arm]].", f"`agebench train {path.stem}` trains it.")
    return _load(path, StudyRecipe)


def load_from_models(name: str, cwd: Path | None = None) -> TableRow | StudyRecipe:
    """Whatever a file in `models/` declares. Raises UsageError or RecipeError (exit 2)."""
    is_study = "arm" in model_keys(resources.find("models", name, cwd))
    return load_study(name, cwd) if is_study else load_table_row(name, cwd)


def load_estimator_recipe(path: Path) -> EstimatorRecipe:
    """The recipe of an estimator, by file. Raises RecipeError (exit 2)."""
    return _load(path, EstimatorRecipe)


def load_network_recipe(name: str, cwd: Path | None = None) -> NetworkRecipe:
    """The recipe of a network, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("models", name, cwd), NetworkRecipe)


def read_curation_recipe(path: Path) -> tuple[CurationRecipe | None, list[Check], list[str]]:
    """(recipe, its checks, mistakes). If there are mistakes, the recipe is None and only the valid checks are given.

    Raises RecipeError if the file is not TOML.
    """
    data = read_toml(path)
    recipe, mistakes = _validated(path, data, CurationRecipe)
    if recipe is not None:
        return recipe, recipe.check, []
    checks = []
    for table in data.get("check", []) if isinstance(data.get("check"), list) else []:
        with suppress(ValidationError):
            checks.append(Check.model_validate(table))
    return None, checks, mistakes


def digest(recipe: Strict) -> str:
    """SHA-256 of a recipe's content, independent of its formatting and of where a release is downloaded from.

    Keys with their default value are left out, so that a version with more keys gives the same recipes the same digest.
    """
    content = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"download", "by_hand"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_model_recipe(
    path: Path, changes: dict[str, Any] | None = None
) -> tuple[ModelRecipe | None, dict[str, Any], list[str]]:
    """(recipe, its keys and values, mistakes); the recipe is None if there are mistakes. Raises RecipeError if the file
    is not TOML, or a change names a key inside something that is not a table."""
    data = _changed(path, model_keys(path), changes)
    recipe, mistakes = _validated(path, data, model_recipe_kind(path, data))
    return recipe, data, mistakes


def _load(path: Path, kind: type[T], changes: dict[str, Any] | None = None) -> T:
    data = model_keys(path) if issubclass(kind, TableRow | StudyRecipe) else read_toml(path)
    recipe, mistakes = _validated(path, _changed(path, data, changes), kind)
    if recipe is None:
        if changes:
            _load(path, kind)  # raises if the file itself has mistakes
            raise wrong_changes(path, mistakes)
        raise mistaken(path, mistakes)
    return recipe


def model_keys(path: Path) -> dict[str, Any]:
    """The keys and values of a file in `models/`, with those that it takes from its `base`.

    A recipe that names another as its `base` takes every key which it does not give itself, but for name, title, label
    and published_row, which are its own. A table that names another network, loss or method takes nothing from that of
    the base. Raises RecipeError if there is no such base, or a recipe is its own base.
    """
    return _based(path, (path.resolve(),))


OWN_KEYS = ("name", "title", "label", "published_row")


def _based(path: Path, taken: tuple[Path, ...]) -> dict[str, Any]:
    data = read_toml(path)
    if "base" not in data:
        return data
    base = data.pop("base")
    beside = path.parent / f"{base}.toml"
    try:
        source = beside if beside.is_file() else resources.find("models", str(base))
    except UsageError as error:
        raise RecipeError(f"{path}: base: {error.message}", error.next_step) from error
    if source.resolve() in taken:
        raise RecipeError(f"{path}: base: '{base}' is built on {path.stem} itself.", "Name another recipe.")
    under = _based(source, (*taken, source.resolve()))
    network = under.get("network")
    if isinstance(network, dict) and isinstance(network.get("weights"), str):
        network["weights"] = weights_path(network["weights"], source.parent)
    for key, value in under.items():
        if key in OWN_KEYS:
            continue
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            same = all(data[key].get(what, value.get(what)) == value.get(what) for what in ("name", "factory", "kind"))
            data[key] = value | data[key] if same else data[key]
        else:
            data.setdefault(key, value)
    return data


def _changed(path: Path, data: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """A file's keys and values with some dotted keys changed. Another network, loss or method takes nothing of the
    settings that the file gives its own."""
    for table, _, default in NAMED_TABLES:
        given, wanted = data.get(table), (changes or {}).get(f"{table}.name")
        if isinstance(given, dict) and wanted is not None and wanted != given.get("name", default):
            data[table] = {}
    for key, value in (changes or {}).items():
        *tables, last = key.split(".")
        place = data
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise RecipeError(f"`--set {key}`: '{table}' is not a table of {path.name}.")
        place[last] = value
    return data


def read_declaration(path: Path) -> str:
    """The text of a card or recipe. Raises RecipeError if it is not a text file of at most 1 MiB."""
    try:
        return read_file(path, DECLARATION).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RecipeError(
            f"{path} cannot be read: {why or error}.", "Fix the file, or `agebench cp` a fresh copy."
        ) from error


def read_toml(path: Path) -> dict[str, Any]:
    """The keys and values of a card or recipe as they are in its file. Raises RecipeError if it is not TOML."""
    try:
        return tomllib.loads(read_declaration(path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{path} is not valid TOML: {error}.", "Fix the file, or `agebench cp` a fresh copy."
        ) from error


def toml_value(value: object) -> str:
    """A string, number, list or table of them as TOML, whose strings are as in JSON, except for DEL; a list of tables
    has a line for each."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(key)} = {toml_value(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return "[" + "".join(f"\n    {toml_value(one)}," for one in value) + "\n]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else toml_value(key)


def _validated(path: Path, data: dict[str, Any], kind: type[T]) -> tuple[T | None, list[str]]:
    mistakes = _unknown_settings(data) if issubclass(kind, ModelRecipe) else []
    try:
        recipe = kind.model_validate(data)
    except ValidationError as error:
        return None, mistakes_of(error, kind, data) + mistakes
    if mistakes:
        return None, mistakes
    if path.stem != getattr(recipe, "name", path.stem):
        return None, [f"name: expected '{path.stem}' like the file, found '{getattr(recipe, 'name', '')}'"]
    return recipe, []


def _unknown_settings(data: dict[str, Any]) -> list[str]:
    """Keys that the network, loss or method of a model recipe does not take, as far as its source code shows."""
    mistakes = []
    for table, kind, default in NAMED_TABLES:
        given = data.get(table)
        if not isinstance(given, dict):
            continue
        settings = registry.setting_names(kind, str(given.get("name", default)))
        if settings is None or given.get("factory"):  # another's function, whose settings are not known here
            continue
        kinds: dict[str, type[Named]] = {"network": Network, "loss": Loss}
        own = kinds.get(table, Named).model_fields
        unknown = [key for key in given if key not in own and key not in settings]
        mistakes += [f"{table}.{key}: unknown key. {nearest(key, settings)}" for key in unknown]
    return mistakes
