"""agebench ls"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.render import Json, console, must_be_one_of, plain, print_json

if TYPE_CHECKING:
    from rich.table import Table

KINDS = ("manifests", "pipelines", "models", "evidence", "checks", "estimators", "parts")


def register(app: typer.Typer) -> None:
    app.command("ls", epilog="Example: agebench ls evidence")(ls)


def ls(
    kind: Annotated[str | None, typer.Argument(help=f"{', '.join(KINDS)} [all].")] = None, json: Json = False
) -> None:
    """List cards and recipes (what ships, and what is yours), evidence columns, checks, age estimators, and the parts
    that recipes name: losses, networks, detectors, embedders, age models, layouts."""
    if kind is not None:
        must_be_one_of(kind, KINDS, "kind", "KIND")
    from agebench import registry
    from agebench.workflows.catalogue import list_checks, list_declarations, list_estimators, list_evidence

    others: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "evidence": list_evidence,
        "checks": list_checks,
        "estimators": list_estimators,  # looks for weights and hashes them
        "parts": registry.listed,
    }
    found: dict[str, list[dict[str, Any]]] = list_declarations() if kind not in others else {}
    found |= {name: list_rows() for name, list_rows in others.items() if kind in (None, name)}
    found = {name: rows for name, rows in found.items() if kind in (None, name)}
    out = console(json)
    for name, rows in found.items():
        out.print(_table(name, rows))
        out.print()
    if json:
        print_json({"command": "ls", **found})


def _table(kind: str, rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    if kind in ("manifests", "pipelines", "models"):
        table = Table(title=f"{kind}/", title_justify="left", box=None, pad_edge=False, show_header=False)
        for row in rows:
            table.add_row(
                row["name"], plain(row["title"]), "yours" if row["yours"] else "", style=None if row["valid"] else "red"
            )
        return table
    titles = {
        "evidence": "evidence columns",
        "checks": "checks",
        "estimators": "age estimators",
        "parts": "parts, found by name",
    }
    table = Table(title=titles[kind], title_justify="left", box=None, pad_edge=False)
    columns = list(rows[0]) if rows else []
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(", ".join(v) if isinstance(v, list) else v) for v in row.values()))
    return table
