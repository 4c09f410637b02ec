"""Which number stands in which cell, and what is said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agebench.bench.published import Published, load_published
from agebench.bench.tables import Row, Table, Waiting, build_tables, tables_json
from agebench.errors import RecipeError

from .conftest import COLUMNS, result, summary

DESIGN = {
    2: {"Cross entropy (34 layers)": (4.57, 3.94, 6.52), "Neighborhood loss (34 layers)": (2.53, 2.78, 5.23)},
    3: {
        "DEX": (2.68, 3.09, 6.52),
        "DIF": (3.80, 4.80, 8.13),
        "CA-SVR": (5.88, 4.67, 7.98),
        "SVR": (5.77, 5.66, 8.39),
        "OHRank": (5.69, 4.85, 7.54),
        "DLA": (4.77, 4.26, 7.87),
        "Neighborhood loss (18 layers)": (2.71, 3.25, 6.82),
        "Neighborhood loss (34 layers)": (2.53, 2.78, 5.23),
    },
}


def measured(table: Table) -> list[Row]:
    return [row for row in table.rows if row.source == "measured"]


def sentence(table: Table, mark: str) -> str:
    return dict(table.footnotes)[mark]


def test_pictures_of_other_bytes_than_the_cards_are_marked(published: Published) -> None:
    runs = [summary("r1", result(pictures_match=False)), summary("r2", result(pictures_match=True), seed=1, data="b")]
    for run, marked in zip(runs, (True, False), strict=True):
        (table,) = build_tables(published, [run], COLUMNS, numbers=[2])
        cell = measured(table)[0].cells["FG-NET"]
        assert cell is not None
        assert ("§" in cell.marks) is marked
        assert ("not byte for byte" in (cell.note or "")) is marked


# --- published -------------------------------------------------------------------------------------------------


def test_the_published_rows_are_the_papers(published: Published) -> None:
    tables = build_tables(published, [], COLUMNS)
    assert [table.number for table in tables] == [2, 3]
    for table in tables:
        found = {row.method: tuple(row.cells[c].value for c in ("MORPH", "FG-NET", "CACD")) for row in table.rows}  # type: ignore[union-attr]
        assert found == DESIGN[table.number]


def test_every_published_row_cites_its_own_work(published: Published) -> None:
    (table,) = build_tables(published, [], COLUMNS, numbers=[3])
    cited = {row.method: sentence(table, row.marks[0]) for row in table.rows}
    works = ("Rothe", "Han", "Chen", "Guo", "Chang", "Wang", "Kwak", "Kwak")
    for citation, author in zip(cited.values(), works, strict=True):
        assert author in citation.split(",")[0] + citation.split(",")[1]
        assert "table 3" not in citation  # said once for all rows
    (shared,) = [text for mark, text in table.footnotes if not mark]
    assert shared.startswith("Published rows are as printed in table 3 of ")


def test_without_runs_the_hints_say_what_to_train(published: Published) -> None:
    waiting = [Waiting("cross-entropy-34", "Cross entropy (34 layers)", [2]), Waiting("mine", "Mine", [2])]
    two, three = build_tables(published, [], COLUMNS, waiting=waiting)
    [hint] = two.hints
    assert hint.startswith("`agebench train MODEL`")
    assert hint.endswith(": cross-entropy-34, mine.")
    assert three.hints == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("work = {}\ntable = [", "not valid TOML"),
        ("work = {}\n[[table]]\nnumber = 2", "mistake"),
        (
            'work = {}\n[[table]]\nnumber=2\ntitle="t"\nprinted_in="a"\ncolumns=["A"]\n'
            'row=[{method="m",work="b",mae={A=1.0}}]',
            r"no \[work\] entry for a, b",
        ),
        (
            'work = {a="x"}\n[[table]]\nnumber=2\ntitle="t"\nprinted_in="a"\ncolumns=["A"]\n'
            'row=[{method="m",work="a",mae={B=1.0}}]',
            "'m' has B, expected A",
        ),
    ],
)
def test_a_broken_published_file_is_refused(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "published.toml").write_text(content)
    with pytest.raises(RecipeError, match=says):
        load_published(tmp_path)


# --- measured --------------------------------------------------------------------------------------------------


def test_a_measured_cell_has_its_interval_and_the_column_the_count(published: Published) -> None:
    (table,) = build_tables(published, [summary()], COLUMNS, numbers=[2])
    (row,) = measured(table)
    assert row.text("FG-NET") == "7.00 (6.70–7.30)"
    assert table.counts == {"FG-NET": 1002}
    assert sentence(table, row.marks[0]) == "Trained on 1,274 records of imdb-wiki. r1, seed 0."
    assert table.rows[-1] is row


def test_the_newest_run_of_a_recipe_counts(published: Published) -> None:
    runs = [
        summary("old", result(mae=9.0), finished="2024-01-01", data="x"),
        summary("new", result(mae=7.0), finished="2025-06-01", data="y"),
        summary("middle", result(mae=8.0), finished="2025-01-01", data="x"),
    ]
    (row,) = measured(build_tables(published, runs, COLUMNS)[0])
    assert row.run == "new"
    assert row.cells["FG-NET"] is not None
    assert (row.cells["FG-NET"].value, row.cells["FG-NET"].runs) == (7.0, ("new",))


def test_a_cell_that_the_newest_run_lacks_comes_from_an_older_one_and_says_so(published: Published) -> None:
    runs = [
        summary("old", result(mae=9.0), finished="2024"),
        summary("new", result("MORPH", mae=5.0, records=55134, expected=55134, n=6000), finished="2025", data="b"),
    ]
    (row,) = measured(build_tables(published, runs, COLUMNS)[0])
    assert row.cells["FG-NET"] is not None
    assert row.cells["FG-NET"].runs == ("old",)
    assert "old, seed 0" in (row.cells["FG-NET"].note or "")


def test_seeds_of_one_recipe_and_data_give_mean_and_spread(published: Published) -> None:
    runs = [
        summary("a", result(mae=6.0), seed=0, finished="1"),
        summary("b", result(mae=8.0), seed=1, finished="2"),
        summary("c", result(mae=7.0), seed=2, finished="3"),
        summary("d", result(mae=99.0), seed=2, finished="0"),  # an older run of a seed that ran again
        summary("e", result(mae=99.0), seed=3, finished="0", data="other"),
    ]
    (row,) = measured(build_tables(published, runs, COLUMNS)[0])
    cell = row.cells["FG-NET"]
    assert cell is not None
    assert (cell.value, cell.spread, cell.seeds, cell.ci95) == (7.0, 1.0, 3, None)
    assert cell.text == "7.00 ± 1.00" + cell.marks[0]
    assert "b (seed 1): 8.00" in (cell.note or "")


def test_changed_settings_have_a_row_of_their_own(published: Published) -> None:
    runs = [summary("a"), summary("b", finished="2026", settings="train.steps=10")]
    methods = [row.method for row in measured(build_tables(published, runs, COLUMNS)[0])]
    assert methods == ["Neighborhood loss (quick)", "Neighborhood loss (quick) (train.steps=10)"]


def test_a_run_stands_only_in_the_tables_of_its_recipe(published: Published) -> None:
    two, three = build_tables(published, [summary(tables=[3])], COLUMNS)
    assert (len(measured(two)), len(measured(three))) == (0, 1)


def test_another_set_than_the_columns_is_marked_in_the_cell(published: Published) -> None:
    other = result("MORPH", n=300, matches_card=False, records=300, expected=55134)
    (table,) = build_tables(published, [summary("r", other)], COLUMNS, numbers=[2])
    (row,) = measured(table)
    assert row.text("MORPH").endswith("†")
    assert sentence(table, "†") == "Not the real MORPH: 300 records, the card says 55,134."
    assert (row.cells["MORPH"].note or "").startswith("† Not the real MORPH")  # type: ignore[union-attr]


def test_the_right_count_with_other_labels_is_marked_too(published: Published) -> None:
    (table,) = build_tables(published, [summary("r", result(matches_card=False))], COLUMNS, numbers=[2])
    assert sentence(table, "†") == "Not the real FG-NET: the card's number of records, but other labels."


def test_a_set_without_proof_has_a_softer_mark(published: Published) -> None:
    unproved = result("MORPH", matches_card=None, records=55134, expected=55134)
    (table,) = build_tables(published, [summary("r", unproved, result())], COLUMNS, numbers=[2])
    (row,) = measured(table)
    assert row.text("MORPH").endswith("‡")
    assert not row.text("FG-NET").endswith("‡")
    assert "no fingerprint" in sentence(table, "‡")


def test_test_pictures_that_were_trained_on_are_counted(published: Published) -> None:
    (table,) = build_tables(
        published,
        [summary("r", result(overlap=12, near_copies=5, shared_subjects=9, undetected=3, unreadable=1))],
        COLUMNS,
        numbers=[2],
    )
    cell = measured(table)[0].cells["FG-NET"]
    assert cell is not None
    assert "¶" in cell.text
    note = cell.note or ""
    leaks = ("Of the 1,002 test pictures 12 were trained on", "5 are near copies", "9 show people who were")
    for part in (*leaks, "3 of 1,002 pictures have no detected face", "1 unreadable"):
        assert part in note


@pytest.mark.parametrize("leak", ["overlap", "near_copies", "shared_subjects", "matching_faces"])
def test_each_way_of_leaking_alone_marks_the_cell_and_has_a_footnote(published: Published, leak: str) -> None:
    (table,) = build_tables(published, [summary("r", result(**{leak: 4}))], COLUMNS, numbers=[2])
    assert measured(table)[0].text("FG-NET").endswith("¶")
    assert sentence(table, "¶").startswith("Of the 1,002 test pictures 4 ")


def test_a_set_without_a_leak_has_no_mark(published: Published) -> None:
    (table,) = build_tables(published, [summary()], COLUMNS, numbers=[2])
    assert not measured(table)[0].cells["FG-NET"].marks  # type: ignore[union-attr]


def test_an_empty_cell_says_which_command_fills_it(published: Published) -> None:
    (table,) = build_tables(published, [summary()], COLUMNS, numbers=[2])
    (row,) = measured(table)
    assert row.cells["MORPH"] is None
    both = "`agebench evaluate r1 --on morph --on cacd` fills them, after `agebench curate cacd`."
    assert sentence(table, row.blanks["MORPH"]) == both
    assert row.text("CACD") == "–" + row.blanks["CACD"] == "–" + row.blanks["MORPH"]


def test_rows_that_were_trained_alike_share_their_footnotes(published: Published) -> None:
    rows = [summary(name, model=name, label=name.upper()) for name in ("r1", "r2", "r3")]
    (table,) = build_tables(published, rows, COLUMNS, numbers=[2])
    one, two, three = measured(table)
    assert one.marks == two.marks == three.marks
    assert sentence(table, one.marks[0]) == (
        "Trained on 1,274 records of imdb-wiki. r1, seed 0; r2, seed 0; r3, seed 0."
    )  # fmt: skip
    assert one.blanks == two.blanks == three.blanks
    expected = "`agebench evaluate RUN --on morph --on cacd` fills the row of a RUN, after `agebench curate cacd`."
    assert sentence(table, one.blanks["CACD"]) == expected


def test_a_result_without_a_number_leaves_the_cell_empty(published: Published) -> None:
    for value in (None, float("nan")):
        (row,) = measured(build_tables(published, [summary("r", result(mae=value, n=0))], COLUMNS)[0])
        assert row.cells["FG-NET"] is None


def test_the_json_document_has_the_keys_of_the_contract(published: Published) -> None:
    document = tables_json(build_tables(published, [summary()], COLUMNS))
    assert document.keys() == {"command", "tables"}
    table = document["tables"][0]
    assert table.keys() == {"table", "title", "columns", "rows"}
    assert (table["table"], table["columns"]) == (2, ["MORPH", "FG-NET", "CACD"])
    first, last = table["rows"][0], table["rows"][-1]
    assert first.keys() == last.keys() == {"method", "source", "run", "cells"}
    assert (first["source"], first["run"], first["cells"]["MORPH"]["mae"]) == ("published", None, 4.57)
    assert (last["source"], last["run"], last["cells"]["MORPH"]) == ("measured", "r1", None)
    assert last["cells"]["FG-NET"] == {"mae": 7.0, "n": 1002, "ci95": [6.7, 7.3], "note": None}


def test_a_number_cropped_by_another_detector_than_the_training_is_marked(published: Published) -> None:
    (table,) = build_tables(
        published, [summary("r", result(detector="mtcnn-1", training_detector="yuface-2"))], COLUMNS, numbers=[2]
    )
    cell = measured(table)[0].cells["FG-NET"]
    assert cell is not None
    assert cell.marks
    assert "mtcnn-1" in (cell.note or "")
    assert "yuface-2" in (cell.note or "")
