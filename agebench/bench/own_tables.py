"""Tables of one's own, declared in a TOML file: `agebench report --table FILE`.

    title = "Cross-dataset errors"
    metric = "mae"                                       # or rmse, bias, balanced_mae, cs5
    columns = ["fg-net", "fg-net@leave-one-person-out"]  # a test set, or a protocol of it after @

    [[row]]
    estimator = "svr"                                    # a run, a model (its newest run), or what was evaluated
    label = "SVR"

    [[row]]
    published = "SVR"                                    # a method of the published tables, as cited

Without rows, everything that was measured on a column has one. `trained_on = true` makes the matrix of training
sets and test sets: one row for each set that the recipe of a row was trained on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from agebench.bench.analysis import Analysis, analysis_of
from agebench.bench.evaluations import Evaluation, own_manifest_first, stored_evaluations
from agebench.bench.published import Published, load_published
from agebench.bench.report import summarised
from agebench.bench.statistics.accuracy import Estimate
from agebench.bench.tables import Cell, Footnotes, Metric, Result, Row, Table, remarks_on
from agebench.errors import AgebenchError, Missing, RecipeError, UsageError, nearest
from agebench.recipes import Strict, load_card, mistakes_of, read_declaration
from agebench.training.run_cards import RUNS
from agebench.training.runs import Listed, list_evaluated


def _without_doubles(columns: list[str]) -> list[str]:
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} more than once")
    return columns


class OwnRow(Strict):
    """A row: of an estimator, or of a method of the published tables."""

    estimator: str | None = None
    published: str | None = None
    label: str | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> OwnRow:
        if (self.estimator is None) == (self.published is None):
            raise ValueError("give either estimator or published")
        return self


class OwnTable(Strict):
    """The file's keys."""

    title: str
    metric: Literal["mae", "rmse", "bias", "balanced_mae", "cs5"] = "mae"
    columns: Annotated[list[str], Field(min_length=1), AfterValidator(_without_doubles)]
    trained_on: bool = False
    row: Annotated[list[OwnRow], Field(default_factory=list)]


def own_table(path: Path, *, runs: str | Path = RUNS, without_leaks: bool = False) -> tuple[Table, list[str]]:
    """The table that a file declares, and a sentence for each run that was left out because it is damaged.

    Raises Missing if there is no such file, RecipeError (exit 2) for its mistakes, UsageError for a test set, protocol,
    method or estimator that does not exist.
    """
    declared = _read(path)
    for column in declared.columns:
        _check_column(column)
    published = load_published()
    kept: list[tuple[Listed, list[Evaluation]]] = []
    left_out = []
    for listed in list_evaluated(Path(runs)):
        try:
            if listed.complete:
                kept.append((listed, own_manifest_first(stored_evaluations(listed.path))))
        except AgebenchError as error:
            left_out.append(f"{listed.id} is left out: {error}")
    notes, rows = Footnotes(), []
    wanted = declared.row or [OwnRow(estimator=name) for name in _measured_models(kept, declared.columns)]
    if not wanted:
        raise Missing(
            f"Nothing was measured on {', '.join(declared.columns)} in {runs}.",
            "`agebench evaluate` measures something.",
        )
    counts: dict[str, int] = {}
    for row in wanted:
        if row.published is not None:
            rows.append(_published_row(row, row.published, declared, published, notes))
            continue
        for label, members in _families(row, declared, kept):
            rows.append(_measured_row(label, members, declared, counts, notes, without_leaks))
    return Table(0, declared.title, declared.columns, rows, notes.listed(), [], counts, declared.metric), left_out


