"""agebench doctor"""

from __future__ import annotations

import dataclasses

import typer

from agebench.cli.render import Json, console, plain, print_json


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench doctor")(doctor)


def doctor(json: Json = False) -> None:
    """Check what is installed and what is missing.

    It tries detectors and devices, and names the command that installs what is missing.
    """
    from rich.table import Table

    from agebench.workflows.doctor import examine

    findings = examine()
    out = console(json)
    table = Table("what", "state", "detail", box=None, pad_edge=False)
    styles = {"ok": "green", "missing": "yellow", "broken": "bold red"}
    for f in findings:
        table.add_row(f.what, f"[{styles[f.state]}]{f.state}[/]", plain(f.detail))
    out.print(table)
    broken = [f.what for f in findings if f.state == "broken"]
    out.print(f"Broken: {', '.join(broken)}" if broken else "Everything that the commands need is installed.")
    if json:
        print_json({"command": "doctor", "findings": [dataclasses.asdict(f) for f in findings], "broken": broken})
    if broken:
        raise typer.Exit(3)
