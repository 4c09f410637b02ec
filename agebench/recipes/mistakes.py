"""Turns pydantic's errors into sentences about a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from agebench.errors import RecipeError, nearest


def mistaken(path: Path, mistakes: list[str]) -> RecipeError:
    """The error that lists a file's mistakes."""
    return RecipeError(f"{path} has {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes) + "\n")


def wrong_changes(path: Path, mistakes: list[str]) -> RecipeError:
    """The error that lists mistakes in `--set` changes to a valid file."""
    return RecipeError(
        f"`--set` does not fit {path.stem}:\n  " + "\n  ".join(mistakes) + "\n",
        f"`agebench show {path.stem}` prints its keys.",
    )


def mistakes_of(error: ValidationError, kind: type[BaseModel], data: dict[str, Any]) -> list[str]:
    """Validation errors as `key: expected …, found …`, one for each key."""
    found: dict[str, list[str]] = {}
    for item in error.errors():
        found.setdefault(_place(item["loc"], data) or "the whole file", []).append(_wrong(item, kind))
    return [f"{where}: {'; or '.join(wrong)}" for where, wrong in found.items()]


def _wrong(item: Any, kind: type[BaseModel]) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown key. {nearest(str(item['loc'][-1]), _keys(kind, item['loc'][:-1]))}"
    if item["type"] == "missing":
        return "missing"
    if item["type"] == "union_tag_not_found":
        return f"the key `kind` is missing; expected {', '.join(map(repr, _kinds(_tables_at(kind, item['loc']))))}"
    if item["type"] == "union_tag_invalid":
        return f"expected {item['ctx']['expected_tags']} as `kind`, found {item['ctx']['tag']!r}"
    found = item.get("input")
    shown = f", found {found!r}" if not isinstance(found, dict | list) else ""
    return f"{item['msg'].removeprefix('Value error, ')}{shown}"


def _place(loc: tuple[int | str, ...], data: dict[str, Any]) -> str:
    """A key as users see it: entries of a list by name, or by number from 1."""
    words: list[str] = []
    value: Any = data
    for part in loc:
        if isinstance(part, str) and words and _names_a_type(part, value):
            continue
        value = _inside(value, part)
        if isinstance(part, int) and words:
            name = value.get("name") if isinstance(value, dict) else None
            words[-1] += f" '{name}'" if isinstance(name, str) else f" {part + 1}"
        else:
            words.append(str(part))
    return ".".join(words)


def _names_a_type(part: str, value: Any) -> bool:
    """Whether a part of pydantic's place is one of the types that a value may have, not a key."""
    return not isinstance(value, dict) or (part not in value and value.get("kind") == part)


def _inside(value: Any, part: int | str) -> Any:
    try:
        return value[part]
    except (LookupError, TypeError):
        return None


def _keys(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at `place` may have."""
    return list(dict.fromkeys(key for table in _tables_at(kind, place) for key in table.model_fields))


def _kinds(tables: list[type[BaseModel]]) -> list[str]:
    """The values that the key `kind` of some tables may have."""
    return [
        tag
        for table in tables
        if "kind" in table.model_fields
        for tag in get_args(table.model_fields["kind"].annotation)
    ]


def _tables_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The tables that may be at `place`, as pydantic gives it: with the `kind` of a table that may be of several."""
    tables = [kind]
    for part in place:
        fields = [table.model_fields[part] for table in tables if part in table.model_fields]
        if fields:
            tables = [inner for field in fields for inner in _tables_in(field.annotation)]
        else:  # the number of a list's entry, a table's name, or a kind
            tables = [table for table in tables if part in _kinds([table])] or tables
    return tables


def _tables_in(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a type is made of: `list[Check]`, `dict[str, Partition]`, `Loss | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for argument in get_args(annotation) for table in _tables_in(argument)]
