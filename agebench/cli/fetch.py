"""agebench fetch"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from agebench.cli.render import Json, Stages, console, duration, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.datasets.fetch import FetchPlan, FetchReport, Step

MB = 10**6


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench fetch imdb-wiki --dry-run")(fetch)


def fetch(
    dataset: Annotated[str, typer.Argument(help="imdb-wiki, fg-net, morph, cacd, utkface, or a card of your own.")],
    root: Annotated[Path | None, typer.Option(help="Folder to put the release in [data/DATASET].")] = None,
    accept_licence: Annotated[
        bool,
        typer.Option(
            "--accept-licence", "--accept-license", help="Confirm that you have read the licence and accept it."
        ),
    ] = False,
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as wiki; may be repeated [all].")] = None,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Keep the downloaded archives.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show licence, files and sizes; download nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Download a public release, check it and unpack it.

    An interrupted download continues where it stopped.
    """
    from agebench.datasets import fetch as library

    out, began = console(json), time.monotonic()
    plan = library.plan_fetch(dataset, root=root, parts=part or ())
    if dry_run or (plan.todo and not accept_licence):
        _show(plan, out)
    if dry_run:
        if json:
            print_json({"command": "fetch", "dry_run": True, **_as_json(plan), "needs": plan.needs})
        return
    with Stages("MB", quiet=json) as stages:
        report = library.fetch(
            dataset,
            accept_licence=accept_licence,
            root=root,
            parts=part or (),
            keep_archives=keep_archives,
            on_progress=lambda what, done, total: stages(what, done // MB, (total or done) // MB),
        )
    seconds = time.monotonic() - began
    _render(report, out, seconds)
    if json:
        downloads = [file.__dict__ for file in report.downloads]
        found = {"downloads": downloads, "unpacked": report.unpacked, "records": report.records, "notes": report.notes}
        print_json({"command": "fetch", **_as_json(plan), **found, "seconds": round(seconds, 3)})


def _show(plan: FetchPlan, out: Console) -> None:
    card = plan.card
    out.print(f"[bold]{plain(card.title)}[/], from {plain(card.source)}")
    out.print(f"Licence: [bold]{plain(card.licence)}[/]. Please cite:")
    out.print(plain(card.citation.strip()), style="dim")
    for step in plan.steps:
        out.print(_line(step), soft_wrap=True)
    if plan.todo:
        out.print(f"It goes to {plain(plan.root)} and needs up to {decimal(plan.needs)} of disk space meanwhile.")
    else:
        out.print(f"It is already in {plain(plan.root)}: nothing to download.")


def _line(step: Step) -> str:
    item = step.item
    size = decimal(item.bytes) if item.bytes else f"about {decimal(item.about_bytes)}" if item.about_bytes else "?"
    state = "already there" if step.there else f"{decimal(step.kept)} already here" if step.kept else "to download"
    hashed = "" if item.sha256 or item.md5 or step.there else ", no published hash"
    return plain(f"{item.file}: {size}, {item.url}; {state}{hashed}")


def _as_json(plan: FetchPlan) -> dict[str, object]:
    return {
        "dataset": plan.card.name,
        "root": plan.root,
        **plan.card.model_dump(include={"source", "licence", "citation"}),
        "downloads": [
            {**step.item.model_dump(), "part": step.part, "kept": step.kept, "there": step.there} for step in plan.steps
        ],
        "there": sorted({step.part for step in plan.steps if step.there}),
    }


def _render(report: FetchReport, out: Console, seconds: float) -> None:
    card, root = report.plan.card, report.plan.root
    checks = {"size": "its length", "none": "nothing"}
    for file in report.downloads:
        before = f", {decimal(file.resumed)} of it already here" if file.resumed else ""
        checked = checks.get(file.verified, file.verified)
        out.print(f"{plain(file.file)}: {decimal(file.bytes)}{before}; checked by {checked}")
    if report.unpacked:
        out.print(f"{report.unpacked:,} files unpacked into {plain(root)} in {duration(seconds)}.")
    else:
        out.print(f"{plain(card.title)} is already in {plain(root)}: nothing was downloaded.")
    out.print(
        f"{report.records:,} records there. Licence: {plain(card.licence)}. Next: agebench curate {plain(card.name)}"
    )
    notes(report.notes, out)
