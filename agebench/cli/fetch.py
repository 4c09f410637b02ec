"""agebench fetch"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal

from agebench.cli.render import Json, Stages, console, duration, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.datasets.fetch.fetching import FetchPlan, FetchReport, Step

MB = 10**6
CHECKED = {"size": "its length", "none": "nothing"}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench fetch imdb-wiki --dry-run")(fetch)


def fetch(
    dataset: Annotated[str, typer.Argument(help="imdb-wiki, fg-net, morph, cacd, utkface, or a card of your own.")],
    root: Annotated[Path | None, typer.Option(help="Folder to put the release in [data/DATASET].")] = None,
    accept_licence: Annotated[
        bool,
        typer.Option("--accept-licence", "--accept-license", help="You have read the licence and keep to it."),
    ] = False,
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as wiki; may be repeated [all].")] = None,
    keep_archives: Annotated[bool, typer.Option("--keep-archives", help="Keep what was downloaded.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show licence, files and sizes; ask nobody.")] = False,
    json: Json = False,
) -> None:
    """Download a public release as its card says, check it and unpack it; goes on where it was stopped."""
    from agebench.datasets.fetch import fetching as workflow
    from agebench.errors import UsageError

    out = console(json)
    plan = workflow.plan_fetch(dataset, root=root, parts=part or ())
    if dry_run or (plan.todo and not accept_licence):
        _show(plan, out)
    if dry_run:
        if json:
            print_json({"command": "fetch", "dry_run": True, **_as_json(plan)})
        return
    if plan.todo and not accept_licence:
        words = ["agebench", "fetch", dataset, *(("--root", str(root)) if root else ())]
        words += [word for name in part or () for word in ("--part", name)]
        raise UsageError(
            f"The licence of {plan.card.title} was not accepted, so nothing was downloaded: {plan.card.licence}.",
            f"`{shlex.join([*words, *(['--keep-archives'] if keep_archives else []), '--accept-licence'])}` accepts it "
            "and downloads the release.",
        )
    with Stages("MB") as show:
        report = workflow.fetch(
            dataset,
            accept_licence=accept_licence,
            root=root,
            parts=part or (),
            keep_archives=keep_archives,
            on_progress=lambda phase, done, total: show(phase, done // MB, total // MB),
        )
    _render(report, out, json)


def _show(plan: FetchPlan, out: Console) -> None:
    card = plan.card
    out.print(f"[bold]{plain(card.title)}[/], from {plain(card.source)}")
    out.print(f"Licence: [bold]{plain(card.licence)}[/]. Please cite:")
    out.print(plain(card.citation.strip()), style="dim")
    for step in plan.steps:
        out.print(f"{plain(step.item.file)}: {_size(step)}, {plain(step.item.url)}; {_state(step)}", soft_wrap=True)
    if not plan.steps:
        out.print(f"It is in {plain(plan.root)} already; no program can download it.")
    elif plan.todo:
        out.print(f"It goes to {plain(plan.root)} and takes up to {decimal(plan.needs)} of disk meanwhile.")
    else:
        out.print(f"It is in {plain(plan.root)} already: nothing to download.")


def _size(step: Step) -> str:
    item = step.item
    return decimal(item.bytes) if item.bytes else f"about {decimal(item.about_bytes)}" if item.about_bytes else "?"


def _state(step: Step) -> str:
    if step.there:
        return "there already"
    hashed = "" if step.item.sha256 or step.item.md5 else ", no hash is published"
    return (f"{decimal(step.kept)} are here" if step.kept else "to download") + hashed


def _as_json(plan: FetchPlan) -> dict[str, object]:
    return {
        "dataset": plan.card.name,
        "root": plan.root,
        "source": plan.card.source,
        "licence": plan.card.licence,
        "citation": plan.card.citation.strip(),
        "downloads": [
            step.item.model_dump(include={"file", "url", "bytes", "about_bytes"})
            | {"part": step.part, "kept": step.kept, "there": step.there}
            for step in plan.steps
        ],
        "there": plan.parts_there,
        "needs": plan.needs,
    }


def _render(report: FetchReport, out: Console, as_json: bool) -> None:
    for file in report.downloads:
        before = f", {decimal(file.resumed)} of it were here" if file.resumed else ""
        out.print(
            f"{plain(file.file)}: {decimal(file.bytes)}{before}; checked by {CHECKED.get(file.verified, file.verified)}"
        )
    if report.unpacked:
        out.print(f"{report.unpacked:,} files unpacked into {plain(report.root)} in {duration(report.seconds)}.")
    else:
        out.print(f"{', '.join(report.there)} is in {plain(report.root)} already: nothing was downloaded.")
    out.print(
        f"{report.records:,} records there. Licence: {plain(report.licence)}. "
        f"Next: agebench curate {plain(report.dataset)}"
    )
    notes(report.notes, out)
    if as_json:
        print_json({"command": "fetch", **report.__dict__, "downloads": [file.__dict__ for file in report.downloads]})
