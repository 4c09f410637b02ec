"""agebench show"""

from __future__ import annotations

from typing import Annotated

import typer

from agebench.cli.render import Json, print_json


def register(app: typer.Typer) -> None:
    app.command("show", epilog="Example: agebench show imdb-wiki-paper")(show)


def show(
    name: Annotated[str, typer.Argument(help="Name as in `agebench ls`; pipelines/NAME if a card has the same name.")],
    json: Json = False,
) -> None:
    """Print a card or recipe."""
    from agebench.recipes import read_declaration
    from agebench.workflows.catalogue import find_declaration

    kind, path = find_declaration(name)
    text = read_declaration(path)
    if json:
        print_json({"command": "show", "kind": kind, "name": path.stem, "text": text})
    else:
        print(text, end="")
