"""Compiles a recipe's checks into safe SQL: one scalar expression, known columns, allowed functions only.

A recipe may come from an untrusted source, so everything that is not known to be harmless is refused: DuckDB parses the
expression, and every node of its tree must be of a known kind.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

from agebench import resources
from agebench.curation.compiled import CompiledCheck, dry_run, sandbox
from agebench.errors import RecipeError, nearest
from agebench.manifest.evidence import COLUMNS, NOT_NUMBERS, Observer
from agebench.recipes import Check, CurationRecipe, mistaken, read_curation_recipe

NODES = {"CONJUNCTION", "COMPARISON", "COLUMN_REF", "CONSTANT", "OPERATOR", "CASE", "BETWEEN", "CAST", "FUNCTION"}
OPERATORS = {
    "OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "COMPARE_IN", "COMPARE_NOT_IN", "OPERATOR_COALESCE",
    "OPERATOR_NULLIF", "OPERATOR_CAST", "OPERATOR_TRY",
}  # fmt: skip
FUNCTIONS = {
    "+", "-", "*", "/", "//", "%", "abs", "ceil", "floor", "round", "sqrt", "ln", "log", "exp", "pow", "power",
    "greatest", "least", "isfinite", "isinf", "isnan", "sign", "lower", "upper", "length", "contains", "starts_with",
    "ends_with", "prefix", "suffix", "~~", "!~~", "~~*", "!~~*", "like_escape", "year", "month", "day", "bit_count",
    "xor", "coalesce", "ifnull", "nullif",
}  # fmt: skip
WORDS = {name for name in FUNCTIONS if name.isidentifier()}
TYPES = {
    "TINYINT", "SMALLINT", "INTEGER", "INT", "BIGINT", "HUGEINT", "UBIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "BOOL",
    "VARCHAR", "TEXT", "STRING", "DATE",
}  # fmt: skip
NUMBER_FORMAT = re.compile(r"\.([0-9])([f%])")


def load_recipe(name: str) -> tuple[CurationRecipe, Path]:
    """A curation recipe by name or file, with every check tried on empty evidence.

    Raises UsageError, and RecipeError that lists all mistakes: of its keys and of its SQL.
    """
    path = resources.find("pipelines", name)
    recipe, checks, mistakes = read_curation_recipe(path)
    mistakes += _compile(tuple(checks))[1]
    if recipe is None or mistakes:
        raise mistaken(path, mistakes)
    return recipe, path


def must_judge(recipe: CurationRecipe, file: Path, dataset: str) -> None:
    """Raises RecipeError if a recipe is for another dataset."""
    if recipe.dataset not in (dataset, "any"):
        raise RecipeError(
            f"{file} is a recipe for '{recipe.dataset}', not for '{dataset}'.",
            f'Copy it (`agebench cp {file.stem} NAME`), set dataset = "{dataset}" in it, and use `--recipe NAME`.',
        )


def compile_recipe(recipe: CurationRecipe, place: str, observed: set[Observer]) -> list[CompiledCheck]:
    """Validate every check and compile it to SQL. place: the recipe's file, for messages.

    observed: the observers that have run; a check that needs another one is compiled as not running.
    Raises RecipeError that lists all mistakes.
    """
    compiled, mistakes = _compile(tuple(recipe.check))
    if mistakes:
        raise mistaken(Path(place), list(mistakes))
    return [replace(check, runs=check.observers <= observed) for check in compiled]


@lru_cache(20)  # a curation compiles its recipe twice
def _compile(checks: tuple[Check, ...]) -> tuple[tuple[CompiledCheck, ...], tuple[str, ...]]:
    """The checks that can run, and every mistake in the others: in their predicate, value and reason, and where these
    are right, in their types."""
    found = [(check, *_validated(check)) for check in checks]
    errors = iter(dry_run([made for _, made, _ in found if made]))
    compiled = []
    mistakes: list[str] = []
    for check, made, wrong in found:
        if made and (error := next(errors)):
            wrong = (f"{check.verdict} = {check.predicate!r}: {error}",)
        elif made:
            compiled.append(made)
        mistakes += [f"check '{check.name}': {mistake}" for mistake in wrong]
    return tuple(compiled), tuple(mistakes)


@lru_cache(1000)
def _validated(check: Check) -> tuple[CompiledCheck | None, tuple[str, ...]]:
    """The check as one that can run, or every mistake in its predicate, its value and its reason."""
    mistakes: list[str] = []
    columns: list[str] = []
    reason = ""
    try:
        columns = expression_columns(check.predicate, check.verdict)
    except RecipeError as error:
        mistakes.append(error.message)
    value = check.value or next((c for c in columns if c not in NOT_NUMBERS), "NULL")
    try:
        expression_columns(value, "value")
    except RecipeError as error:
        mistakes.append(error.message)
    try:
        reason = reason_sql(check.reason)
    except RecipeError as error:
        mistakes.append(error.message)
    if mistakes:
        return None, tuple(mistakes)
    compiled = CompiledCheck(
        name=check.name,
        verdict=check.verdict,
        predicate=check.predicate,
        reason_sql=reason,
        value_sql=value,
        observers=frozenset(COLUMNS[c].observer for c in columns),
        runs=True,
    )
    return compiled, ()


def expression_columns(expression: str, key: str) -> list[str]:
    """The columns that an expression reads, in order of appearance. Raises RecipeError if it is not allowed."""
    try:
        duckdb.SQLExpression(expression)
        tree = json.loads(
            sandbox().execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchall()[0][0]
        )
    except duckdb.Error as error:
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression: {str(error).splitlines()[0]}") from error
    if tree.get("error"):
        raise RecipeError(f"{key} = {expression!r} cannot be parsed: {tree.get('error_message')}")
    statements = tree["statements"]
    if len(statements) != 1 or len(statements[0]["node"].get("select_list", [])) != 1:
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression.")
    node = statements[0]["node"]
    if node.get("where_clause") or node.get("from_table", {}).get("type") != "EMPTY":
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression.")
    columns: list[str] = []
    refused = [_refusal(inner, columns) for inner in _nodes(node["select_list"][0])]
    mistakes = list(dict.fromkeys(text for text in refused if text))
    if mistakes:
        raise RecipeError(f"{key} = {expression!r}: {' '.join(mistakes)}")
    return columns


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


def _refusal(node: Mapping[str, Any], columns: list[str]) -> str | None:
    """Why a node is refused, or None if it is known to be harmless; collects the column that it names."""
    kind = node["class"]
    if kind == "TYPE":  # judged with its cast
        return None
    if kind not in NODES:
        return f"{kind.lower().replace('_', ' ')} is not allowed in a check."
    if kind == "OPERATOR" and node["type"] not in OPERATORS:
        return f"{node['type'].lower()} is not allowed in a check."
    if kind == "CAST" and _cast_type(node) not in TYPES:
        return f"a cast to {_cast_type(node)} is not allowed in a check."
    if kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        plain = not (node.get("schema") or node.get("catalog") or node.get("distinct") or node.get("filter"))
        if name not in FUNCTIONS or not plain or (node.get("order_bys") or {}).get("orders"):
            allowed = ", ".join(sorted(WORDS))
            return f"the function {name}() is not allowed in a check; allowed are {allowed}."
    if kind == "COLUMN_REF":
        name = ".".join(node["column_names"])
        if len(node["column_names"]) != 1 or name not in COLUMNS:
            return f"no column '{name}'. {nearest(name.rpartition('.')[2], COLUMNS)}"
        if name not in columns:
            columns.append(name)
    return None


def _cast_type(node: Mapping[str, Any]) -> str:
    """The type of a cast as given by DuckDB's parser: resolved before 2.0, as written since then."""
    if "cast_type" in node:
        return str(node["cast_type"].get("id", ""))
    written = node["type_expr"]
    plain = not (written.get("children") or written.get("schema") or written.get("catalog"))
    name = str(written.get("type_name", "")).upper()
    return name if plain else f"{name} of another kind"


