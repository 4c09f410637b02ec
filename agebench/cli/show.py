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
    """Print a card or recipe.

    A recipe that is built on another is printed with what it takes from it.
    """
    from agebench.recipes import read_declaration
    from agebench.workflows.catalogue import find_declaration, resolved

    kind, path = find_declaration(name)
    text = read_declaration(path)
    whole = resolved(kind, path)
    if json:
        print_json({"command": "show", "kind": kind, "name": path.stem, "text": text, "resolved": whole})
        return
    print(text, end="")
    if whole:
        print("\n# With what it takes from its base:")
        for key, value in whole.items():
            print("\n".join(f"# {line}" for line in f"{key} = {value}".splitlines()))
