"""agebench predict"""

from __future__ import annotations

import dataclasses
import json as json_format
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import Json, RunsFolder, console, ending, must_end_in_a_format, plain, print_json

if TYPE_CHECKING:
    from agebench.training.predict import FaceAge

FORMATS = ("csv", "parquet", "json")


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench predict photo.jpg")(predict)


def predict(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.", metavar="PICTURE...")],
    run: Annotated[
        list[str] | None,
        typer.Option(help="Run, by id or folder [the newest complete one]; several predict together."),
    ] = None,
    runs: RunsFolder = Path("runs"),
    detector: Annotated[
        str | None,
        typer.Option(help="Find faces with this detector, not the one used in the run's training."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the ages to: .csv, .parquet or .json.")] = None,
    overlay: Annotated[
        Path | None, typer.Option(help="Folder: write each picture there with the ages drawn on it.")
    ] = None,
    json: Json = False,
) -> None:
    """Estimate the age of every face in some pictures.

    Each age has its 90 % interval. A folder stands for all pictures in it and its subfolders.
    """
    if out is not None:
        must_end_in_a_format(out, None, FORMATS)
    from rich.table import Table

    import agebench
    from agebench.faces.detectors import choose_detector
    from agebench.training.predict import detector_of, members_of

    members = members_of(run or None, runs)
    choice = choose_detector(detector) if detector else detector_of(members[0])
    faces = agebench.predict(pictures, members, detector=choice)
    out_console = console(json)
    table = Table(box=None, pad_edge=False)
    for name in ("picture", "face", "age, years", "90 % interval", "remark"):
        table.add_column(name, justify="right" if name.startswith(("age", "90")) else "left", overflow="fold")
    for f in faces:
        where = f"{f.box[0]:.0f},{f.box[1]:.0f} {f.box[2]:.0f}x{f.box[3]:.0f}" if f.box else "whole picture"
        if f.fault:
            table.add_row(plain(f.picture), "-", "-", "-", f.fault, style="red")
        else:
            interval = f"{f.interval[0]} to {f.interval[1]}" if f.interval else "-"
            table.add_row(plain(f.picture), where, f"{f.age:.1f}", interval, plain(f.note or ""))
    out_console.print(table)
    ids = [member.id for member in members]
    trained = members[0].card.get("provenance", {}).get("detector")
    other = "" if str(choice) == str(trained) else f" (in its training: {trained or 'whole pictures'})"
    by = choice or "no detector: whole pictures, as in training"
    out_console.print(f"by {' and '.join(ids)}, faces by {by}{other}")
    if out is not None:
        from agebench.files import write_whole

        write_whole(out, _written(faces, ending(out)), "Name another file with `--out`.")
        out_console.print(f"{len(faces):,} rows written to {plain(out)}")
    if overlay is not None:
        from agebench.training.overlay import write_overlays

        drawn = write_overlays(faces, overlay)
        out_console.print(f"{len(drawn):,} pictures with ages in {plain(overlay)}")
    if json:
        print_json(
            {
                "command": "predict", "run": ids[0], "runs": ids, "detector": choice and choice.name,
                "training_detector": trained, "out": out, "overlay": overlay,
                "faces": [dataclasses.asdict(f) for f in faces],
            }
        )  # fmt: skip
    if faces and all(f.fault for f in faces):
        raise typer.Exit(1)


def _written(faces: Sequence[FaceAge], kind: str) -> bytes:
    """A row a face: picture, face_no, its box, age, low and high of the 90 % interval, spread, fault, note; and the
    probabilities of the ages 0 to 99, where the format holds lists."""
    if kind == "json":
        return (json_format.dumps([dataclasses.asdict(f) for f in faces], ensure_ascii=False, indent=1) + "\n").encode()
    import io

    import polars as pl

    numbers = dict.fromkeys(("x", "y", "width", "height", "age", "low", "high", "spread"), pl.Float64)
    schema = {"picture": pl.Utf8, "face_no": pl.Int64, **numbers, "fault": pl.Utf8, "note": pl.Utf8}
    rows = [
        (f.picture, f.face_no, *(f.box or [None] * 4), f.age, *(f.interval or [None] * 2), f.spread, f.fault, f.note)
        for f in faces
    ]
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    if kind == "csv":
        return frame.write_csv().encode()
    shares = pl.Series("probabilities", [f.probabilities for f in faces], dtype=pl.List(pl.Float32))
    frame.with_columns(shares).write_parquet(held := io.BytesIO())
    return held.getvalue()
