"""agebench export"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agebench.cli.render import (
    Json,
    ManifestName,
    console,
    ending,
    must_be_one_of,
    must_end_in_a_format,
    plain,
    print_json,
)

ROWS = ("verdicts", "curated", "plan", "funnel", "faces")
FORMATS = ("csv", "parquet", "jsonl")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench export --rows verdicts --out verdicts.csv")(export)


def export(
    rows: Annotated[str, typer.Option(help=f"What to export: {', '.join(ROWS)}.")],
    manifest: ManifestName = None,
    plan: Annotated[str | None, typer.Option(help="Which plan, for --rows plan [the newest].")] = None,
    format: Annotated[str | None, typer.Option(help=f"{', '.join(FORMATS)} [by --out's ending, else csv].")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write [standard output].")] = None,
    json: Json = False,
) -> None:
    """Write rows of a manifest as CSV, Parquet or JSON lines."""
    must_be_one_of(rows, ROWS, "rows", "--rows")
    kind = format or (ending(out) if out and ending(out) in FORMATS else "csv")
    must_be_one_of(kind, FORMATS, "format", "--format")
    if out is not None:
        must_end_in_a_format(out, format, FORMATS)
    if json and out is None:
        raise typer.BadParameter("--json needs --out: the rows and the document cannot both go to standard output.")
    from agebench.files import write_whole
    from agebench.manifest.export import exported
    from agebench.manifest.places import find_manifest

    data, count = exported(find_manifest(manifest, training=False), rows, kind, plan)
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        write_whole(out, data, "Name another file with `--out`.")
        console(json).print(f"{count:,} rows of {rows} written to {plain(out)}")
    if json:
        print_json({"command": "export", "rows": rows, "format": kind, "out": out, "count": count})
