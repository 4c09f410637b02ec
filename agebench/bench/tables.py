"""Tables of MAE: the published rows as cited, then the measured rows with everything that qualifies them.

A number measured on a set other than the one the column names is always marked in its cell.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from agebench.bench.leakage import leak_phrases, unsearched_phrase
from agebench.bench.published import Published, PublishedTable

NOT_THE_SET = "†"
NO_PROOF = "‡"
OTHER_PICTURES = "§"
LEAKED = "¶"
EMPTY = "–"
Metric = Literal["mae", "rmse", "bias", "balanced_mae", "cs5", "difference"]


@dataclass(frozen=True)
class Column:
    """A test set as a column of the tables: the card's protocol column and name; curated: its manifest exists."""

    name: str
    dataset: str
    curated: bool = True


@dataclass(frozen=True)
class Waiting:
    """A recipe that could fill a row of the tables with these numbers, after a training or without one."""

    model: str
    label: str
    tables: Sequence[int]
    trained: bool = True


@dataclass(frozen=True)
class Result:
    """A run's result on one test set. mae and ci95 in years; cs5 a share 0..1.

    records: in the manifest; expected: according to the card. overlap, near_copies, shared_subjects and
    matching_faces count test pictures that leak (see `bench.leakage`). matches_card is None if the count agrees and
    the card has no fingerprint.
    """

    column: str
    n: int
    mae: float | None
    ci95: tuple[float, float] | None
    cs5: float | None
    matches_card: bool | None
    records: int
    expected: int
    undetected: int = 0
    unreadable: int = 0
    overlap: int = 0
    near_copies: int = 0
    shared_subjects: int = 0
    matching_faces: int = 0
    with_leaks: tuple[int, float] | None = None  # n and mae with the pictures that leak, if they are left out
    detector: str | None = None
    training_detector: str | None = None
    training_known: bool = True
    unsearched: Sequence[str] = ()  # kinds of leak that could not be looked for
    draws: Sequence[float] = ()  # the MAE of each draw of a subset, if there are several
    pictures_match: bool | None = None  # byte for byte those of the card; None if it has no fingerprint of them


@dataclass(frozen=True)
class RunSummary:
    """A complete run, or an estimator that was not trained here, in plain data.

    finished: ISO time, orders runs. settings: changes to the shipped recipe, in words; such runs have a row of their
    own. seed: None if it was not trained here. data: fingerprint of the training data; runs with the same recipe,
    settings and data differ only in the seed. trained_on: a sentence about the training data. published_row: the method
    beneath whose published row it stands. evaluated_as: what `agebench evaluate` calls it; None if it belongs to one
    test set.
    """

    id: str
    model: str
    label: str
    tables: Sequence[int]
    trained_on: str
    seed: int | None
    finished: str
    data: str
    results: Sequence[Result]
    settings: str = ""
    published_row: str | None = None
    evaluated_as: str | None = None

    def on(self, column: str) -> Result | None:
        found = [result for result in self.results if result.column == column and _is_number(result.mae)]
        return found[0] if found else None


@dataclass(frozen=True)
class Cell:
    """One number in the table's metric: years, or a share 0..1 shown in per cent.

    spread: the standard deviation over `seeds` seeds. runs: where it comes from.
    """

    value: float
    n: int | None = None
    ci95: tuple[float, float] | None = None
    seeds: int = 1
    spread: float | None = None
    runs: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    note: str | None = None
    percent: bool = False

    @property
    def number(self) -> str:
        return self._shown(self.value)

    @property
    def detail(self) -> str:
        """How sure it is: the spread over seeds, or else the interval; empty for a published number."""
        if self.spread is not None:
            return f" ± {self._shown(self.spread)}"
        if self.ci95 is None:
            return ""
        low, high = map(self._shown, self.ci95)
        return f" ({low} to {high})" if "-" in low + high else f" ({low}–{high})"

    def _shown(self, value: float) -> str:
        return f"{100 * value:.1f}" if self.percent else f"{value:.2f}"

    @property
    def text(self) -> str:
        """The number with its interval or spread, and marks; a published number alone."""
        return self.number + self.detail + "".join(self.marks)


