"""agebench review list"""

from __future__ import annotations

from typing import Annotated

import typer

from agebench.cli.render import Json, ManifestName, age_range, console, notes, plain, print_json, waiting


def register(app: typer.Typer) -> None:
    app.command("list", epilog="Example: agebench review list --age 20-60 --limit 5")(list_)


def list_(
    manifest: ManifestName = None,
    check: Annotated[str | None, typer.Option(help="Only records that this check sent to review.")] = None,
    age: Annotated[str | None, typer.Option(metavar="A-B", help="Only claimed ages from A to B.")] = None,
    part: Annotated[str | None, typer.Option(help="Only this part of the release.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only this subject, by its number in the release.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List at most this many records.")] = 20,
    by: Annotated[str | None, typer.Option(help="Leave out only what this reviewer has answered.")] = None,
    reviewers: Annotated[
        str | None, typer.Option(help="All reviewers, as A,B: list what is assigned to the one that --by names.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(min=0, max=1, help="Share of records that two of --reviewers answer.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the assignment to --reviewers.")] = 0,
    json: Json = False,
) -> None:
    """List the records that are waiting for an answer. The most valuable answers come first."""
    from agebench.cli.review import reviewer, sharing

    ages = age_range(age) if age is not None else None
    names = sharing(reviewers, overlap)
    who = reviewer(by) if by is not None or names else None
    from agebench.manifest.places import find_manifest
    from agebench.review.deciding import listing

    found = listing(
        find_manifest(manifest, training=False), check=check, ages=ages, part=part, subject=subject, limit=limit,
        by=who, reviewers=names, overlap=overlap, seed=seed,
    )  # fmt: skip
    out = console(json)
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in ("part", "path", "age", "suspicion", "suggested age", "reasons"):
        table.add_column(name, overflow="fold", justify="left" if name in ("part", "path", "reasons") else "right")
    for row in found.rows.iter_rows(named=True):
        table.add_row(
            plain(row["part"]), plain(row["path"]), _shown(row["age"]), _shown(row["label_suspicion"], ".2f"),
            _shown(row["suggested_age"], ".0f"), ", ".join(row["reasons"]),
        )  # fmt: skip
    if len(found.rows):
        out.print(table)
    filtered = any(value is not None for value in (check, ages, part, subject))
    out.print(
        f"{waiting(found.left)} for an answer"
        f"{' under these filters' if filtered else ''}{'' if found.left <= limit else f'; {limit:,} are listed'}."
    )
    notes(found.notes, out)
    if json:
        columns = ("part", "path", "age", "reasons", "label_suspicion", "suggested_age", "subject_id", "worth")
        print_json({"command": "review list", "left": found.left, "records": found.rows.select(columns).to_dicts()})


def _shown(value: float | None, form: str = "") -> str:
    return "-" if value is None else format(value, form)
