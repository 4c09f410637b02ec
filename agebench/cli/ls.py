"""agebench ls"""

from __future__ import annotations

import typer

from agebench.cli.render import Json, console, plain, print_json


def register(app: typer.Typer) -> None:
    app.command("ls", epilog="Example: agebench ls")(ls)


def ls(json: Json = False) -> None:
    """List cards and recipes: what ships, and what lies in the working directory."""
    from rich.table import Table

    from agebench.workflows.listing import list_declarations

    found = list_declarations()
    out = console(json)
    for kind, rows in found.items():
        table = Table(title=f"{kind}/", title_justify="left", box=None, pad_edge=False, show_header=False)
        for row in rows:
            table.add_row(
                row["name"], plain(row["title"]), "yours" if row["yours"] else "", style=None if row["valid"] else "red"
            )
        out.print(table)
        out.print()
    if json:
        print_json({"command": "ls", **found})