@dataclass(frozen=True)
class Row:
    """A method. cells: column → number, or None; blanks: column → the mark of a footnote on how to fill it; beneath:
    the published row that a measured row belongs to."""

    method: str
    source: Literal["published", "measured"]
    run: str | None
    cells: dict[str, Cell | None]
    marks: tuple[str, ...] = ()
    blanks: dict[str, str] = field(default_factory=dict)
    beneath: str | None = None

    def text(self, column: str) -> str:
        cell = self.cells.get(column)
        return cell.text if cell is not None else EMPTY + self.blanks.get(column, "")


@dataclass(frozen=True)
class Table:
    """A table of errors.

    Attributes:
        number: As published; 0 for a table of one's own.
        title: As published, or as its file says.
        columns: Names of the test sets.
        metric: What the numbers are.
        counts: The number of pictures that measured numbers are of, by column; a footnote tells where it is another.
        rows: Published rows, then measured ones; `row.text(column)` is a cell as printed.
        footnotes: Pairs of mark (empty for what holds for all rows) and sentence.
        hints: At most one sentence: the commands that would measure what has no row yet.
    """

    number: int
    title: str
    columns: list[str]
    rows: list[Row]
    footnotes: list[tuple[str, str]]
    hints: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    metric: Metric = "mae"


class Footnotes:
    """Sentences with their marks. Equal sentences share one, and so do rows with the same training or the same gaps."""

    def __init__(self) -> None:
        self.marks: dict[str, str] = {}
        self.letters = 0
        self._trained: dict[str, list[str]] = {}
        self._missing: dict[str, tuple[list[str], list[Column]]] = {}

    def mark(self, sentence: str, sign: str = "") -> str:
        """The mark of a sentence: a letter in brackets, or the sign (numbered if it has several sentences)."""
        if sentence not in self.marks:
            if sign:
                others = sum(mark.startswith(sign) for mark in self.marks.values())
                self.marks[sentence] = f"{sign}{others + 1 if others else ''}"
            else:
                self.marks[sentence] = f"[{_letters(self.letters)}]"
                self.letters += 1
        return self.marks[sentence]

    def origin(self, run: RunSummary) -> str:
        """The mark of a sentence about what a row's numbers come from: one for all runs that were trained on the same,
        which it names."""
        key = f"trained on {run.trained_on}"
        named = _with_seed(run)
        runs = self._trained.setdefault(key, [])
        if named not in runs:
            runs.append(named)
        return self.mark(key)

    def missing(self, run: RunSummary, columns: Sequence[Column]) -> str:
        """The mark of the command that measures a run on `columns`: one for all rows that lack the same."""
        key = f"missing {' '.join(column.name for column in columns)}"
        self._missing.setdefault(key, ([], list(columns)))[0].append(run.evaluated_as or run.id)
        return self.mark(key)

    def listed(self) -> list[tuple[str, str]]:
        return [(mark, self._sentence(key)) for key, mark in self.marks.items()]

    def _sentence(self, key: str) -> str:
        if key in self._trained:
            return f"{key.removeprefix('trained on ').rstrip('.')}. {'; '.join(self._trained[key])}."
        if key in self._missing:
            return _how_to_fill(*self._missing[key])
        return key


def build_tables(
    published: Published, runs: Sequence[RunSummary], columns: Sequence[Column], *,
    numbers: Sequence[int] | None = None, waiting: Sequence[Waiting] = (),
) -> list[Table]:  # fmt: skip
    """The published tables (those in `numbers`, else all) with the measured rows of `runs` below the published ones.

    One row per recipe and settings; each cell has the newest run, or the mean and spread over the seeds of that run's
    recipe and data. waiting: recipes that may have no run yet, for the hints. A pure function of its arguments.
    """
    chosen = [table for table in published.table if numbers is None or table.number in numbers]
    return [_build(published, table, runs, columns, waiting) for table in chosen]


def tables_json(tables: Sequence[Table]) -> dict[str, Any]:
    """The document of `report --json`."""
    return {"command": "report", "tables": [_table_json(table) for table in tables]}


