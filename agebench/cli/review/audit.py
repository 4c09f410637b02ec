"""agebench review audit"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import Json, ManifestName, console, notes, plain, print_json

if TYPE_CHECKING:
    from agebench.review.audit import Audit

MOST_SHOWN = 20


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench review audit --n 20 --seed 1")(audit)


def audit(
    n: Annotated[
        int | None, typer.Option("--n", help="Kept records to draw [those of the latest audit, else 200].")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw [the latest audit's, else 0].")] = None,
    by: Annotated[
        str | None, typer.Option(help="Who reads [the user's name]; second readings start with others' records.")
    ] = None,
    manifest: ManifestName = None,
    json: Json = False,
) -> None:
    """Estimate how many kept labels are still wrong. The first call draws kept records; people then read them blind.

    The page of `agebench review serve` shows the records blind, under Audit. On a terminal, a reading takes two steps:
    `agebench review decide PART PATH --audit --looks N` says how old the face looks and shows the claimed age; then
    --audit with --keep (it is right), --wrong or --age N judges it. A path may tell the claimed age, as in IMDB-WIKI,
    whose file names hold dates: only the page hides it. About half of the records are read twice, because
    readers make mistakes too; --reading 2 is your own second reading of a record.
    """
    from agebench.cli.review import reviewer

    who = reviewer(by)
    from agebench.manifest.places import find_manifest
    from agebench.review.audit import audit as audited

    found = audited(find_manifest(manifest, training=False), n=n, seed=seed, by=who)
    _render(found, json)


def _render(found: Audit, as_json: bool) -> None:
    from rich.table import Table

    out = console(as_json)
    if found.to_read:
        table = Table(title="to be read", title_justify="left", box=None, pad_edge=False)
        for name in ("part", "path", "reading", "next"):
            table.add_column(name, overflow="fold")
        for row in found.to_read[:MOST_SHOWN]:
            step = "--looks" if row["looks"] is None else f"judge the claimed age {row['age']}"
            table.add_row(plain(row["part"]), plain(row["path"]), str(row["reading"]), step)
        out.print(table)
        rest = len(found.to_read) - MOST_SHOWN
        if rest > 0:
            out.print(f"… and {rest:,} more: --json lists all.")
        out.print("`agebench review serve` shows them blind, under Audit.")
    e = found.estimate
    out.print(
        f"{e.read:,} of {e.n:,} records were read, with {e.readings:,} readings; {e.called_wrong:,} call the age wrong."
    )
    if e.wrong is not None and e.interval is not None:
        low, high = e.interval
        out.print(
            f"Labels still wrong among the {found.sample.kept:,} kept: [bold]{e.wrong:.1%}[/], 95 % interval "
            f"{low:.1%} to {high:.1%} (reviewers' error rate: {e.mistakes:.1%}). `{plain(found.curate)}` stores it "
            "in the manifest."
        )
    notes(found.notes, out)
    if as_json:
        print_json(
            {
                "command": "review audit", **dataclasses.asdict(e), "kept": found.sample.kept, "current": found.current,
                "strata": found.sample.strata, "sample": found.file, "to_read": found.to_read, "notes": found.notes,
            }
        )  # fmt: skip
