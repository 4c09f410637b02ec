"""Cards and recipes for users: listed, found by name, copied for editing."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from agebench import registry, resources
from agebench.curation.checks import expression_columns
from agebench.errors import Missing, RecipeError, UsageError, nearest
from agebench.faces.estimators import choose_estimator
from agebench.manifest.evidence import COLUMNS, NOT_NUMBERS
from agebench.recipes import (
    NAME,
    Check,
    load_card,
    load_curation_recipe,
    load_from_models,
    model_keys,
    read_declaration,
    read_toml,
    toml_value,
)
from agebench.resources import KINDS, Kind
from agebench.training.run_cards import RUNS, flat
from agebench.training.runs import list_runs

LOADERS = {"manifests": load_card, "pipelines": load_curation_recipe, "models": load_from_models}


def list_declarations() -> dict[str, list[dict[str, Any]]]:
    """Kind → rows of name, title, yours (in the working directory and not as shipped), valid."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        found[kind] = []
        for name, path in sorted(resources.available(kind).items()):
            yours = resources.is_yours(kind, name, path)
            try:
                title, valid = str(getattr(LOADERS[kind](name), "title", "")), True
            except RecipeError as error:
                title, valid = error.message.splitlines()[0], False
            found[kind].append({"name": name, "title": title, "yours": yours, "valid": valid})
    return found


def list_evidence() -> list[dict[str, Any]]:
    """Every column that a check can read: name, SQL type, unit, observer, meaning."""
    return [
        {
            "name": name,
            "type": column.type,
            "unit": column.unit,
            "observer": column.observer,
            "meaning": column.meaning,
        }
        for name, column in COLUMNS.items()
    ]


def list_checks() -> list[dict[str, Any]]:
    """Every check of the valid curation recipes: name, verdict, predicate, unit (of its number), recipes."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for recipe in sorted(resources.available("pipelines")):
        try:
            checks = load_curation_recipe(recipe).check
        except RecipeError:
            continue
        for check in checks:
            key = (check.name, check.verdict, check.predicate)
            if key not in found:
                found[key] = {
                    "name": check.name, "verdict": check.verdict, "predicate": check.predicate, "unit": _unit(check),
                    "recipes": [],
                }  # fmt: skip
            found[key]["recipes"].append(recipe)
    return list(found.values())


def _unit(check: Check) -> str:
    try:
        columns = expression_columns(check.value or check.predicate, check.name)
    except RecipeError:
        return ""
    return next((COLUMNS[c].unit for c in columns if c not in NOT_NUMBERS and COLUMNS[c].unit), "")


def list_estimators() -> list[dict[str, Any]]:
    """Every available age estimator: name (as `--estimator` takes it), unit, state, licence, what it is."""
    rows = []
    for kind in registry.names("estimators"):
        what = ""
        try:
            what = (inspect.getdoc(registry.find("estimators", kind)) or "").split("\n\n")[0].replace("\n", " ")
            choice = choose_estimator(kind)
            state, licence = f"ready ({choice.name})", choice.licence
        except Missing as error:
            state, licence = error.message, ""
        rows.append({"name": kind, "unit": "years", "state": state, "licence": licence, "what": what})
    cross_fit = "models trained on the release itself, each estimating the records held out from it"
    rows.append({"name": "cross-fit", "unit": "years", "state": "ready", "licence": "", "what": cross_fit})
    for run in list_runs(RUNS):
        if run.complete:
            what = f"the run of {run.card.get('model')}"
            rows.append({"name": run.id, "unit": "years", "state": "ready", "licence": "", "what": what})
    return rows


def find_declaration(name: str) -> tuple[Kind, Path]:
    """The kind and file of a name, or of `pipelines/name` where a card has the same name; cards come before curation
    recipes before model recipes. Raises UsageError."""
    names: set[str] = set()
    if name in resources.NOT_RECIPES:
        return "models", resources.declaration("models", name)
    folder, _, rest = name.rpartition("/")
    if folder in KINDS:
        name = rest.removesuffix(".toml")
    for kind in KINDS:
        if folder in KINDS and folder != kind:
            continue
        found = resources.available(kind)
        if name in found:
            return kind, found[name]
        names |= set(found)
    raise UsageError(f"No card or recipe is named '{name}'. {nearest(name, names)}", "`agebench ls` lists them all.")


def resolved(kind: Kind, path: Path) -> dict[str, str] | None:
    """Dotted keys and TOML values of a model recipe or study that is built on another, with what it takes from it; None
    of any other file. Raises RecipeError."""
    if kind != "models" or path.stem in resources.NOT_RECIPES or "base" not in read_toml(path):
        return None
    return {key: toml_value(value) for key, value in flat(model_keys(path))}


def copy_declaration(name: str, new_name: str | None = None) -> Path:
    """Copy a card or recipe into the working directory under a name. Raises UsageError where that file exists."""
    kind, source = find_declaration(name)
    name = source.stem
    new = new_name or name
    if not re.fullmatch(NAME, new):
        raise UsageError(f"'{new}' is not a valid name; expected lower-case letters, digits and dashes.")
    target = Path(kind) / f"{new}.toml"
    if target.exists():
        raise UsageError(f"{target} already exists.", "Give the copy another name.")
    text = read_declaration(source)
    if new != name:
        text = re.sub(r'^name = ".*"$', f'name = "{new}"', text, count=1, flags=re.MULTILINE)
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target
