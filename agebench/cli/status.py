"""agebench status"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from agebench.cli.render import Json, RunsFolder, console, duration, how_to_review, plain, print_json, waiting

if TYPE_CHECKING:
    from agebench.training.run_cards import TrainingProgress

AT_WORK = {
    "cropping": "cropping faces of {manifest} to train {model}",
    "training": "training {model} on {manifest}",
    "measuring": "measuring {model} on the test sets",
}


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
        for name in ("manifest", "records", "kept", "review", "rejected", "recipe"):
            justify: Literal["left", "right"] = "left" if name in ("manifest", "recipe") else "right"
            table.add_column(name, justify=justify, overflow="fold")
        for m in found.manifests:
            table.add_row(
                plain(m.path.stem), f"{m.records:,}", f"{m.kept:,}", f"{m.review:,}", f"{m.rejected:,}",
                plain(m.recipe or "-"), style="yellow" if m.problems else None,
            )  # fmt: skip
        out.print(table)
        for m in found.manifests:
            if m.plans:
                out.print(f"{plain(m.path)}: balance plan {plain(', '.join(m.plans))}")
            for problem in m.problems:
                out.print(f"{plain(m.path)}: {plain(problem)}", style="yellow")
    else:
        out.print("No manifest in manifests/.")
    if found.runs or found.estimators:
        table = Table(box=None, pad_edge=False)
        for name in ("run", "state", "evaluated on"):
            table.add_column(name, overflow="fold")
        for r in found.runs:
            state = "complete" if r.complete else "training" if r.training else "unfinished"
            table.add_row(plain(r.id), state, plain(", ".join(r.evaluated) or "-"))
        for r in found.estimators:
            table.add_row(
                plain(r.id), "estimator" if r.complete else "unfinished", plain(", ".join(r.evaluated) or "-")
            )
        out.print(table)
        for r in found.runs:
            if r.training:
                out.print(f"{plain(r.id)}: {_underway(r.training)}", style="green")
    else:
        out.print(f"No run in {plain(runs)}/.")
    shown = {r.training.process for r in found.runs if r.training}
    for t in found.trainings:
        if t.process not in shown:
            what = AT_WORK[t.stage].format(model=plain(t.model), manifest=plain(t.manifest))
            out.print(f"process {t.process} is {what}", style="green")
    uncurated = [n for n, there in found.releases.items() if there and n not in {m.dataset for m in found.manifests}]
    if uncurated:
        out.print(f"Releases not curated yet: {', '.join(uncurated)}")
    out.print(f"Next: [bold]{plain(found.next_command)}[/]", soft_wrap=True)  # unbroken, so that it can be copied
    out.print(f"({plain(found.why)})")
    for m in found.manifests:
        if m.trains and m.review:
            out.print(f"{waiting(m.review)} for a person: {plain(how_to_review(m.path))}")
    if json:
        print_json({"command": "status", **dataclasses.asdict(found)})


def _underway(training: TrainingProgress) -> str:
    facts = [f"process {training.process} is at step {training.step:,} of {training.steps:,}"]
    if training.val_mae is not None:
        facts.append(f"validation MAE {training.val_mae:.2f} years")
    if training.seconds_left is not None:
        facts.append(f"about {duration(training.seconds_left)} left")
    return ", ".join(facts)
