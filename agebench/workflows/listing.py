"""Cards and recipes as people see them: listed, found by name, copied to be edited."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from agebench import resources
from agebench.errors import RecipeError, UsageError, nearest
from agebench.recipes import load_card, load_curation_recipe, load_model_recipe
from agebench.resources import KINDS, Kind

LOADERS = {"manifests": load_card, "pipelines": load_curation_recipe, "models": load_model_recipe}


def list_declarations() -> dict[str, list[dict[str, Any]]]:
    """Kind → rows of name, title, yours (in the working directory), valid."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS:
        found[kind] = []
        for name, path in sorted(resources.available(kind).items()):
            yours = not path.is_relative_to(resources.shipped_folder(kind))
            try:
                title, valid = str(getattr(LOADERS[kind](name), "title", "")), True
            except RecipeError as error:
                title, valid = error.message.splitlines()[0], False
            found[kind].append({"name": name, "title": title, "yours": yours, "valid": valid})
    return found


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


def copy_declaration(name: str, new_name: str | None = None) -> Path:
    """Copy a card or recipe into the working directory under a name. Raises UsageError where that file exists."""
    kind, source = find_declaration(name)
    name = source.stem
    new = new_name or name
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", new):
        raise UsageError(f"'{new}' is no name; expected lower-case letters, digits and dashes.")
    target = Path(kind) / f"{new}.toml"
    if target.exists():
        raise UsageError(f"{target} exists already.", "Give the copy another name.")
    text = source.read_text(encoding="utf-8")
    if new != name:
        text = re.sub(r'^name = ".*"$', f'name = "{new}"', text, count=1, flags=re.MULTILINE)
    target.parent.mkdir(exist_ok=True)
    target.write_text(text, encoding="utf-8")
    return target
