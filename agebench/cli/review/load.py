"""agebench review import"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from agebench.cli.render import Json, ManifestName, console, must_be_one_of, notes, plain, print_json
from agebench.cli.review.agreement import disagreements_table

FORMATS = ("auto", "jsonl", "label-studio")


def register(app: typer.Typer) -> None:
    app.command("import", epilog="Example: agebench review import answers.jsonl")(import_)


def import_(
    file: Annotated[
        Path, typer.Argument(help="Another person's decisions (JSON lines), or an export from Label Studio (JSON).")
    ],
    manifest: ManifestName = None,
    format: Annotated[str, typer.Option(help=f"{', '.join(FORMATS)}.")] = "auto",
    json: Json = False,
) -> None:
    """Import other people's answers. Answers that are known already change nothing; disagreements are listed."""
    must_be_one_of(format, FORMATS, "format", "--format")
    from agebench.manifest.places import find_manifest
    from agebench.review.exchange import import_answers

    found = import_answers(find_manifest(manifest, training=False), file, format)
    out = console(json)
    out.print(
        f"{found.added:,} of {found.read:,} answers are new in {plain(found.file)}. "
        f"`{plain(found.curate)}` applies them."
    )
    disagreements_table(found.disagreements, out)
    notes(found.notes, out)
    if json:
        print_json(
            {"command": "review import", "file": found.file, "read": found.read, "added": found.added,
             "disagreements": found.disagreements, "notes": found.notes}
        )  # fmt: skip
