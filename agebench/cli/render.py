"""What all commands share in their output: consoles, progress, JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
ManifestName = Annotated[
    str | None, typer.Option(help="Manifest file, or its name in manifests/ [imdb-wiki, or the only one].")
]
RunsFolder = Annotated[Path, typer.Option(help="Folder of runs.")]
Advance = Callable[..., None]  # done, total, and what else is to be shown
PLAIN_SECONDS = 5.0
TRAIN_SECONDS = 15.0
UNITS = {"cross-fitting": "steps", "observing": "pictures"}  # of stages that do not count faces


def console(as_json: bool = False, *, stderr: bool = False) -> Console:
    """Where tables and messages go: standard output, or standard error if rows go there; with `--json` nowhere."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else 110
    return Console(stderr=stderr, quiet=as_json, highlight=False, width=width, soft_wrap=False)


def must_be_one_of(value: str, choices: Sequence[str], what: str, param_hint: str | None = None) -> None:
    """Raises typer.BadParameter if an option's value is not one of the choices."""
    if value not in choices:
        raise typer.BadParameter(
            f"unknown {what} '{value}'; expected one of {', '.join(choices)}.", param_hint=param_hint
        )


def ending(file: Path) -> str:
    """The extension of a file's name, in lower case and without the dot."""
    return file.suffix.lstrip(".").lower()


def must_end_in_a_format(out: Path, format: str | None, endings: Collection[str]) -> None:
    """Raises typer.BadParameter if no format is given and the file's extension is unknown."""
    if format is None and ending(out) and ending(out) not in endings:
        raise typer.BadParameter(
            f"the extension .{ending(out)} is not one of {', '.join(endings)}; choose a format with `--format`.",
            param_hint="--out",
        )


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command."""
    print(json.dumps(document, default=str, allow_nan=False))  # ASCII is safe for any terminal and any file name


def how_to_review(manifest: Path) -> str:
    """Which command shows the records that wait for people, and what to install for the page if it is missing."""
    where = f"--manifest {shlex.quote(str(manifest))}"
    if all(importlib.util.find_spec(name) for name in ("fastapi", "jinja2", "uvicorn")):
        return f"`agebench review serve {where}` opens the records in review."
    return f"`agebench review list {where}` lists records in review; the page needs `pip install 'agebench[review]'`."


def waiting(records: int) -> str:
    """How many records wait, as the beginning of a sentence."""
    return "1 record waits" if records == 1 else f"{records:,} records wait"


def notes(lines: list[str], out: Console) -> None:
    """Print notes for the user, one per line; with `--json` on standard error."""
    with_json = out.quiet
    out = console(stderr=True) if with_json else out
    for line in lines:
        out.print(f"[yellow]note:[/] {plain(line)}", soft_wrap=with_json)


def plain(text: object) -> str:
    """Untrusted text, such as a file's name, escaped so that rich prints its brackets as they are."""
    return escape(str(text))


def tell_crowded(crowded: bool, out: Console) -> None:
    """Say that a time was measured on a machine that seems to do other work."""
    if crowded:
        out.print(
            "The cores were busy before: if they still are, an idle machine takes far less time.",
            style="yellow",
        )


@contextmanager
def progress(what: str, unit: str, *, quiet: bool = False, every: float = PLAIN_SECONDS) -> Iterator[Advance]:
    """A callback (done, total) that shows rate and time left: a bar on a terminal, else a plain line now and then.

    Nothing is shown and no time is counted before the first call, so several may be open while one is in use.
    A third argument replaces the rate on a terminal, and is shown beside it elsewhere.
    quiet: shows nothing. every: seconds between plain lines.
    """
    if quiet:
        yield _nothing
        return
    bar = _Bar(what, unit) if sys.stderr.isatty() else None
    try:
        yield bar or _Lines(what, unit, every)
    finally:
        if bar:
            bar.stop()


def _nothing(*_: object) -> None:
    pass


class Stages:
    """A callback (stage, done, total) for work in several named stages, each with its own bar or lines.

    A stage of unknown length has the total 0: its name is shown at once.
    """

    def __init__(self, unit: str = "faces", *, quiet: bool = False) -> None:
        self.now, self.unit, self.quiet = "", unit, quiet
        self.open = ExitStack()

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        self.open.close()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self.now:
            self.open.close()
            self.now = stage
            unit = UNITS.get(stage, self.unit)
            self.advance = self.open.enter_context(progress(stage, unit, quiet=self.quiet))
        self.advance(done, total)


class _Bar(Progress):
    """A bar from its first call to its last, as a terminal shows only one; a spinner if the total is unknown."""

    def __init__(self, what: str, unit: str) -> None:
        columns = (
            TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"), TimeRemainingColumn(),
            TextColumn("{task.fields[rate]}"),
        )  # fmt: skip
        super().__init__(*columns, console=Console(stderr=True), transient=True)
        self.unit = unit
        self.began: float | None = None
        self.first = 0
        self.task = self.add_task(what, total=1, rate="")

    def __call__(self, done: int, total: int, more: str = "") -> None:
        if self.began is None or not self.live.is_started:
            self.began, self.first = time.monotonic(), done
            if total == 0:
                self.columns = (SpinnerColumn(), TextColumn("{task.description}"))
            self.reset(self.task, total=total or None)
            self.start()
        rate = more or _rate(done - self.first, time.monotonic() - self.began, self.unit)
        self.update(self.task, completed=done, total=total or None, rate=rate)
        if 0 < total <= done:
            self.stop()


class _Lines:
    """A plain line every few seconds."""

    def __init__(self, what: str, unit: str, every: float) -> None:
        self.what, self.unit, self.every = what, unit, every
        self.began: float | None = None
        self.last = 0.0
        self.first = 0
        self.said = False

    def __call__(self, done: int, total: int, more: str = "") -> None:
        now = time.monotonic()
        if total == 0:
            if not self.said:
                print(f"{self.what} …", file=sys.stderr, flush=True)
            self.said = True
            return
        if self.began is None or done < self.first:
            self.began, self.first, self.last, self.said = now, done, now, False
            return
        if now - self.last < self.every and not (done == total and self.said):
            self._end_at(done, total)
            return
        self.last, self.said = now, True
        did, took = done - self.first, max(now - self.began, 1e-6)
        shown = [f"{done:,} of {total:,}", more, _rate(did, took, self.unit)]
        if did and done < total:
            shown.append(f"{duration((total - done) * took / did)} left")
        print(f"{self.what}: {', '.join(filter(None, shown))}", file=sys.stderr, flush=True)
        self._end_at(done, total)

    def _end_at(self, done: int, total: int) -> None:
        if done >= total:  # the next call counts something else, at a rate of its own
            self.began = None


def _rate(did: int, took: float, unit: str) -> str:
    """The rate since the first call; empty until something was done after it, as the start of workers is no work."""
    return f"{did / max(took, 1e-6):,.1f} {unit}/s" if did > 0 else ""


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`, `30 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:,.0f} days"


def age_range(text: str) -> tuple[int, int]:
    """`20-60` as (20, 60). Raises typer.BadParameter."""
    low, dash, high = text.partition("-")
    if not (dash and low.strip().isdigit() and high.strip().isdigit()):
        raise typer.BadParameter(f"'{text}' is not a range of ages; expected two whole numbers like 20-60.")
    if int(low) > int(high):
        raise typer.BadParameter(f"'{text}' is not a range of ages: the lower age comes first.")
    return int(low), int(high)
