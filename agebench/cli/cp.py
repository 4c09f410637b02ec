"""agebench cp"""

from __future__ import annotations

from typing import Annotated

import typer

from agebench.cli.render import Json, console, print_json


def register(app: typer.Typer) -> None:
    app.command("cp", epilog="Example: agebench cp imdb-wiki-paper my-rules")(cp)


def cp(
    name: Annotated[str, typer.Argument(help="Name as in `agebench ls`; pipelines/NAME if a card has the same name.")],
    new_name: Annotated[str | None, typer.Argument(help="Name of the copy [the same].")] = None,
    json: Json = False,
) -> None:
    """Copy a card or recipe for editing.

    The copy in the working directory takes precedence over the shipped one.
    """
    from agebench.workflows.catalogue import copy_declaration

    path = copy_declaration(name, new_name)
    console(json).print(f"Copied to {path}")
    if json:
        print_json({"command": "cp", "path": path})
