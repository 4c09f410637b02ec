"""agebench status"""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Literal

import typer

from agebench.cli.render import Json, RunsFolder, console, plain, print_json


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench status")(status)


def status(runs: RunsFolder = Path("runs"), json: Json = False) -> None:
    """Show manifests, plans and runs, and what comes next."""
    from rich.table import Table

    from agebench.workflows.status import status as look

    found = look(runs)
    out = console(json)
    if found.manifests:
        table = Table(box=None, pad_edge=False)
        for name in ("manifest", "records", "kept", "review", "rejected", "recipe", "plans", ""):
            justify: Literal["left", "right"] = "right" if name in ("records", "kept", "review", "rejected") else "left"
            table.add_column(name, justify=justify, overflow="fold")
        for m in found.manifests:
            table.add_row(
                plain(m.path), f"{m.records:,}", f"{m.kept:,}", f"{m.review:,}", f"{m.rejected:,}", m.recipe or "-",
                plain(", ".join(m.plans) or "-"), plain("; ".join(m.problems)), style="yellow" if m.problems else None,
            )  # fmt: skip
        out.print(table)
    else:
        out.print("No manifest in manifests/.")
    if found.runs:
        table = Table(box=None, pad_edge=False)
        for name in ("run", "state", "evaluated on"):
            table.add_column(name)
        for r in found.runs:
            table.add_row(plain(r.id), "complete" if r.complete else "unfinished", ", ".join(r.evaluated) or "-")
        out.print(table)
    else:
        out.print(f"No run in {plain(runs)}/.")
    waiting = [n for n, there in found.releases.items() if there and n not in {m.dataset for m in found.manifests}]
    if waiting:
        out.print(f"Releases not curated yet: {', '.join(waiting)}")
    out.print(f"Next: [bold]{plain(found.next_command)}[/] ({plain(found.why)})")
    for m in found.manifests:
        if m.trains and m.review:
            command = plain(f"agebench review serve --manifest {shlex.quote(str(m.path))}")
            out.print(f"Also: [bold]{command}[/] ({m.review:,} records wait for a person)")
    if json:
        print_json({"command": "status", **dataclasses.asdict(found)})