def _read(path: Path) -> OwnTable:
    if not path.is_file():
        raise Missing(f"There is no file {path}.", "`--table` takes a TOML file with title, columns and rows.")
    try:
        data = tomllib.loads(read_declaration(path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from error
    try:
        return OwnTable.model_validate(data)
    except ValidationError as error:
        mistakes = mistakes_of(error, OwnTable, data)
        raise RecipeError(f"{path} has {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes) + "\n") from error


def _check_column(column: str) -> None:
    dataset, _, protocol = column.partition("@")
    card = load_card(dataset)
    if protocol and protocol not in card.protocols:
        known = [f"{dataset}@{name}" for name in card.protocols]
        raise UsageError(f"There is no protocol '{column}'. {nearest(column, known)}")
    if not protocol and card.protocol is None:
        raise UsageError(f"The card of {dataset} has no [protocol]: it is not a test set.")


def _measured_models(kept: Sequence[tuple[Listed, list[Evaluation]]], columns: Sequence[str]) -> list[str]:
    """The models of everything that was measured on a column."""
    found = [str(listed.card.get("model")) for listed, measured in kept if any(_on(measured, c) for c in columns)]
    return list(dict.fromkeys(found))


def _on(measured: Sequence[Evaluation], column: str) -> Evaluation | None:
    dataset, _, protocol = column.partition("@")
    return next((one for one in measured if (one.dataset, one.protocol) == (dataset, protocol)), None)


def _families(
    row: OwnRow, declared: OwnTable, kept: Sequence[tuple[Listed, list[Evaluation]]]
) -> list[tuple[str, list[tuple[Listed, list[Evaluation]]]]]:
    """(label, its runs and their evaluations, newest first) of each row that a row of the file makes."""
    named = [
        (listed, measured) for listed, measured in kept
        if row.estimator in (listed.id, listed.card.get("model"), listed.card.get("estimator", {}).get("called"))
    ]  # fmt: skip
    if not named:
        known = {listed.id for listed, _ in kept} | {str(listed.card.get("model")) for listed, _ in kept}
        raise UsageError(
            f"'{row.estimator}' was not measured. {nearest(str(row.estimator), known)}",
            "`agebench evaluate` measures what is trained, or needs no training; `agebench train` trains a recipe.",
        )
    named.reverse()
    label = row.label or str(named[0][0].card.get("recipe", {}).get("label", row.estimator))
    if not declared.trained_on:
        return [(label, named)]
    sets: dict[str, list[tuple[Listed, list[Evaluation]]]] = {}
    for listed, measured in named:
        facts = listed.card.get("provenance", {}) or listed.card.get("estimator", {})
        if "dataset" in facts:
            sets.setdefault(str(facts["dataset"]), []).append((listed, measured))
    return [(f"{label}, trained on {name}", sets[name]) for name in sorted(sets)]


def _published_row(row: OwnRow, method: str, declared: OwnTable, published: Published, notes: Footnotes) -> Row:
    known = {printed.method: (printed, table) for table in published.table for printed in table.row}
    if method not in known:
        raise UsageError(f"There is no published method '{method}'. {nearest(method, known)}")
    printed, table = known[method]
    cells: dict[str, Cell | None] = {}
    for column in declared.columns:
        protocol = load_card(column.partition("@")[0]).protocol
        value = printed.mae.get(protocol.column) if protocol and declared.metric == "mae" else None
        cells[column] = None if value is None else Cell(value)
    return Row(row.label or method, "published", None, cells, (notes.mark(published.citation(printed, table) + "."),))


def _measured_row(
    label: str,
    members: Sequence[tuple[Listed, list[Evaluation]]],
    declared: OwnTable,
    counts: dict[str, int],
    notes: Footnotes,
    without_leaks: bool,
) -> Row:
    """The row of runs, newest first: each cell is of the newest that was measured on its column."""
    cells: dict[str, Cell | None] = {}
    used: dict[str, str] = {}  # run → mark
    for column in declared.columns:
        cells[column] = None
        for listed, measured in members:
            evaluation = _on(measured, column)
            if evaluation is None or evaluation.mae is None:
                continue
            summary, result = summarised(listed, evaluation, without_leaks=without_leaks)
            one = analysis_of(listed, evaluation, without_leaks=without_leaks)
            cells[column] = _cell(one, result, summary.id, column, declared.metric, counts, notes)
            used[summary.id] = notes.origin(summary)
            break
    return Row(label, "measured", members[0][0].id, cells, tuple(dict.fromkeys(used.values())))


def _cell(
    one: Analysis, result: Result, run: str, column: str, metric: Metric, counts: dict[str, int], notes: Footnotes
) -> Cell:
    count = counts.setdefault(column, one.accuracy.n)
    found: Estimate = one.accuracy.cs[5] if metric == "cs5" else getattr(one.accuracy, metric)
    marked = dict.fromkeys(
        (notes.mark(sentence, sign), sentence) for sentence, sign in remarks_on(result, column, count)
    )
    return Cell(
        found.value,
        n=one.accuracy.n,
        ci95=found.interval,
        runs=(run,),
        marks=tuple(mark for mark, _ in marked),
        note=" ".join(f"{mark} {sentence}" for mark, sentence in marked) or None,
        percent=metric == "cs5",
    )
