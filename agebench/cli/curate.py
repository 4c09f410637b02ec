"""agebench curate"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench import registry
from agebench.cli.render import Json, Stages, console, duration, how_to_review, must_be_one_of, notes, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from agebench.curation.compare import Comparison
    from agebench.workflows.curate import CurateForecast, CurateReport

MOST_SHOWN = 20  # records of a comparison in the terminal
NO_ESTIMATOR = (
    "No age estimator looked for wrong labels, so most of them are kept. `pip install 'agebench\\[age]'` brings a "
    "model; `--estimator cross-fit` trains models on the release itself."
)
ENGINES = {"local": "local worker processes", "ray": "Ray"}


def detectors() -> list[str]:
    """What `--detector` takes."""
    return ["auto", *registry.names("detectors"), "none"]


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench curate fg-net --root data/fg-net")(curate)


def curate(
    dataset: Annotated[str, typer.Argument(help="imdb-wiki, fg-net, morph, cacd, utkface, or a card of your own.")],
    root: Annotated[
        str | None, typer.Option(metavar="DIR|URL", help="Folder of the release, or its URL [data/DATASET].")
    ] = None,
    manifest: Annotated[Path | None, typer.Option(help="File to build [manifests/DATASET.duckdb].")] = None,
    recipe: Annotated[str | None, typer.Option(help="Curation recipe, by name or file [the card's].")] = None,
    compare: Annotated[
        str | None, typer.Option(help="Show how another recipe, by name or file, would judge the same records.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help=f"{', '.join(detectors())} [the one used before, else auto].", show_default=False)
    ] = None,
    detector_model: Annotated[
        str | None, typer.Option(help="insightface detector: an ONNX file, or a pack's folder or name.")
    ] = None,
    estimator: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Age estimators that check the claimed ages: ready, {', '.join(registry.names('estimators'))}, "
            "cross-fit, a run or its folder, or none [the recipe's]; may be repeated."
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="Where pictures are observed: local processes, or ray (at RAY_ADDRESS, else on this machine)."
        ),
    ] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes [one a core].")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and how long it would take.")
    ] = False,
    json: Json = False,
) -> None:
    """Give every record of a release a verdict with a reason.

    The manifest keeps the verdicts and the evidence behind them.
    """
    if detector is not None:
        must_be_one_of(detector, detectors(), "detector")
    if estimator and "none" in estimator and set(estimator) != {"none"}:
        raise typer.BadParameter("'none' cannot be combined with an estimator.", param_hint="--estimator")
    must_be_one_of(engine, list(ENGINES), "engine")
    if compare and dry_run:
        raise typer.BadParameter("it compares verdicts, and --dry-run gives none.", param_hint="--compare")
    settings = {
        "root": root,
        "manifest": manifest,
        "recipe": recipe,
        "detector": detector,
        "detector_model": Path(detector_model) if detector_model else None,
        "estimators": [name for name in estimator if name != "none"] if estimator else None,
        "engine": engine,
        "ray_address": os.environ.get("RAY_ADDRESS") or None,
        "workers": workers,
    }
    with Stages(quiet=json) as stages:
        stages(f"reading {dataset}", 0, 0)  # shown first: the libraries take a second to load
        import agebench
        from agebench.curation.compare import compare as compare_recipes
        from agebench.curation.compare import other_recipe
        from agebench.recipes import load_card
        from agebench.workflows.curate import forecast

        if compare:
            other_recipe(compare, load_card(dataset).name)  # fails before hours of work, not after them
        if dry_run:
            planned = forecast(dataset, on_stage=stages, **settings)  # type: ignore[arg-type]
        else:
            report = agebench.curate(
                dataset,
                on_progress=lambda p: stages("observing", p.done, p.total),
                on_stage=stages,
                **settings,  # type: ignore[arg-type]
            )
            compared = compare_recipes(report.manifest, compare) if compare else None
    if dry_run:
        _render_forecast(planned, json)
    else:
        _render(report, compared, json)


def _render_forecast(forecast: CurateForecast, as_json: bool) -> None:
    out = console(as_json)
    time = f", about {duration(forecast.seconds)}" if forecast.seconds is not None else ""
    out.print(
        f"Would look at {forecast.pending:,} of {forecast.records:,} records with "
        f"{forecast.detector or 'no detector'} on {ENGINES[forecast.engine]}{time}, judge all with {forecast.recipe}, "
        f"and write {plain(forecast.manifest)}. Nothing was written."
    )
    notes(forecast.notes, out)
    if as_json:
        print_json({"command": "curate", "dry_run": True, **forecast.__dict__})


def print_funnel(report: CurateReport, out: Console) -> None:
    """The funnel; its last line says so if no age estimator looked for wrong labels."""
    out.print(funnel_table(report))
    if report.trains and not report.estimators:
        out.print(NO_ESTIMATOR, style="yellow")


def funnel_table(report: CurateReport) -> Table:
    """The funnel: how many records each check takes, in order; checks that took none are left out."""
    from rich.table import Table

    table = Table(title=f"{report.dataset} by {report.recipe}", title_justify="left", box=None, pad_edge=False)
    for name, justify in (("step", "left"), ("verdict", "left"), ("records", "right"), ("share", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for step, verdict, records, status in report.funnel.select("step", "verdict", "records", "status").iter_rows():
        if status == "not run":
            table.add_row(step, verdict, "not run", "", style="yellow")
        elif records or verdict in (None, "keep"):
            share = f"{records / max(report.records, 1):.1%}"
            style = {"reject": "red", "review": "yellow", "keep": "bold green", None: "bold"}[verdict]
            table.add_row(step, verdict or "", f"{records:,}", share, style=style)
    return table


def _render(report: CurateReport, compared: Comparison | None, as_json: bool) -> None:
    out = console(as_json)
    print_funnel(report, out)
    estimated = f"ages estimated by {plain(', '.join(report.estimators))}; " if report.estimators else ""
    out.print(
        f"{report.kept:,} kept, {report.review:,} to review, {report.rejected:,} rejected "
        f"({report.unreadable:,} files unreadable); {report.observed:,} observed with "
        f"{report.detector or 'no detector'}, {report.reused:,} already known; {estimated}{report.seconds:.1f} s; "
        f"{plain(report.manifest)}"
    )
    notes(report.notes, out)
    if report.review:
        out.print(plain(how_to_review(report.manifest)))
    if compared:
        _render_comparison(compared, out)
    if as_json:
        keys = (
            "dataset", "manifest", "recipe", "detector", "estimators", "records", "observed", "reused", "unreadable",
            "kept", "review", "rejected", "reasons", "not_run", "seconds", "notes",
        )  # fmt: skip
        document = {
            "command": "curate",
            **{key: getattr(report, key) for key in keys},
            "funnel": report.funnel.to_dicts(),
        }
        if compared:
            document["compare"] = {
                "recipe": compared.other, "not_run": compared.not_run, "matrix": compared.matrix.to_dicts(),
                "by_age": compared.by_age.to_dicts(), "records": compared.changed.to_dicts(),
            }  # fmt: skip
        print_json(document)


def _render_comparison(found: Comparison, out: Console) -> None:
    from rich.table import Table

    table = Table(title=f"{found.recipe} compared with {found.other}", title_justify="left", box=None, pad_edge=False)
    table.add_column(f"by {found.recipe}")
    for name in ("keep", "review", "reject"):
        table.add_column(f"{name} by {found.other}", justify="right")
    for verdict, *counts in found.matrix.iter_rows():
        table.add_row(verdict, *(f"{n:,}" for n in counts))
    out.print()
    out.print(table)
    ages = Table(title="kept, by claimed age", title_justify="left", box=None, pad_edge=False)
    for name in ("ages", "records", found.recipe, found.other, "difference"):
        ages.add_column(name, justify="left" if name == "ages" else "right")
    for low in range(0, 100, 10):
        rows = found.by_age.filter(found.by_age["age"].is_between(low, low + 9))
        records, kept, other = (int(rows[name].sum()) for name in ("records", "kept", "other_kept"))
        if records:
            ages.add_row(f"{low}-{low + 9}", f"{records:,}", f"{kept:,}", f"{other:,}", f"{other - kept:+,}")
    out.print()
    out.print(ages)
    if found.not_run:
        out.print(
            f"[yellow]not run[/] for {found.other}, so without effect here: {', '.join(found.not_run)}. "
            f"`--recipe {found.other} --compare {found.recipe}` observes what they need."
        )
    changed = Table(
        title=f"{len(found.changed):,} records with another verdict by {found.other}", title_justify="left", box=None,
        pad_edge=False,
    )  # fmt: skip
    for name in ("record", "age", found.recipe, found.other):
        changed.add_column(name, overflow="fold")  # whole paths, for `agebench explain`
    for row in found.changed.head(MOST_SHOWN).iter_rows(named=True):
        changed.add_row(
            plain(f"{row['part']} {row['path']}"), str(row["age"]),
            f"{row['verdict']} {row['reasons']}", f"{row['other_verdict']} {row['other_reasons']}",
        )  # fmt: skip
    out.print()
    out.print(changed)
    if len(found.changed) > MOST_SHOWN:
        out.print(f"… and {len(found.changed) - MOST_SHOWN:,} more: --json lists all.")
