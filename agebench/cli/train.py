"""agebench train"""

from __future__ import annotations

import sys
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agebench.cli.evaluate import evaluation_json, render_evaluations
from agebench.cli.render import Json, ManifestName, RunsFolder, console, duration, notes, plain, print_json, progress

if TYPE_CHECKING:
    from agebench.workflows.train import TrainSetting


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench train neighborhood-quick --set train.steps=20")(train)


def train(
    model: Annotated[
        str | None,
        typer.Argument(help="Model recipe [neighborhood-34 on an accelerator, neighborhood-quick on a CPU]."),
    ] = None,
    manifest: ManifestName = None,
    plan: Annotated[str | None, typer.Option(help="Balance plan [the newest; each record once without one].")] = None,
    runs: RunsFolder = Path("runs"),
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the recipe: train.steps=500."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights, order, augmentation and validation split.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest unfinished run of this recipe.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a network on the curated, balanced records, and measure it on every test manifest that is here."""
    changes = dict(_change(text) for text in change or [])
    import agebench

    out = console(json)

    def say(setting: TrainSetting) -> None:
        how = f"plan {plain(setting.plan.plan)}" if setting.plan else "each curated record once (no plan)"
        out.print(
            f"Training {setting.recipe.name} ({setting.why}) on {setting.records:,} records of "
            f"{plain(setting.manifest)}, {how}, {setting.recipe.train.steps:,} steps of {setting.recipe.train.batch}."
        )

    with (
        progress("cropping", "faces") as crops,
        StepProgress() as steps,
        progress("predicting", "faces") as predictions,
    ):
        report = agebench.train(
            model, manifest=manifest, plan=plan, runs=runs, changes=changes, seed=seed, resume=resume,
            on_setting=say, on_crops=crops, on_step=steps, on_predict=predictions,
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


def _change(text: str) -> tuple[str, Any]:
    """`train.steps=500` as ("train.steps", 500); what is no TOML value is a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise typer.BadParameter(f"--set {text}: expected KEY=VALUE, as in train.steps=500.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


class StepProgress:
    """Steps with loss and time left: a bar on a terminal, a line every 15 s elsewhere."""

    def __enter__(self) -> StepProgress:
        self.began: float | None = None
        self.first = 0
        self.last = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        if sys.stderr.isatty() and self.began is not None:
            print(file=sys.stderr)

    def __call__(self, step: int, steps: int, loss: float, rate: float) -> None:
        now = time.monotonic()
        if self.began is None:
            self.began, self.first, self.last = now, step, now
            return
        terminal = sys.stderr.isatty()
        if now - self.last < (0.5 if terminal else 15.0) and step < steps:
            return
        self.last = now
        speed = (step - self.first) / max(now - self.began, 1e-6)
        left = duration((steps - step) / max(speed, 1e-6))
        line = f"training: step {step:,} of {steps:,}, loss {loss:.3f}, {speed:.1f} steps/s, {left} left"
        print(f"\r{line:<100}" if terminal else line, end="" if terminal else "\n", file=sys.stderr, flush=True)
