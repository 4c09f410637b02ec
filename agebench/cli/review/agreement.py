"""agebench review agreement"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import typer

from agebench.cli.render import Json, ManifestName, console, notes, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

MOST_SHOWN = 20


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review agreement")(agreement)


def agreement(
    manifest: ManifestName = None,
    json: Json = False,
) -> None:
    """Report how far reviewers agree. The records on which they do not are listed."""
    from agebench.manifest.places import find_manifest
    from agebench.review.exchange import agree

    found, told = agree(find_manifest(manifest, training=False))
    out = console(json)
    who = ", ".join(f"{plain(name)} {n:,}" for name, n in found.reviewers.items())
    out.print(f"Records with an answer, by reviewer: {who}." if who else "Nobody has answered yet.")
    if found.several:
        value = "undefined, because all answers are the same" if found.value is None else f"{found.value:.3f}"
        out.print(
            f"Records with several answers: {found.several:,}, in agreement: {found.agreed:,}; "
            f"{found.measure}: {value}."
        )
        if found.settled:
            out.print(f"Disagreements that were settled: {found.settled:,}.")
    elif who:
        out.print("No record has answers from several reviewers.")
    disagreements_table(found.disagreements, out)
    notes(told, out)
    if json:
        print_json({"command": "review agreement", **dataclasses.asdict(found)})


def disagreements_table(rows: list[dict[str, Any]], out: Console) -> None:
    """Print the records on which reviewers disagree, and who says what."""
    if not rows:
        return
    from rich.table import Table

    table = Table(title=f"{len(rows):,} to settle", title_justify="left", box=None, pad_edge=False)
    for name in ("part", "path", "claimed age", "answers"):
        table.add_column(name, overflow="fold")
    for row in rows[:MOST_SHOWN]:
        said = "; ".join(
            f"{d['by']}: {d['answer']}{'' if d['box'] is None else ' ' + _box(d['box'])}" for d in row["answers"]
        )
        age = "-" if row["age"] is None else str(row["age"])
        table.add_row(plain(row["part"]), plain(row["path"]), age, plain(said))
    out.print(table)
    if len(rows) > MOST_SHOWN:
        out.print(f"… and {len(rows) - MOST_SHOWN:,} more: --json lists all.")
    out.print("`agebench review decide PART PATH … --settle` settles one of them against the other answers.")


def _box(box: list[float]) -> str:
    return "(face at {:.0f},{:.0f} {:.0f}x{:.0f})".format(*box)
