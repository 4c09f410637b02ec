"""agebench study"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import (
    Json,
    ManifestName,
    RunsFolder,
    console,
    duration,
    notes,
    plain,
    print_json,
    progress,
    tell_crowded,
)
from agebench.cli.report import FORMATS, tables_format
from agebench.cli.train import changed_keys, training_progress

if TYPE_CHECKING:
    from agebench.workflows.study import StudyForecast, StudyTraining
    from agebench.workflows.train import TrainSetting


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench study losses-quick --seeds 1 --set train.steps=20")(study)


def study(
    name: Annotated[str, typer.Argument(help="Study: a recipe with [[arm]] tables, as losses-quick.")],
    manifest: ManifestName = None,
    plan: Annotated[str | None, typer.Option(help="Balance plan [the newest; each record once without one].")] = None,
    on: Annotated[
        list[str] | None, typer.Option(metavar="SET", help="Test set, by its name in manifests/ or its file [all].")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Trainings of each arm [as the study says].")] = None,
    runs: RunsFolder = Path("runs"),
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key for all arms: train.steps=500."),
    ] = None,
    format: Annotated[str | None, typer.Option(help=f"{', '.join(FORMATS)} [by --out's ending, else rich].")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write the tables to [standard output].")] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder: write a figure of each test set there.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be trained, and how long it takes; write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train variants of a recipe with several seeds, and compare.

    Complete runs are taken as they are: the same command goes on where an interrupted one stopped.
    """
    kind = tables_format(format, out)
    if json and format is not None and out is None:
        raise typer.BadParameter("--json already writes to standard output: name a file with --out.")
    if dry_run:
        from agebench.workflows.study import forecast_study

        with progress("timing", "arms", quiet=json) as timed:
            forecast = forecast_study(
                name, manifest=manifest, plan=plan, on=on or (), seeds=seeds, changes=changed_keys(change), on_arm=timed
            )
        _render_forecast(forecast, json)
        return
    import agebench
    from agebench.bench.figures import of_study, write_drawings
    from agebench.bench.render import as_rich, render
    from agebench.bench.studies import study_tables
    from agebench.bench.tables import tables_json
    from agebench.files import write_whole

    talk = console(json, stderr=out is None and kind != "rich")

    def say(place: StudyTraining, setting: TrainSetting) -> None:
        if place.number == 1 and setting.pretrained:
            talk.print(plain(f"Of the network's weights, {setting.pretrained}"))
        talk.print(f"Training {place.number} of {place.total}: {plain(place.label)}, seed {place.seed}")

    with (
        progress("cropping", "faces", quiet=json) as crops,
        training_progress(json) as steps,
        progress("predicting", "faces", quiet=json) as predictions,
    ):
        found = agebench.study(
            name, manifest=manifest, plan=plan, on=on or (), seeds=seeds, runs=runs, changes=changed_keys(change),
            on_training=say, on_crops=crops, on_step=steps, on_predict=predictions,
        )  # fmt: skip
    tables = study_tables(found.study.title, found.seeds, found.sets)
    talk.print(f"{sum(map(len, found.runs.values()))} runs, {duration(found.seconds)} of training")
    if figures is not None:
        drawn = write_drawings([of_study(one) for one in found.sets], figures)
        talk.print(f"Figures written: {', '.join(map(plain, drawn))}")
    if out is not None:
        write_whole(out, render(tables, kind).encode(), "Name another file with `--out`.")  # type: ignore[arg-type]
        talk.print(f"Tables written to {plain(out)}")
    elif kind == "rich":
        talk.print(as_rich(tables))
    elif not json:
        print(render(tables, kind), end="")  # type: ignore[arg-type]
    notes(found.notes, talk)
    if json:
        sets = [
            {
                "dataset": one.dataset, "column": one.column, "n": one.n,
                "arms": [dataclasses.asdict(arm) | {"groups": arm.groups.to_dicts()} for arm in one.arms],
            }
            for one in found.sets
        ]  # fmt: skip
        print_json(
            {
                **tables_json(tables), "command": "study", "study": found.study.name,
                "model": found.study.model, "seeds": found.seeds,
                "runs": {label: [run.id for run in each] for label, each in found.runs.items()}, "sets": sets,
                "seconds": found.seconds, "notes": found.notes,
            }
        )  # fmt: skip


def _render_forecast(found: StudyForecast, as_json: bool) -> None:
    from rich.table import Table

    from agebench.recipes import NetworkRecipe

    out = console(as_json)
    table = Table("arm", "records", "steps", "memory", "time", box=None, pad_edge=False)
    for label, arm in found.arms.items():
        cost, recipe = arm.cost, arm.setting.recipe
        steps = f"{recipe.train.steps:,}" if isinstance(recipe, NetworkRecipe) else ""
        table.add_row(
            plain(label), f"{arm.setting.records:,}", steps, f"{cost.bytes / 2**30:.1f} GiB", duration(cost.seconds)
        )
    out.print(table)
    first = next(iter(found.arms.values())).cost
    device = first.device
    classical = any(arm.cost.parameters is None for arm in found.arms.values())
    uncounted = "cropping, validation and the fitting of methods" if classical else "cropping and validation"
    out.print(
        f"Would train each arm {found.seeds} time{'s' if found.seeds > 1 else ''}: about {duration(found.seconds)} on "
        f"{plain(device)} if none is trained yet, {uncounted} not counted; then measure on "
        f"{plain(', '.join(map(str, found.test_sets)))}. Nothing was written."
    )
    tell_crowded(first.crowded, out)  # the others were timed after it
    if tight := [label for label, arm in found.arms.items() if not arm.cost.fits]:
        out.print(
            f"A batch does not fit into the memory of {plain(device)}: {plain(', '.join(tight))}. Memory and time are "
            "extrapolated from a smaller one; `--set train.accumulate=…` computes it in parts.",
            style="yellow",
        )
    if as_json:
        arms = {
            label: {
                "recipe": arm.setting.recipe.model_dump(mode="json"), "records": arm.setting.records,
                "draws": arm.draws, **dataclasses.asdict(arm.cost),
            }
            for label, arm in found.arms.items()
        }  # fmt: skip
        print_json(
            {
                "command": "study", "dry_run": True, "study": found.study.name, "model": found.study.model,
                "seeds": found.seeds, "arms": arms, "test_sets": found.test_sets, "seconds": found.seconds,
            }
        )  # fmt: skip
