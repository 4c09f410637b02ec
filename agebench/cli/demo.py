"""agebench demo"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.balance import histogram
from agebench.cli.curate import print_funnel
from agebench.cli.evaluate import evaluation_json, render_evaluations
from agebench.cli.render import Json, Stages, console, duration, plain, print_json
from agebench.cli.train import training_progress

if TYPE_CHECKING:
    from rich.console import Console

    from agebench.workflows.demo import DemoReport


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench demo --small")(demo)


def demo(
    small: Annotated[bool, typer.Option("--small", help="A tenth of the pictures: about a minute.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for everything that the demo makes [agebench-demo, agebench-demo-small]."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawn faces, the plan and the training.")] = 0,
    json: Json = False,
) -> None:
    """Run the whole main job on drawn faces.

    It curates, balances, trains and reports on a synthetic release.
    """
    from agebench.workflows import demo as workflow

    console_ = console(json)
    out = out or Path("agebench-demo-small" if small else "agebench-demo")
    began = time.monotonic()
    with Stages("pictures", quiet=json) as stages, training_progress(json) as steps:
        report = workflow.demo(
            out,
            workflow.SMALL if small else workflow.FULL,
            seed=seed,
            on_stage=lambda text: console_.print(f"[bold]{plain(text)}[/]"),
            on_progress=stages,
            on_step=steps,
        )
    _render(report, console_)
    console_.print(f"\n[bold yellow]{workflow.SAYING}[/]")
    console_.print(
        f"Everything is in {plain(out)}/ ({duration(time.monotonic() - began)}); run `agebench status` there to go on."
    )
    if json:
        print_json(
            {
                "command": "demo", "folder": out, "kept": report.curated.kept, "review": report.curated.review,
                "rejected": report.curated.rejected, "faults": report.caught.to_dicts(), "run": report.trained.run.id,
                "evaluated": [evaluation_json(e) for e in report.trained.evaluated], "drawn": True,
            }
        )  # fmt: skip


def _render(report: DemoReport, out: Console) -> None:
    from rich.table import Table

    from agebench.bench.render import as_rich

    out.print()
    print_funnel(report.curated, out)
    table = Table(
        title="Injected faults and the verdicts on their records", title_justify="left", box=None, pad_edge=False
    )
    for name in ("fault", "records", "rejected", "to review", "kept"):
        table.add_column(name, justify="left" if name == "fault" else "right")
    for row in report.caught.iter_rows(named=True):
        table.add_row(row["fault"], *(f"{row[key]:,}" for key in ("records", "reject", "review", "keep")))
    out.print()
    out.print(table)
    out.print()
    classes = report.balanced.classes
    out.print(histogram(classes["curated"].to_list(), classes["copies"].to_list(), out.width))
    out.print()
    render_evaluations(report.trained.evaluated, out)
    out.print()
    out.print(as_rich(report.tables.tables))
