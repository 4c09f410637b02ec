"""agebench export-model"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from agebench.cli.render import Json, RunsFolder, console, must_be_one_of, plain, print_json

FORMATS = ("onnx", "torchscript")


def register(app: typer.Typer) -> None:
    app.command("export-model", epilog="Example: agebench export-model neighborhood-quick --out age.onnx")(export_model)


def export_model(
    run: Annotated[str | None, typer.Argument(help="Run, by id, folder or model name [the newest].")] = None,
    format: Annotated[str | None, typer.Option(help=f"{' or '.join(FORMATS)} [by --out's ending, else onnx].")] = None,
    out: Annotated[Path | None, typer.Option(help="File ending in .onnx or .pt [the model's name].")] = None,
    runs: RunsFolder = Path("runs"),
    json: Json = False,
) -> None:
    """Write a run's network as ONNX or TorchScript.

    It can be used without agebench: a TOML file beside it says what it takes and gives.
    """
    if format is not None:
        must_be_one_of(format, FORMATS, "format", "--format")
    import agebench
    from agebench.training.predict import newest_run
    from agebench.training.runs import find_run

    found = find_run(run, runs) if run else newest_run(runs)
    made = agebench.export_model(found, out, cast(Literal["onnx", "torchscript"] | None, format))
    console(json).print(
        f"{plain(made.file)} has the network of {plain(found.id)}, {plain(made.recipe)} says what it takes and gives. "
        f"Its ages differ from the run's by at most {made.difference:.1g} years."
    )
    if json:
        print_json(
            {
                "command": "export-model", "run": found.id, "file": made.file, "recipe": made.recipe,
                "format": made.format, "difference": made.difference,
            }
        )  # fmt: skip