def _build(
    published: Published, table: PublishedTable, runs: Sequence[RunSummary], columns: Sequence[Column],
    waiting: Sequence[Waiting],
) -> Table:  # fmt: skip
    notes = Footnotes()
    rows = []
    families: dict[tuple[str, str, str], list[RunSummary]] = {}
    for run in sorted(runs, key=lambda run: (run.finished, run.id), reverse=True):
        if table.number in run.tables and (run.evaluated_as or any(run.on(column.name) for column in columns)):
            families.setdefault((run.label, run.model, run.settings), []).append(run)
    counts = _counts(families.values(), columns)
    for printed in table.row:
        citation = published.citation(printed, table)
        cells = {c.name: Cell(printed.mae[c.name], note=citation) if c.name in printed.mae else None for c in columns}
        rows.append(Row(printed.method, "published", None, cells, (notes.mark(f"{published.work[printed.work]}."),)))
        same = [key for key in sorted(families) if families[key][0].published_row == printed.method]
        rows += [_measured(families.pop(key), columns, counts, notes) for key in same]
    rows += [_measured(families[key], columns, counts, notes) for key in sorted(families)]
    ran = {run.model for run in runs}
    missing = [w for w in waiting if table.number in w.tables and w.model not in ran]
    hints = []
    for command, trained in (("train", True), ("evaluate", False)):
        if names := ", ".join(w.model for w in missing if w.trained == trained):
            hints.append(f"`agebench {command} MODEL` adds the row of a model that is not measured yet: {names}.")
    printed_in = f"Published rows are as printed in table {table.number} of {published.work[table.printed_in]}."
    footnotes = [*([("", printed_in)] if table.row else []), *notes.listed()]
    return Table(table.number, table.title, [c.name for c in columns], rows, footnotes, hints, counts)


def _counts(families: Iterable[list[RunSummary]], columns: Sequence[Column]) -> dict[str, int]:
    """The number of pictures of most of the measured rows, by column."""
    found = {}
    for column in columns:
        numbers = [result.n for family in families if (result := _first_result(family, column.name)) is not None]
        if numbers:
            found[column.name] = statistics.mode(numbers)
    return found


def _first_result(family: list[RunSummary], column: str) -> Result | None:
    return next((result for run in family if (result := run.on(column)) is not None), None)


def _measured(family: list[RunSummary], columns: Sequence[Column], counts: dict[str, int], notes: Footnotes) -> Row:
    """The row of one recipe and its settings; `family` holds its runs, newest first."""
    newest = family[0]
    came_from = notes.origin(newest)
    cells: dict[str, Cell | None] = {}
    for column in columns:
        with_result = [run for run in family if run.on(column.name) is not None]
        if with_result:
            cells[column.name] = _cell(with_result, column.name, newest, counts[column.name], notes)
        else:
            cells[column.name] = None
    empty = [column for column in columns if cells[column.name] is None]
    blanks: dict[str, str] = {}
    if newest.evaluated_as and empty:
        blanks = dict.fromkeys((column.name for column in empty), notes.missing(newest, empty))
    method = newest.label + (f" ({newest.settings})" if newest.settings else "")
    return Row(method, "measured", newest.id, cells, (came_from,), blanks, newest.published_row)


def _cell(runs: list[RunSummary], column: str, newest: RunSummary, count: int, notes: Footnotes) -> Cell:
    first = runs[0]
    by_seed: dict[int | None, RunSummary] = {}
    for run in runs:
        if run.data == first.data:
            by_seed.setdefault(run.seed, run)
    used = list(by_seed.values())
    results = [result for run in used if (result := run.on(column)) is not None]
    errors = [result.mae for result in results if result.mae is not None]
    result = results[0]
    remarks: list[tuple[str, str]] = []
    for each in results:
        remarks += remarks_on(each, column, count)
    if first.id != newest.id:
        remarks.append((origin(first), ""))
    if len(used) > 1:
        seeds = ", ".join(f"{run.id} (seed {run.seed}): {mae:.2f}" for run, mae in zip(used, errors, strict=True))
        remarks.append((f"Mean and standard deviation over {len(used)} seeds: {seeds}.", ""))
    marked = dict.fromkeys((notes.mark(sentence, sign), sentence) for sentence, sign in remarks)
    return Cell(
        value=statistics.fmean(errors),
        n=result.n,
        ci95=result.ci95 if len(used) == 1 else None,
        seeds=len(used),
        spread=statistics.stdev(errors) if len(used) > 1 else None,
        runs=tuple(run.id for run in used),
        marks=tuple(mark for mark, _ in marked),
        note=" ".join(f"{mark} {sentence}" for mark, sentence in marked) or None,
    )


