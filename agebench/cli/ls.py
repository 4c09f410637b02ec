"""agebench ls"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.render import Json, console, must_be_one_of, plain, print_json

if TYPE_CHECKING:
    from rich.table import Table

DECLARATIONS = ("manifests", "pipelines", "models")
TITLES = {  # kind → its title, and what `ls KIND` lists
    "evidence": ("evidence columns", "what a check can read, with types and units"),
    "checks": ("checks", "the rules of all curation recipes"),
    "estimators": ("age estimators", "what `--estimator` takes, and which are ready"),
    "parts": ("parts", "losses, networks, detectors, embedders, age models and layouts by name"),
}
KINDS = (*DECLARATIONS, *TITLES)


def register(app: typer.Typer) -> None:
    app.command("ls", epilog="Example: agebench ls evidence")(ls)


def ls(
    kind: Annotated[str | None, typer.Argument(help=f"{', '.join(KINDS)} [a short list of all].")] = None,
    json: Json = False,
) -> None:
    """List cards, recipes, and what recipes can name.

    `ls` lists names; `ls KIND` adds types, units, predicates, licences and descriptions.
    """
    if kind is not None:
        must_be_one_of(kind, KINDS, "kind", "KIND")
    from agebench import registry
    from agebench.workflows.catalogue import list_checks, list_declarations, list_estimators, list_evidence

    others: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "evidence": list_evidence,
        "checks": list_checks,
        "parts": registry.listed,
    }
    if kind == "estimators" or json:
        others["estimators"] = list_estimators  # looks for weights and hashes them
    found: dict[str, list[dict[str, Any]]] = list_declarations() if kind not in others else {}
    found |= {name: list_rows() for name, list_rows in others.items() if kind in (None, name)}
    found = {name: rows for name, rows in found.items() if kind in (None, name)}
    out = console(json)
    for name, rows in found.items():
        if name in DECLARATIONS:
            out.print(_declarations(name, rows, out.width))
            out.print()
        elif kind is not None:
            out.print(_table(name, rows))
    if kind is None:
        for name, (title, more) in TITLES.items():
            count = f"{len(found[name])} " if name in found else ""
            out.print(f"{count}{title}: [bold]agebench ls {name}[/] lists {more}.")
    if json:
        print_json({"command": "ls", **found})


def _declarations(kind: str, rows: list[dict[str, Any]], width: int) -> Table:
    """One line per card or recipe: the title is cut to the width that the name leaves."""
    from rich.table import Table

    table = Table(title=f"{kind}/", title_justify="left", box=None, pad_edge=False)
    longest = max((len(row["name"]) for row in rows), default=0)
    table.add_column("name", no_wrap=True)
    table.add_column("title", no_wrap=True, overflow="ellipsis", max_width=width - longest - len("    yours"))
    table.add_column("yours", no_wrap=True)
    for row in rows:
        style = None if row["valid"] else "red"
        table.add_row(row["name"], plain(row["title"]), "yes" if row["yours"] else "", style=style)
    return table


def _table(kind: str, rows: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(title=TITLES[kind][0], title_justify="left", box=None, pad_edge=False)
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(plain(", ".join(v) if isinstance(v, list) else v) for v in row.values()))
    return table
