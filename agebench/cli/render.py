"""What all commands share in talking to people: consoles, progress, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Advance = Callable[[int, int], None]
PLAIN_SECONDS = 5.0


def console(as_json: bool = False) -> Console:
    """Where tables and sentences go: standard output, or standard error where that carries a JSON document."""
    width = None if sys.stdout.isatty() else 110
    return Console(stderr=as_json, highlight=False, width=width, soft_wrap=False)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command."""
    print(json.dumps(document, default=str, allow_nan=False))  # ASCII: any terminal and any file name can bear it


def notes(lines: list[str], out: Console) -> None:
    """Things that people should know, one a line."""
    for line in lines:
        out.print(f"[yellow]note:[/] {plain(line)}")


def plain(text: object) -> str:
    """Text that strangers chose, such as a file's name, so that rich prints its brackets as they are."""
    return escape(str(text))


@contextmanager
def progress(what: str, unit: str) -> Iterator[Advance]:
    """A callback (done, total) that shows rate and time left: a bar on a terminal, else a plain line every 5 s."""
    began = time.monotonic()
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"), TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=1, rate="")

            def advance(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total, rate=_rate(done, began, unit))

            yield advance
        return
    last = began

    def say(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS or (done == total and last > began):
            last = now
            left = (total - done) * (now - began) / done if done else 0
            rest = f", {duration(left)} left" if done < total else ""
            print(f"{what}: {done:,} of {total:,}, {_rate(done, began, unit)}{rest}", file=sys.stderr, flush=True)

    yield say


def _rate(done: int, began: float, unit: str) -> str:
    return f"{done / max(time.monotonic() - began, 1e-6):,.1f} {unit}/s"


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def age_range(text: str) -> tuple[int, int]:
    """`20-60` as (20, 60). Raises typer.BadParameter."""
    low, dash, high = text.partition("-")
    if not (dash and low.strip().isdigit() and high.strip().isdigit()):
        raise typer.BadParameter(f"'{text}' is no range of ages; expected two whole numbers like 20-60.")
    return int(low), int(high)
