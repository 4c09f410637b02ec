"""From a recipe's words to SQL that can be trusted: one scalar expression, known columns, allowed functions only.

A recipe may come from a stranger, so what is not known to be harmless is refused: the expression is parsed by DuckDB
and every node of its tree must be of a known kind.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import duckdb

from agebench.errors import RecipeError, nearest
from agebench.manifest.evidence import COLUMNS, NOT_NUMBERS, Observer
from agebench.manifest.verdicts import CompiledCheck
from agebench.recipes import Check, CurationRecipe

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
TYPES = {
    "TINYINT",
    "SMALLINT",
    "INTEGER",
    "BIGINT",
    "HUGEINT",
    "UBIGINT",
    "FLOAT",
    "DOUBLE",
    "BOOLEAN",
    "VARCHAR",
    "DATE",
}


def compile_recipe(recipe: CurationRecipe, place: str, observed: set[Observer]) -> list[CompiledCheck]:
    """Validate every check and turn it into SQL. place: the recipe's file, for messages.

    `observed` are the observers that have run; a check that needs another is compiled as not running.
    Raises RecipeError that lists all mistakes.
    """
    compiled, mistakes = [], []
    for check in recipe.check:
        try:
            compiled.append(_compile(check, observed))
        except RecipeError as error:
            mistakes.append(f"check '{check.name}': {error.message}")
    if mistakes:
        raise RecipeError(f"{place} has {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes) + "\n")
    return compiled


def _compile(check: Check, observed: set[Observer]) -> CompiledCheck:
    columns = expression_columns(check.predicate, check.verdict)
    value = check.value or next((c for c in columns if c not in NOT_NUMBERS), "NULL")
    expression_columns(value, "value")
    observers = frozenset(COLUMNS[c].observer for c in columns)
    return CompiledCheck(
        name=check.name,
        verdict=check.verdict,
        predicate=check.predicate,
        reason_sql=reason_sql(check.reason),
        value_sql=f"({value})",
        observers=observers,
        runs=observers <= observed,
    )


def expression_columns(expression: str, key: str) -> list[str]:
    """The columns that an expression reads, in order of appearance. Raises RecipeError where it is not allowed."""
    try:
        duckdb.SQLExpression(expression)
        tree = json.loads(
            _parser().execute("SELECT json_serialize_sql(?)", [f"SELECT ({expression}\n)"]).fetchall()[0][0]
        )
    except duckdb.Error as error:
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression: {str(error).splitlines()[0]}") from error
    if tree.get("error"):
        raise RecipeError(f"{key} = {expression!r} does not parse: {tree.get('error_message')}")
    statements = tree["statements"]
    if len(statements) != 1 or len(statements[0]["node"].get("select_list", [])) != 1:
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression.")
    node = statements[0]["node"]
    if node.get("where_clause") or node.get("from_table", {}).get("type") != "EMPTY":
        raise RecipeError(f"{key} = {expression!r} is not one SQL expression.")
    columns: list[str] = []
    for inner in _nodes(node["select_list"][0]):
        _allow(inner, expression, key, columns)
    return columns


@cache
def _parser() -> duckdb.DuckDBPyConnection:
    """A connection of our own that only parses, and can reach nothing."""
    return duckdb.connect(config={"enable_external_access": "false", "lock_configuration": "true"})


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for child in tree.values():
            yield from _nodes(child)
    elif isinstance(tree, list):
        for child in tree:
            yield from _nodes(child)


def _allow(node: Mapping[str, Any], expression: str, key: str, columns: list[str]) -> None:
    """Refuse a node that is not known to be harmless; collect the column that it names."""
    kind = node["class"]
    where = f"{key} = {expression!r}"
    if kind not in NODES:
        raise RecipeError(f"{where}: {kind.lower().replace('_', ' ')} is not allowed in a check.")
    if kind == "OPERATOR" and node["type"] not in OPERATORS:
        raise RecipeError(f"{where}: {node['type'].lower()} is not allowed in a check.")
    if kind == "CAST" and str(node["cast_type"].get("id", "")) not in TYPES:
        raise RecipeError(f"{where}: a cast to {node['cast_type'].get('id')} is not allowed in a check.")
    if kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        if name not in FUNCTIONS or node.get("schema") or node.get("catalog"):
            raise RecipeError(f"{where}: the function {name}() is not allowed in a check. {nearest(name, FUNCTIONS)}")
    if kind == "COLUMN_REF":
        names = node["column_names"]
        if len(names) != 1 or names[0] not in COLUMNS:
            raise RecipeError(f"{where}: no column '{'.'.join(names)}'. {nearest('.'.join(names), COLUMNS)}")
        if names[0] not in columns:
            columns.append(names[0])


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
    digits, kind = spec[1:-1], spec[-1:]
    if spec == "" and conversion is None:
        return f"CAST({name} AS VARCHAR)"
    if spec == ",":
        return f"format('{{:,}}', CAST({name} AS BIGINT))"
    if spec[0] == "." and digits.isdigit() and kind in {"f", "%"}:
        number = f"CAST({name} AS DOUBLE)" if kind == "f" else f"100 * CAST({name} AS DOUBLE)"
        return f"format('{{:.{int(digits)}f}}{'%' if kind == '%' else ''}', {number})"
    raise RecipeError(f"reason = {template!r}: the format ':{spec}' is not known; use .1f, .0% or a comma.")