def remarks_on(result: Result, column: str, count: int) -> list[tuple[str, str]]:
    """What a reader must know of a number, as (sentence, sign). count: the pictures that the column's head tells."""
    remarks = [] if result.n == count else [(f"On {result.n:,} pictures of {column}.", "")]
    if result.matches_card is False:
        if result.records != result.expected:
            why = f"{result.records:,} records, the card says {result.expected:,}"
        else:
            why = "the card's number of records, but other labels"
        remarks.append((f"Not the real {column}: {why}.", NOT_THE_SET))
    elif result.matches_card is None:
        remarks.append(
            (f"{column}: the count matches the card, which has no fingerprint to verify the labels.", NO_PROOF)
        )
    if result.pictures_match is False:
        sentence = f"The pictures of {column} are not byte for byte those of its card."
        remarks.append((sentence, OTHER_PICTURES))
    if leaks := leak_phrases(result):
        if result.with_leaks is None:
            remarks.append((f"Of the {result.n:,} test pictures {leaks}.", LEAKED))
        else:
            n, mae = result.with_leaks
            remarks.append((f"Of {n:,} test pictures, {leaks}: left out. With them, the MAE is {mae:.2f} years.", ""))
    if unsearched := unsearched_phrase(result.unsearched):
        remarks.append((f"{column}: {unsearched}.", ""))
    if result.training_detector != result.detector:
        here, there = (name or "no detector" for name in (result.detector, result.training_detector))
        remarks.append((f"{column} was cropped with {here}, the training set with {there}.", ""))
    if result.undetected:
        some = f"{result.undetected:,} of {result.n:,} pictures"
        sentence = f"{some} have no detected face and are predicted from the whole picture."
        remarks.append((sentence, ""))
    if result.draws:
        mean, deviation = statistics.fmean(result.draws), statistics.stdev(result.draws)
        remarks.append((f"Over {len(result.draws)} draws of {column}: {mean:.2f} ± {deviation:.2f} years.", ""))
    if result.unreadable:
        remarks.append((f"{result.unreadable:,} unreadable picture(s) of {column} left out.", ""))
    return remarks


def origin(run: RunSummary) -> str:
    """A sentence about what a row's numbers come from."""
    return f"{run.trained_on.rstrip('.')}. {_with_seed(run)}."


def _with_seed(run: RunSummary) -> str:
    return run.id if run.seed is None else f"{run.id}, seed {run.seed}"


def _how_to_fill(names: Sequence[str], columns: Sequence[Column]) -> str:
    """names: of those that `agebench evaluate` has to measure."""
    sets = " ".join(f"--on {column.dataset}" for column in columns)
    first = [f"`agebench curate {column.dataset}`" for column in columns if not column.curated]
    name, what = (names[0], "it" if len(columns) == 1 else "them") if len(names) == 1 else ("RUN", "the row of a RUN")
    return f"`agebench evaluate {name} {sets}` fills {what}" + (f", after {' and '.join(first)}." if first else ".")


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _letters(number: int) -> str:
    """a, b, … z, aa, ab, …"""
    head = _letters(number // 26 - 1) if number >= 26 else ""
    return head + chr(ord("a") + number % 26)


def _table_json(table: Table) -> dict[str, Any]:
    rows = [
        {
            "method": row.method,
            "source": row.source,
            "run": row.run,
            "cells": {
                name: None if cell is None else {
                    table.metric: cell.value, "n": cell.n,
                    "ci95": list(cell.ci95) if cell.ci95 else None, "note": cell.note,
                }
                for name, cell in row.cells.items()
            },
        }
        for row in table.rows
    ]  # fmt: skip
    facts = {"table": table.number or None, "title": table.title, "columns": table.columns, "rows": rows}
    return facts if table.metric == "mae" else facts | {"metric": table.metric}
