"""agebench train"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.evaluate import evaluation_json, render_evaluations
from agebench.cli.render import (
    TRAIN_SECONDS,
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

if TYPE_CHECKING:
    from agebench.workflows.train import TrainForecast, TrainSetting

SMOOTHING = 0.95  # weight of the previous smoothed loss


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench train neighborhood-quick --set train.steps=20")(train)


def train(
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model recipe [neighborhood-34 on an accelerator; on a CPU neighborhood-lite with the "
            "extra backbones, else neighborhood-quick]."
        ),
    ] = None,
    manifest: ManifestName = None,
    plan: Annotated[str | None, typer.Option(help="Balance plan [the newest; each record once without one].")] = None,
    runs: RunsFolder = Path("runs"),
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe: train.steps=500."),
    ] = None,
    without_leaks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET", help="Test set whose pictures, near copies and people must not train, as in fg-net."
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(metavar="SET", help="Test set, by its name in manifests/ or its file [all of other datasets]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, augmentation and validation split.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the newest unfinished run of this recipe.")
    ] = False,
    devices: Annotated[
        int, typer.Option(help="GPUs to train a network on; each computes its share of every batch.")
    ] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the resolved recipe, records, memory and time; write nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a network on curated records, and measure it."""
    asked: dict[str, Any] = {
        "manifest": manifest, "plan": plan, "changes": changed_keys(change), "without_leaks": without_leaks or (),
        "on": on or (), "seed": seed, "devices": devices,
    }  # fmt: skip
    if dry_run and resume:
        raise typer.BadParameter("it cannot be combined with --resume.", param_hint="--dry-run")
    if dry_run:
        from agebench.workflows.train import forecast

        _render_forecast(forecast(model, **asked), json)
        return
    import agebench

    out = console(json)

    def say(setting: TrainSetting) -> None:
        out.print(f"Training {_described(setting)}.")
        if setting.pretrained:
            out.print(plain(f"Of the network's weights, {setting.pretrained}"))

    with (
        progress("cropping", "faces", quiet=json) as crops,
        training_progress(json) as steps,
        progress("predicting", "faces", quiet=json) as predictions,
    ):
        report = agebench.train(
            model, runs=runs, resume=resume, on_setting=say, on_crops=crops, on_step=steps, on_predict=predictions,
            **asked,
        )  # fmt: skip
    out.print(f"Run {report.run.id} is complete after {duration(report.seconds)} of training: {plain(report.run.path)}")
    validation = report.run.card.get("val_mae")
    if validation is not None:
        out.print(
            f"Validation MAE {validation:.2f} years on {report.run.card['validation_records']:,} records held back"
        )
    render_evaluations(report.evaluated, out)
    notes(report.notes, out)
    if json:
        print_json(
            {
                "command": "train", "run": report.run.id, "path": report.run.path, "model": report.setting.recipe.name,
                "steps": report.steps, "train_records": report.train_records, "seconds": report.seconds,
                "evaluated": [evaluation_json(e) for e in report.evaluated], "notes": report.notes,
            }
        )  # fmt: skip


def _described(setting: TrainSetting) -> str:
    from agebench.recipes import NetworkRecipe

    how = f"plan {plain(setting.plan.plan)}" if setting.plan else "each curated record once (no plan)"
    what = f"{setting.recipe.name} ({setting.why}) on {setting.records:,} records of {plain(setting.manifest)}, {how}"
    if not isinstance(setting.recipe, NetworkRecipe):
        return what
    return f"{what}, {setting.recipe.train.steps:,} steps of {setting.recipe.train.batch}"


def _render_forecast(found: TrainForecast, as_json: bool) -> None:
    from rich.table import Table

    from agebench.recipes import NetworkRecipe
    from agebench.training.run_cards import flat

    setting, cost = found.setting, found.cost
    recipe = setting.recipe.model_dump(mode="json")
    out = console(as_json)
    table = Table("key", "value", box=None, pad_edge=False)
    for key, value in flat(recipe):
        table.add_row(key, plain(value))
    out.print(table)
    sets = ", ".join(map(str, found.test_sets)) or "no test set: there is none yet"
    if cost.parameters is None:
        amount, uncounted = f"{found.draws:,} pictures", "cropping and fitting"
    else:
        amount = f"{cost.parameters:,} parameters, {found.draws:,} pictures per epoch"
        uncounted = "cropping and validation"
    memory, where = f"{cost.bytes / 2**30:.1f} GiB of memory", plain(cost.device)
    if cost.devices > 1:
        memory += f" per device ({cost.devices} devices, up to {cost.share} pictures of a batch each)"
        where = where if cost.device == "cpu" else f"{cost.devices} × {where}"
        uncounted = "cropping, validation and the exchange of gradients"
    out.print(
        f"Would train {_described(setting)}: {amount}, about {memory} and {duration(cost.seconds)} on {where}, "
        f"{uncounted} not counted; then measure it on {plain(sets)}. Nothing was written."
    )
    tell_crowded(cost.crowded, out)
    if setting.pretrained:
        out.print(plain(f"Of the network's weights, {setting.pretrained}"))
    if not cost.fits and isinstance(setting.recipe, NetworkRecipe):
        out.print(
            f"{cost.share:,} pictures do not fit into the memory of {plain(cost.device)}: lower the batch with "
            "`--set train.batch=…`, compute it in parts with `--set train.accumulate=…`, or share it with `--devices`. "
            "Memory and time are extrapolated from a smaller batch.",
            style="yellow",
        )
    if as_json:
        print_json(
            {
                "command": "train", "dry_run": True, "model": setting.recipe.name, "manifest": setting.manifest,
                "plan": setting.plan.plan if setting.plan else None, "recipe": recipe, "records": setting.records,
                "draws": found.draws, **dataclasses.asdict(cost), "test_sets": found.test_sets,
            }
        )  # fmt: skip


def changed_keys(given: Sequence[str] | None) -> dict[str, Any]:
    """The dotted keys of `--set KEY=VALUE` with their values."""
    return dict(_change(text) for text in given or [])


def _change(text: str) -> tuple[str, Any]:
    """`train.steps=500` as ("train.steps", 500); a value that is not valid TOML is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise typer.BadParameter(f"--set {text}: expected KEY=VALUE, as in train.steps=500.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


@contextmanager
def training_progress(quiet: bool = False) -> Iterator[Callable[[int, int, float | None, float | None], None]]:
    """A callback (step, steps, loss, validation MAE) that shows them with the time left; the loss is smoothed.

    Without a loss it counts the faces that a classical method reads.
    """
    smoothed: float | None = None

    with (
        progress("training", "steps", quiet=quiet, every=TRAIN_SECONDS) as advance,
        progress("reading", "faces", quiet=quiet, every=TRAIN_SECONDS) as read,
    ):

        def show(step: int, steps: int, loss: float | None, val_mae: float | None) -> None:
            nonlocal smoothed
            if loss is None:
                read(step, steps)
                return
            smoothed = loss if smoothed is None else SMOOTHING * smoothed + (1 - SMOOTHING) * loss
            validated = "" if val_mae is None else f", validation MAE {val_mae:.2f} years"
            advance(step, steps, f"loss {smoothed:.3f}{validated}")
            if step == steps:  # what follows is another training
                smoothed = None

        yield show
