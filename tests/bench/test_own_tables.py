"""Tables of one's own, and the options of `report` that change what is counted."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agebench.bench.own_tables import own_table
from agebench.bench.published import load_published
from agebench.bench.tables import Table

from .conftest import records_of

Kept = Callable[..., Any]
Run = Callable[..., Any]
N = len(records_of())


@pytest.fixture
def table(here: Path) -> Callable[..., Table]:
    def made(text: str, **how: Any) -> Table:
        file = here / "mine.toml"
        file.write_text('title = "Mine"\n' + text)
        found, left_out = own_table(file, runs=here.parent / "runs", **how)
        assert not left_out
        return found

    return made


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [("mae", 4.0, "4.00"), ("bias", -1.0, "-1.00"), ("rmse", np.sqrt(17), "4.12"), ("cs5", 0.75, "75.0")],
)
def test_a_cell_holds_the_metric_that_was_asked_for(
    kept: Kept, table: Callable[..., Table], metric: str, value: float, text: str
) -> None:
    kept("mine", np.resize([-3.0, 3.0, 2.0, -6.0], N) if metric == "cs5" else np.resize([-5.0, 3.0], N))
    (row,) = table(f'metric = "{metric}"\ncolumns = ["fg-net"]\n').rows
    cell = row.cells["fg-net"]
    assert cell is not None
    assert cell.value == pytest.approx(value)
    assert cell.number == text
    low, high = cell.ci95 or (np.nan, np.nan)
    assert low <= value <= high


def test_rows_are_those_of_the_file_in_its_order(kept: Kept, table: Callable[..., Table]) -> None:
    kept("one", 1.0)
    kept("two", 2.0)
    kept("three", 3.0)
    found = table(
        'columns = ["fg-net", "morph"]\n[[row]]\nestimator = "two"\nlabel = "The second"\n'
        '[[row]]\npublished = "SVR"\n[[row]]\nestimator = "one.csv"\n'
    )
    assert [(row.method, row.source) for row in found.rows] == [
        ("The second", "measured"), ("SVR", "published"), ("One", "measured"),
    ]  # fmt: skip
    printed = next(row for one in load_published().table for row in one.row if row.method == "SVR")
    cell = found.rows[1].cells["fg-net"]
    assert cell is not None
    assert cell.text == f"{printed.mae['FG-NET']:.2f}"
    assert found.rows[0].cells["morph"] is None
    assert found.counts == {"fg-net": N}


def test_a_published_row_has_no_number_in_another_metric(kept: Kept, table: Callable[..., Table]) -> None:
    (row,) = table('metric = "bias"\ncolumns = ["fg-net"]\n[[row]]\npublished = "SVR"\n').rows
    assert row.cells["fg-net"] is None


def test_a_protocol_is_a_column_of_its_own(kept: Kept, table: Callable[..., Table]) -> None:
    kept("whole", 1.0)
    kept("folds", 3.0, model="whole", protocol="leave-one-person-out")
    (row,) = table('columns = ["fg-net", "fg-net@leave-one-person-out"]\n').rows
    values = [cell.value for cell in row.cells.values() if cell is not None]
    assert values == pytest.approx([1.0, 3.0])


def test_training_sets_are_rows_and_test_sets_columns(kept: Kept, table: Callable[..., Table]) -> None:
    for trained, off in (("utkface", 4.0), ("imdb-wiki", 2.0)):
        kept(f"net-{trained}", off, model="net", trained_on=trained)
    found = table('columns = ["fg-net", "morph"]\ntrained_on = true\n')
    assert [row.method for row in found.rows] == ["Net, trained on imdb-wiki", "Net, trained on utkface"]
    values = [row.cells["fg-net"].value for row in found.rows if row.cells["fg-net"]]
    assert values == pytest.approx([2.0, 4.0])


@pytest.mark.parametrize(
    ("text", "status", "says"),
    [
        ('title = "T"\ncolumns = [', 2, "not valid TOML"),
        ('columns = ["fg-net"]\n', 2, "title"),
        ('title = "T"\ncolumns = ["fg-net"]\nmetrics = "mae"\n', 2, "metrics"),
        ('title = "T"\ncolumns = ["fg-net"]\nmetric = "median"\n', 2, "metric"),
        ('title = "T"\ncolumns = ["fg-nett"]\n', 2, "fg-nett"),
        ('title = "T"\ncolumns = ["imdb-wiki"]\n', 2, "not a test set"),
        ('title = "T"\ncolumns = ["fg-net@leave-one-out"]\n', 2, "leave-one-person-out"),
        ('title = "T"\ncolumns = ["fg-net"]\n[[row]]\nestimator = "nobody"\n', 2, "'nobody' was not measured"),
        ('title = "T"\ncolumns = ["fg-net"]\n[[row]]\npublished = "SVRR"\n', 2, "no published method 'SVRR'"),
        ('title = "T"\ncolumns = ["fg-net"]\n[[row]]\nlabel = "L"\n', 2, "either estimator or published"),
        ('title = "T"\ncolumns = ["fg-net"]\n[[row]]\nestimator = "mine"\npublished = "SVR"\n', 2, "either"),
        ('title = "T"\ncolumns = []\n', 2, "columns"),
        ('title = "T"\ncolumns = ["fg-net", "fg-net"]\n', 2, "fg-net more than once"),
        (None, 3, "no file"),
    ],
)
def test_a_mistake_is_a_sentence_and_nothing_is_written(
    kept: Kept, here: Path, agebench: Run, text: str | None, status: int, says: str
) -> None:
    kept("mine", 1.0)
    if text is not None:
        Path("mine.toml").write_text(text)
    outcome = agebench("report", "--table", "mine.toml", "--runs", here.parent / "runs", "--out", "out.md")
    assert (outcome.status, says in " ".join(outcome.err.split())) == (status, True), outcome.err
    assert "Traceback" not in outcome.err
    assert not Path("out.md").exists()


def test_a_table_of_another_metric_names_it_in_csv_and_json(kept: Kept, here: Path, agebench: Run) -> None:
    kept("mine", 2.0)
    Path("mine.toml").write_text('title = "T"\nmetric = "bias"\ncolumns = ["fg-net"]\n')
    for name in ("out.csv", "out.json"):
        outcome = agebench("report", "--table", "mine.toml", "--runs", here.parent / "runs", "--out", name)
        assert outcome.status == 0, outcome.err
    (row,) = csv.DictReader(Path("out.csv").read_text().splitlines())
    assert float(row["bias"]) == pytest.approx(2.0)
    assert "mae" not in row
    (table,) = json.loads(Path("out.json").read_text())["tables"]
    assert (table["table"], table["metric"]) == (None, "bias")
    assert table["rows"][0]["cells"]["fg-net"]["bias"] == pytest.approx(2.0)


# --- report --without-leaks and --on ---------------------------------------------------------------------------


def test_without_leaks_the_error_is_computed_anew_and_the_footnote_has_both(
    kept: Kept, here: Path, agebench: Run
) -> None:
    kept("mine", np.where(np.arange(N) < 12, 0.0, 5.0), leaked=tuple(range(12)))
    for options, n, mae in (((), N, 4.0), (("--without-leaks",), N - 12, 5.0)):
        outcome = agebench("report", "--tables", "3", "--runs", here.parent / "runs", "--json", *options)
        (table,) = json.loads(outcome.out)["tables"]
        cell = table["rows"][-1]["cells"]["FG-NET"]
        assert (cell["n"], cell["mae"]) == (n, pytest.approx(mae))
    assert f"Of {N} test pictures, 12 were trained on: left out." in cell["note"]
    assert "the MAE is 4.00 years" in cell["note"]


def test_a_table_of_ones_own_leaves_leaks_out_too(kept: Kept, table: Callable[..., Table]) -> None:
    kept("mine", np.where(np.arange(N) < 12, 0.0, 5.0), leaked=tuple(range(12)))
    (row,) = table('columns = ["fg-net"]\nmetric = "bias"\n', without_leaks=True).rows
    cell = row.cells["fg-net"]
    assert cell is not None
    assert (cell.n, cell.value) == (N - 12, pytest.approx(5.0))


def test_statistics_of_a_set_are_a_document(kept: Kept, here: Path, agebench: Run) -> None:
    kept("one", 1.0)
    kept("two", 2.0, distributions=True)
    outcome = agebench("report", "--on", "fg-net", "--runs", here.parent / "runs", "--json")
    document = json.loads(outcome.out)
    assert document.keys() == {
        "command", "dataset", "protocol", "without_leaks", "estimators", "differences",
    }  # fmt: skip
    assert [one["id"] for one in document["estimators"]] == ["one", "two"]
    assert document["estimators"][0].keys() == {
        "id", "label", "n", "mae", "rmse", "bias", "balanced_mae", "cs", "groups", "calibration", "nist",
    }  # fmt: skip
    (pair,) = document["differences"]
    assert (pair["first"], pair["second"], pair["difference"]) == ("one", "two", pytest.approx(-1.0))
    assert "two" in " ".join(agebench("report", "--on", "fg-net", "--runs", here.parent / "runs").out.split()).lower()


@pytest.mark.parametrize(
    "options",
    [
        ("--on", "fg-net", "--table", "mine.toml"),
        ("--on", "fg-net", "--bundle", "b"),
        ("--on", "fg-net", "--out", "x.md"),
        ("--protocol", "leave-one-person-out"),
        ("--bundle", "b", "--out", "x.md"),
        ("--bundle", "b", "--format", "latex"),
        ("--bundle", "b", "--explain", "FG-NET"),
        ("--table", "mine.toml", "--verify"),
    ],
)
def test_options_that_would_be_ignored_are_refused(here: Path, agebench: Run, options: tuple[str, ...]) -> None:
    Path("mine.toml").write_text('title = "T"\ncolumns = ["fg-net"]\n')
    assert agebench("report", *options).status == 2
    assert [path.name for path in here.iterdir()] == ["mine.toml"]
