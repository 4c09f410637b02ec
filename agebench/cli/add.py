"""agebench add"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import Json, Stages, console, notes, plain, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from agebench.datasets.add import Added

BAR = 40  # characters of the longest bar of the histogram


class Role(StrEnum):
    train = "train"
    test = "test"
    both = "both"


def register(app: typer.Typer) -> None:
    app.command(
        epilog='Example: agebench add my-faces --pattern "{age}_{gender}_{race}_{rest}.jpg" --root data/utkface '
        "--map male=0 --map female=1 --dry-run"
    )(add)


def add(
    name: Annotated[str, typer.Argument(help="Name of the dataset: lower-case letters, digits and dashes.")],
    table: Annotated[Path | None, typer.Option(help="CSV, JSON Lines or Parquet with a row for each picture.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="How pictures are named if there is no table: {age}_{gender}_{rest}.jpg")
    ] = None,
    root: Annotated[
        str | None, typer.Option(metavar="DIR|URL", help="Folder that paths are relative to [the table's folder].")
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="ROLE=COLUMN",
            help="Column of path, age, subject, name, gender, born, taken, split, box or corners (four, with commas), "
            "if it does not have a usual name; male=VALUE and female=VALUE; may be repeated.",
        ),
    ] = None,
    role: Annotated[Role, typer.Option(help="What it is for.")] = Role.train,
    title: Annotated[str | None, typer.Option(help="Title [NAME].")] = None,
    source: Annotated[str | None, typer.Option(help="Where it comes from.")] = None,
    licence: Annotated[str | None, typer.Option("--licence", "--license", help="Its licence, or terms of use.")] = None,
    citation: Annotated[str | None, typer.Option(help="How to cite it, such as BibTeX.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show how the labels are read; write nothing.")] = False,
    json: Json = False,
) -> None:
    """Make a dataset of your own labelled pictures.

    It reads the labels, shows how it understood them, and writes a card.
    """
    mapped: dict[str, list[str]] = {}
    for pair in map_ or ():
        key, equals, names = pair.partition("=")
        if not (key and equals and names):
            raise typer.BadParameter(f"'{pair}' is not ROLE=COLUMN, as in age=years.", param_hint="--map")
        mapped.setdefault(key, []).extend(names.split(","))
    if root is None and table is None:
        raise typer.BadParameter("required without --table: the folder of the pictures.", param_hint="--root")
    with Stages(quiet=json) as stages:
        stages(f"reading {table or root}", 0, 0)  # shown first: the libraries take a second to load
        from agebench.datasets.add import add_dataset

        added = add_dataset(
            name, root if root is not None else str(table.parent) if table else "", table=table, pattern=pattern,
            mapped=mapped, role=role.value, title=title, source=source, licence=licence, citation=citation,
            dry_run=dry_run,
        )  # fmt: skip
    _render(added, console(json))
    if json:
        document = {key: value for key, value in added.__dict__.items() if key != "text"}
        print_json({"command": "add", "dry_run": dry_run, **document})


def _render(added: Added, out: Console) -> None:
    from rich.table import Table

    columns = Table(box=None, pad_edge=False)
    columns.add_column(added.name)
    columns.add_column("is read from", overflow="fold")
    for what, column in added.columns.items():
        columns.add_row(what, plain(column))
    out.print(columns)
    out.print()
    parts = ", ".join(f"{plain(part)} {count:,}" for part, count in added.parts.items())
    out.print(
        f"{added.records:,} records{f' ({parts})' if len(added.parts) > 1 else ''}; pictures: {_counts(added.files)}"
    )
    out.print(
        f"subjects: {f'{added.subjects:,}' if added.subjects else 'not known'}; "
        f"genders: {_counts(added.genders) or 'not known'}"
    )
    if added.ages:
        ages = f"ages {added.ages['min']} to {added.ages['max']}, median {added.ages['median']:g}"
        out.print(f"{ages}; {added.without_age:,} without one, {added.outside:,} outside 0-99")
    most = max((count for _, count in added.decades), default=0)
    for low, count in added.decades:
        if count:
            out.print(f"  {low:>2}-{low + 9:<2} {'█' * max(1, round(BAR * count / most))} {count:,}")
    notes(added.notes, out)
    if added.written:
        out.print(f"Written: {added.card}. Next: agebench curate {added.name}")
    else:
        out.print(f"Would write {added.card}. Nothing was written.")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what.replace('_', ' ')}" for what, count in counts.items())
