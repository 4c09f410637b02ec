"""agebench predict"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from agebench.cli.render import Json, RunsFolder, console, plain, print_json


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench predict photo.jpg")(predict)


def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.", metavar="PICTURE...")],
    run: Annotated[str | None, typer.Option(help="Run, by id or folder [the newest complete one].")] = None,
    runs: RunsFolder = Path("runs"),
    detector: Annotated[
        str | None,
        typer.Option(help="Find faces with this detector, not the one used in the run's training."),
    ] = None,
    json: Json = False,
) -> None:
    """Estimate the age of every face in some pictures.

    A folder stands for all pictures in it and its subfolders.
    """
    from rich.table import Table

    import agebench
    from agebench.faces.detectors import choose_detector
    from agebench.training.predict import detector_of, newest_run
    from agebench.training.runs import find_run

    found = find_run(run, runs) if run else newest_run(runs)
    choice = choose_detector(detector) if detector else detector_of(found)
    faces = agebench.predict(pictures, found, detector=choice)
    out = console(json)
    table = Table(box=None, pad_edge=False)
    for name in ("picture", "face", "age, years", "spread, years", "remark"):
        table.add_column(name, justify="right" if name.endswith("years") else "left", overflow="fold")
    for f in faces:
        where = f"{f.box[0]:.0f},{f.box[1]:.0f} {f.box[2]:.0f}x{f.box[3]:.0f}" if f.box else "whole picture"
        if f.fault:
            table.add_row(plain(f.picture), "-", "-", "-", f.fault, style="red")
        else:
            spread = "-" if f.spread is None else f"{f.spread:.1f}"
            table.add_row(plain(f.picture), where, f"{f.age:.1f}", spread, plain(f.note or ""))
    out.print(table)
    trained = found.card.get("provenance", {}).get("detector")
    other = "" if str(choice) == str(trained) else f" (in its training: {trained or 'whole pictures'})"
    out.print(f"by {found.id}, faces by {choice or 'no detector: whole pictures, as in training'}{other}")
    if json:
        print_json(
            {
                "command": "predict", "run": found.id, "detector": choice and choice.name, "training_detector": trained,
                "faces": [dataclasses.asdict(f) for f in faces],
            }
        )  # fmt: skip
    if faces and all(f.fault for f in faces):
        raise typer.Exit(1)
