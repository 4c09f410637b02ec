"""Extensions, found by name: a module in the folder of its kind, or an entry point of another package.

A module has the name that recipes and the command line use, with `_` for `-`. Another package declares an entry point
in its `pyproject.toml`: `focal = "my_package:focal_loss"` under `[project.entry-points."agebench.losses"]`. If names
are equal, agebench's own takes precedence. Listing names imports nothing.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import sys
import typing
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from agebench.errors import Missing, UsageError, described, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel


class Kind(NamedTuple):
    """A kind of extension. package: agebench's own; attribute: the object in each module (None: the module itself).

    what: the kind in words, for messages.
    """

    package: str
    attribute: str | None
    what: str


KINDS = {
    "layouts": Kind("agebench.datasets.layouts", "read", "layout"),
    "detectors": Kind("agebench.faces.detectors", None, "face detector"),
    "embedders": Kind("agebench.faces.embedders", None, "face embedder"),
    "estimators": Kind("agebench.faces.estimators", None, "age model"),
    "losses": Kind("agebench.training.losses", "loss", "loss"),
    "networks": Kind("agebench.training.networks", "network", "network"),
    "features": Kind("agebench.training.features", "feature", "feature of faces"),
    "methods": Kind("agebench.training.methods", "method", "classical method"),
}


def names(kind: str) -> list[str]:
    """All names of a kind, agebench's own and those of other packages, sorted; nothing is imported."""
    return sorted(_ours(kind) | _entry_points()[kind].keys())


def find(kind: str, name: str) -> Any:
    """The object of that name, from its module or entry point.

    Raises UsageError with the nearest names if there is none, Missing if another package's cannot be loaded.
    """
    place = KINDS[kind]
    if name in _ours(kind):
        module = importlib.import_module(f"{place.package}.{name.replace('-', '_')}")
        return getattr(module, place.attribute) if place.attribute else module
    point = _entry_points()[kind].get(name)
    if point is None:
        raise UsageError(f"There is no {place.what} '{name}'. {nearest(name, names(kind))}")
    try:
        return point.load()
    except Exception as error:  # another package's module may raise anything
        raise Missing(
            f"The {place.what} '{name}' of {_package(point)} cannot be loaded: {type(error).__name__}: {error}.",
            "Fix or upgrade that package.",
        ) from error


def function_at(place: str) -> Callable[..., Any]:
    """The function `package.module:function`, looked for in the working directory too.

    Raises Missing if there is none, or if its module cannot be imported.
    """
    module, _, attribute = place.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # somebody else's module may raise anything
        raise Missing(
            f"{place} cannot be imported: {described(error)}.",
            "Expected `package.module:function` without .py, installed or in this folder.",
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            others = [other for other in dir(found) if not other.startswith("_")]
            raise Missing(f"There is no '{part}' in {module}. {nearest(part, others)}")
        found = getattr(found, part)
    if not callable(found):
        raise Missing(f"{place} is {type(found).__name__}, not a function.")
    function: Callable[..., Any] = found
    return function


def first_available(kind: str, home: Path | None = None) -> str | None:
    """The name that `auto` chooses: among those with a `RANK`, the lowest whose `available(home)` is true."""
    ranked = [(thing.RANK, name, thing) for name in names(kind) if hasattr(thing := find(kind, name), "RANK")]
    return next((name for _, name, thing in sorted(ranked, key=lambda one: one[:2]) if thing.available(home)), None)


def settings_of(thing: Callable[..., Any]) -> type[BaseModel]:
    """The settings that a function or class takes as keyword-only parameters, as a model that refuses unknown keys."""
    from pydantic import ConfigDict, create_model  # takes a tenth of a second, and listing names does not need it

    hints = typing.get_type_hints(thing.__init__ if inspect.isclass(thing) else thing, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints.get(name, Any), ... if one.default is one.empty else one.default)
        for name, one in inspect.signature(thing).parameters.items()
        if one.kind is one.KEYWORD_ONLY
    }
    return create_model("Settings", __config__=ConfigDict(extra="forbid", frozen=True), **fields)


def setting_names(kind: str, name: str) -> list[str] | None:
    """The names that `settings_of` gives, read from the source of agebench's own modules without importing them, as
    losses and networks load torch. None if it is from another package or is neither a plain function nor a
    dataclass."""
    if name not in _ours(kind):
        return None
    file = _folder(kind) / f"{name.replace('-', '_')}.py"
    found: dict[str, list[str]] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = [argument.arg for argument in node.args.kwonlyargs]
        elif isinstance(node, ast.ClassDef):
            fields = (part.target for part in node.body if isinstance(part, ast.AnnAssign))
            found[node.name] = [field.id for field in fields if isinstance(field, ast.Name)]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in found:
            found |= {target.id: found[node.value.id] for target in node.targets if isinstance(target, ast.Name)}
    return found.get(KINDS[kind].attribute or "")


def listed() -> list[dict[str, str]]:
    """Every name of every kind: kind, name, package (the one that brings it)."""
    return [
        {
            "kind": kind,
            "name": name,
            "package": "agebench" if name in _ours(kind) else _package(_entry_points()[kind][name]),
        }
        for kind in KINDS
        for name in names(kind)
    ]


@cache
def _ours(kind: str) -> frozenset[str]:
    return frozenset(module.name.replace("_", "-") for module in pkgutil.iter_modules([str(_folder(kind))]))


def _folder(kind: str) -> Path:
    """The folder of agebench's own modules, without importing their package, which may load torch."""
    return Path(__file__).parent.joinpath(*KINDS[kind].package.split(".")[1:])


@cache
def _entry_points() -> dict[str, dict[str, importlib.metadata.EntryPoint]]:
    """Kind → name → what another package brings. One reading of all packages' metadata, which takes 30 ms."""
    every = importlib.metadata.entry_points()
    return {
        kind: {point.name: point for point in every.select(group=f"agebench.{kind}") if point.name not in _ours(kind)}
        for kind in KINDS
    }


def _package(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else point.value.partition(".")[0]