def reason_sql(template: str) -> str:
    """A reason with `{column}`, `{column:.1f}`, `{column:.0%}` or `{column:,}` as an SQL expression.

    Raises RecipeError for an unknown column or format.
    """
    pieces = []
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise RecipeError(f"reason = {template!r}: {error}") from error
    for text, name, spec, conversion in parsed:
        if text:
            pieces.append("'" + text.replace("'", "''") + "'")
        if name is None:
            continue
        if name not in COLUMNS:
            raise RecipeError(f"reason = {template!r}: no column '{name}'. {nearest(name, COLUMNS)}")
        pieces.append(f"coalesce({_formatted(name, spec or '', conversion, template)}, 'unknown')")
    return " || ".join(pieces) or "''"


def _formatted(name: str, spec: str, conversion: str | None, template: str) -> str:
    if conversion is None and spec == "":
        return f"CAST({name} AS VARCHAR)"
    if conversion is not None or (spec != "," and not NUMBER_FORMAT.fullmatch(spec)):
        raise RecipeError(f"reason = {template!r}: the format of '{name}' is unknown; use {{x}}, .1f, .0% or a comma.")
    if name in NOT_NUMBERS:
        raise RecipeError(f"reason = {template!r}: '{name}' is not a number, so it has no format.")
    if spec == ",":
        return f"format('{{:,}}', try_cast({name} AS BIGINT))"
    percent = spec[2] == "%"
    number = f"{'100 * ' if percent else ''}CAST({name} AS DOUBLE)"
    return f"format('{{:.{spec[1]}f}}{'%' if percent else ''}', {number})"
