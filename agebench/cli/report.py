"""agebench report"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agebench.cli.render import (
    Json,
    RunsFolder,
    console,
    ending,
    must_be_one_of,
    must_end_in_a_format,
    notes,
    plain,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from rich.console import Console

    from agebench.bench.tables import Table

FORMATS = ("rich", "markdown", "latex", "html", "csv", "json")
# What an option that shows or writes something else than the tables can be combined with, and what options need.
ALONE = {
    "--on": {"--protocol", "--without-leaks"},
    "--table": {"--without-leaks", "--format", "--out"},
    "--bundle": {"--tables", "--verify", "--without-leaks"},
    "--explain": {"--tables"},
}
NEEDS = {"--protocol": "--on", "--faces": "--html"}
ENDINGS = {"md": "markdown", "tex": "latex", "html": "html", "htm": "html", "csv": "csv", "json": "json"}


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: agebench report --tables 2,3 --format markdown")(report)


def report(
    tables: Annotated[str | None, typer.Option(help="Numbers of the paper's tables, as in 2,3 [all].")] = None,
    runs: RunsFolder = Path("runs"),
    format: Annotated[str | None, typer.Option(help=f"{', '.join(FORMATS)} [by --out's ending, else rich].")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write [standard output].")] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute every measured number from the stored predictions.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(metavar="CELL", help="Show where numbers come from: COLUMN or METHOD:COLUMN, as in FG-NET."),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Show all statistics of every estimator on this test set or manifest instead: fg-net.",
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="With --on: a protocol that trains on the set itself.")] = "",
    without_leaks: Annotated[
        bool,
        typer.Option(
            "--without-leaks", help="Leave out test pictures whose file, photograph or person was trained on."
        ),
    ] = False,
    table: Annotated[
        Path | None,
        typer.Option(help="Show the table that this TOML file declares: title, columns, rows, metric."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write with tables, predictions, cards and hashes, for a reviewer; with --verify: the "
            "bundle to check."
        ),
    ] = None,
    figures: Annotated[Path | None, typer.Option(help="Folder: write every figure there as SVG and PDF.")] = None,
    html: Annotated[Path | None, typer.Option(help="File: tables, statistics and figures as one page.")] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Show faces on the page; they are personal data, mind the licence.")
    ] = False,
    json: Json = False,
) -> None:
    """Print MAE tables: published rows beside measured ones.

    `--explain` says where a measured number comes from.
    """
    given = {
        "--tables": tables, "--format": format, "--out": out, "--verify": verify, "--explain": explain, "--on": on,
        "--protocol": protocol, "--without-leaks": without_leaks, "--table": table, "--bundle": bundle,
        "--figures": figures, "--html": html, "--faces": faces,
    }  # fmt: skip
    _must_go_together({name for name, value in given.items() if value})
    if on is not None:
        _statistics(on, runs, protocol, without_leaks, json)
        return
    numbers = _numbers(tables) if tables else None
    kind = tables_format(format, out)
    published = figures is not None or html is not None
    if json and format is not None and out is None:
        raise typer.BadParameter(
            "--json already writes to standard output: name a file with --out.", param_hint="--format"
        )
    import agebench
    from agebench.bench.render import as_rich, render
    from agebench.bench.tables import tables_json
    from agebench.files import write_whole

    if bundle is not None:
        _bundle(bundle, numbers, runs, verify, without_leaks, json)
        return
    if table is not None:
        from agebench.bench.own_tables import own_table

        own, left_out = own_table(table, runs=runs, without_leaks=without_leaks)
        found = agebench.Report([own], [], [], left_out)
    else:
        found = agebench.report(numbers, runs=runs, verify=verify, without_leaks=without_leaks)
    talk = console(json, stderr=out is None and kind != "rich")
    if explain is not None:
        _explain(found.tables, explain, runs, json)
        return
    if published:
        written = _publish(found.tables, runs, without_leaks, figures, html, faces, talk)
    if kind == "rich":
        if not published:
            talk.print(as_rich(found.tables))
    elif out is None and not json and (format or not published):
        print(render(found.tables, kind), end="")  # type: ignore[arg-type]
    elif out is not None:
        write_whole(out, render(found.tables, kind).encode(), "Name another file with `--out`.")  # type: ignore[arg-type]
        named = f"Tables {', '.join(str(t.number) for t in found.tables)}" if table is None else "Table"
        talk.print(f"{named} written to {out}")
    if not verify:
        notes(found.left_out, talk)
    for line in found.verified:
        talk.print(f"[green]verified[/] {line}")
    for line in found.problems:
        talk.print(f"[red]wrong[/] {line}")
    if json:
        document = tables_json(found.tables) | ({"written": written} if published else {})
        print_json(document | ({"verified": found.verified, "problems": found.problems} if verify else {}))
    if found.problems:
        raise typer.Exit(1)


def tables_format(format: str | None, out: Path | None) -> str:
    """The format of tables that `--format` and the ending of `--out` ask for. Raises BadParameter if they disagree."""
    kind = format or (ENDINGS.get(ending(out), "markdown") if out else "rich")
    must_be_one_of(kind, FORMATS, "format", "--format")
    if out is not None:
        must_end_in_a_format(out, format, ENDINGS)
    if kind == "rich" and out is not None:
        raise typer.BadParameter("rich is for terminals; --out takes markdown, latex, html, csv or json.")
    return kind


def _must_go_together(given: set[str]) -> None:
    """Raises typer.BadParameter if an option would be ignored beside another, or lacks the one that it needs."""
    for option, allowed in ALONE.items():
        if option in given and (others := sorted(given - allowed - {option})):
            raise typer.BadParameter(f"it cannot be combined with {' and '.join(others)}.", param_hint=option)
    if {"--bundle", "--verify"} <= given and (others := sorted(given & {"--tables", "--without-leaks"})):
        raise typer.BadParameter(f"a bundle is checked as it was written, without {others[0]}.", param_hint="--bundle")
    for option, needed in NEEDS.items():
        if option in given and needed not in given:
            raise typer.BadParameter(f"it needs {needed}.", param_hint=option)


def _bundle(
    folder: Path, numbers: list[int] | None, runs: Path, verify: bool, without_leaks: bool, as_json: bool
) -> None:
    from agebench.bench.bundle import verify_bundle, write_bundle

    talk = console(as_json)
    if not verify:
        made = write_bundle(folder, numbers, runs=runs, without_leaks=without_leaks)
        talk.print(f"{plain(folder)}: {len(made.files):,} files of {len(made.runs)} runs and estimators")
        talk.print(f"sha256 of its SHA256SUMS, to be published with it: {made.digest}")
        talk.print(f"`agebench report --verify --bundle {plain(folder)}` checks it, without pictures or weights.")
        if as_json:
            print_json({"command": "report", "bundle": str(folder), "files": made.files, "digest": made.digest})
        return
    checked = verify_bundle(folder)
    for line in checked.verified:
        talk.print(f"[green]verified[/] {plain(line)}")
    for line in checked.problems:
        talk.print(f"[red]wrong[/] {plain(line)}")
    talk.print(f"sha256 of its SHA256SUMS: {checked.digest}")
    if as_json:
        facts = {"verified": checked.verified, "problems": checked.problems, "digest": checked.digest}
        print_json({"command": "report", "bundle": str(folder), **facts})
    if checked.problems:
        raise typer.Exit(1)


def _statistics(test_set: str, runs: Path, protocol: str, without_leaks: bool, as_json: bool) -> None:
    import dataclasses

    from agebench.bench.analysis import analyses, analysis_facts, compared
    from agebench.bench.details import as_rich

    measured = analyses(test_set, runs, protocol=protocol, without_leaks=without_leaks)
    pairs = compared(measured)
    heading = f"{test_set}{f', {protocol}' if protocol else ''}" + (", without leaks" if without_leaks else "")
    console(as_json).print(as_rich(measured, pairs, heading))
    if as_json:
        document = {
            "command": "report",
            "dataset": measured[0].evaluation.dataset,
            "protocol": protocol,
            "without_leaks": without_leaks,
        }
        document |= {"estimators": [analysis_facts(one) for one in measured]}
        print_json(document | {"differences": [dataclasses.asdict(pair) for pair in pairs]})


def _publish(
    tables: list[Table],
    runs: Path,
    without_leaks: bool,
    figures: Path | None,
    html: Path | None,
    faces: bool,
    talk: Console,
) -> list[str]:
    """Write the figures and the page; the files."""
    import shlex
    import sys
    from datetime import UTC, datetime

    from agebench.bench.figures import write_figures
    from agebench.bench.findings import findings
    from agebench.bench.page import html_report
    from agebench.files import write_whole

    found = findings(runs, without_leaks=without_leaks)
    written: list[Path] = []
    if figures is not None:
        with progress("drawing", "figures", quiet=talk.quiet) as advance:
            written = write_figures(found, figures, advance)
        talk.print(f"{len(written):,} figures written to {plain(figures)}:")
        for path in written:
            talk.print(f"  {plain(path.name)}", soft_wrap=True)
    if html is not None:
        command = shlex.join(["agebench", *sys.argv[1:]])
        with progress("drawing the page", "estimators", quiet=talk.quiet) as advance:
            page = html_report(
                tables, found, command=command, made=datetime.now(UTC), show_faces=faces, on_progress=advance
            )
        write_whole(html, page.encode(), "Name another file with `--html`.")
        written.append(html)
        talk.print(f"Report written to {plain(html)}")
        if faces:
            notes(["the page shows faces: they are personal data, and the licence may not let you pass them on"], talk)
    notes(found.left_out, talk)
    return [str(path) for path in written]


def _explain(tables: list[Table], cell: str, runs: Path, as_json: bool) -> None:
    import dataclasses

    from agebench.bench.explain import explain_cells

    found = explain_cells(tables, cell, runs)
    out = console(as_json)
    for one in found:
        where = f"Table {', '.join(map(str, one.tables))}: {one.method}, {one.column}"
        out.print(f"[bold]{plain(where)}: {one.mae:.2f} years[/] ({one.source})")
        for what, text in one.facts.items():
            out.print(f"  {plain(what)}: {plain(text)}", soft_wrap=True)
    if as_json:
        print_json({"command": "report", "explained": [dataclasses.asdict(one) for one in found]})


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdigit() for part in parts):
        raise typer.BadParameter(f"'{text}' is not a list of tables; expected numbers like 2,3.", param_hint="--tables")
    return list(dict.fromkeys(int(part) for part in parts))
