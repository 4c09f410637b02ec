"""agebench review export"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agebench.cli.render import Json, ManifestName, console, must_be_one_of, notes, plain, print_json

FORMATS = ("jsonl", "label-studio")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review export --format label-studio --out tasks.json")(export)


def export(
    manifest: ManifestName = None,
    format: Annotated[str, typer.Option(help="jsonl: all answers; label-studio: the queue as tasks.")] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="File to write [standard output].")] = None,
    json: Json = False,
) -> None:
    """Write all answers, or the queue as tasks for Label Studio."""
    must_be_one_of(format, FORMATS, "format", "--format")
    if json and out is None:
        raise typer.BadParameter("--json needs --out: the rows and the document cannot both go to standard output.")
    from agebench.files import write_whole
    from agebench.manifest.places import find_manifest
    from agebench.review.exchange import export_decisions, export_label_studio

    write = export_decisions if format == "jsonl" else export_label_studio
    data, count, told = write(find_manifest(manifest, training=False))
    err = console(stderr=True)
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        write_whole(out, data, "Name another file with `--out`.")
        console(json).print(f"{count:,} {'answers' if format == 'jsonl' else 'tasks'} written to {plain(out)}")
    notes(told, err)
    if json:
        print_json({"command": "review export", "format": format, "out": out, "count": count, "notes": told})
