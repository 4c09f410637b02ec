"""The six formats: every number in each of them, and no label that breaks one."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from agebench.bench.published import Published, load_published
from agebench.bench.render import WRITTEN, as_frame, as_rich, render
from agebench.bench.tables import Table, build_tables, tables_json

from .conftest import COLUMNS, result, summary

NASTY = r"50% of <b>_x_</b> & $y$ | #1 {a} ~^\ [red]`z`"


def tables_with(label: str, published: Published) -> list[Table]:
    other = result("MORPH", n=300, matches_card=False, records=300, expected=55134)
    return build_tables(published, [summary("r1", result(), other, label=label)], COLUMNS)


def terminal(tables: list[Table], width: int = 200) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(as_rich(tables))
    return console.file.getvalue()  # type: ignore[attr-defined]


class Cells(HTMLParser):
    """The texts of an HTML document's table cells."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag in ("td", "th")
        if self.inside:
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


@pytest.mark.parametrize("form", WRITTEN)
def test_every_format_has_the_numbers_and_their_marks(published: Published, form: str) -> None:
    text = render(tables_with("Mine", published), form)  # type: ignore[arg-type]
    for part in ("2.53", "7.0", "Mine", "55,134", "Trained on 1,274 records" if form not in ("csv", "json") else "r1"):
        assert part in text
    assert ("†" in text) or ("\\textdagger" in text)


def test_the_terminal_shows_all_of_it_at_any_width(published: Published) -> None:
    tables = tables_with(NASTY, published)
    text = terminal(tables)
    for part in (
        NASTY,
        "7.00 (6.70–7.30)",
        "FG-NET (n = 1,002)",
        "MAE in years",
        "Not the real MORPH",
        "agebench evaluate r1",
    ):
        assert part in text
    assert "55,134" in terminal(tables, 40).replace("\n", " ")


def test_lines_on_the_terminal_keep_a_published_row_and_its_measured_ones_together(published: Published) -> None:
    runs = [summary("r1", label="Ours"), summary("r2", label="Theirs", model="svr", published_row="SVR", tables=[3])]
    (table,) = build_tables(published, runs, COLUMNS, numbers=[3])
    shown = terminal([table]).splitlines()
    start = next(n for n, line in enumerate(shown) if "SVR[" in line and "published" in line and "CA-" not in line)
    assert "Theirs" in shown[start + 1]
    assert shown[start - 1].startswith("├")
    assert shown[start + 2].startswith("├")
    assert sum(line.startswith("├") for line in shown) == 3  # and before our own row


def test_markdown_keeps_its_columns(published: Published) -> None:
    text = render(tables_with(NASTY, published), "markdown")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {6}
    assert "\\<b\\>" in text
    assert "2.53 " in text  # numbers as they are, no trailing digit lost


def test_latex_escapes_what_is_special(published: Published) -> None:
    text = render(tables_with(NASTY, published), "latex")
    assert r"50\% of \textless{}b\textgreater{}\_x\_" in text
    assert "\\toprule" in text
    assert text.count("\\begin{table}") == text.count("\\end{table}") == 2
    for row in (line for line in text.splitlines() if line.endswith(r"\\")):
        assert len(re.findall(r"(?<!\\)&", row)) == 4
    plain = re.sub(r"\\[&%$#_{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert r"\texttt{agebench evaluate r1 --on cacd}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex on this machine")
def test_tex_compiles_the_tables(published: Published, tmp_path: Path) -> None:
    head = "\\documentclass{article}\n\\usepackage[T1]{fontenc}\n\\usepackage{booktabs,textcomp}\n\\begin{document}\n"
    text = head + render(tables_with(NASTY, published), "latex") + "\\end{document}\n"
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 1000


def test_html_escapes_what_is_special(published: Published) -> None:
    text = render(tables_with(NASTY, published), "html")
    assert "<b>" not in text
    parser = Cells()
    parser.feed(text)
    assert any(cell.startswith(NASTY) for cell in parser.texts)
    assert len(parser.texts) % 5 == 0


def test_csv_has_a_row_a_number(published: Published) -> None:
    tables = tables_with(NASTY, published)
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert len(rows) == sum(len(table.rows) * len(table.columns) for table in tables)
    mine = next(row for row in rows if row["source"] == "measured" and row["column"] == "FG-NET")
    assert (mine["method"], float(mine["mae"]), float(mine["ci95_low"]), int(mine["n"])) == (NASTY, 7.0, 6.7, 1002)


def test_json_is_the_document_of_the_contract(published: Published) -> None:
    tables = tables_with(NASTY, published)
    assert json.loads(render(tables, "json")) == tables_json(tables)


def test_the_same_tables_give_the_same_text(published: Published) -> None:
    for form in WRITTEN:
        assert render(tables_with("A", published), form) == render(tables_with("A", published), form)  # type: ignore[arg-type]


def test_an_unknown_format_is_refused(published: Published) -> None:
    with pytest.raises(ValueError, match="markdown"):
        render([], "pdf")  # type: ignore[arg-type]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_no_label_breaks_a_format(label: str) -> None:
    tables = tables_with(label, load_published())[:1]
    shown = " ".join(label.split())
    assert as_frame(tables[0])["Method"].iloc[-1].startswith(shown)
    rows = list(csv.DictReader(io.StringIO(render(tables, "csv"))))
    assert rows[-1]["method"] == shown
    assert json.loads(render(tables, "json"))["tables"][0]["rows"][-1]["method"] == label
    parser = Cells()
    parser.feed(render(tables, "html"))
    assert len(parser.texts) == 5 * (1 + len(tables[0].rows))
    markdown = [line for line in render(tables, "markdown").splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in markdown} == {6}
    for row in (line for line in render(tables, "latex").splitlines() if line.endswith(r"\\")):
        assert len(re.findall(r"(?<!\\)&", row)) == 4
    terminal(tables)
