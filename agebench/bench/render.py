"""Tables in six formats: for the terminal, Markdown, LaTeX, HTML, CSV and JSON. pandas writes them."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal

import pandas as pd
import rich.table
from rich.console import Group, RenderableType
from rich.text import Text

from agebench.bench.tables import Row, Table, tables_json

Escape = Callable[[str], str]
Format = Literal["rich", "markdown", "latex", "html", "csv", "json"]
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0 .8rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #ddd; }
thead th { border-bottom: 2px solid #555; }
th:nth-child(n+3), td:nth-child(n+3) { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
small { color: #666; }
p { margin: .25rem 0; font-size: .85rem; color: #444; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #eee; } p, small { color: #bbb; } }
"""
METRICS = {
    "mae": "MAE in years",
    "rmse": "RMSE in years",
    "difference": "Difference of MAE in years",
    "bias": "Bias (estimate minus age) in years",
    "balanced_mae": "MAE in years, each age group alike",
    "cs5": "CS(5): per cent of the pictures at most 5 years off",
}
WRITTEN = ("markdown", "latex", "html", "csv", "json")
LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
        "†": r"\textdagger{}", "‡": r"\textdaggerdbl{}", "§": r"\S{}", "¶": r"\P{}", "–": "--", "±": r"$\pm$",
        "[": "{[}", "]": "{]}", '"': r"\textquotedbl{}", "`": r"\textasciigrave{}",
    }
)  # fmt: skip
CODE = r"\texttt{{}}"
MARKDOWN = str.maketrans({c: "\\" + c for c in "\\|*_<>[]`#~$"})


def render(tables: Sequence[Table], form: Format) -> str:
    """The tables as text in one of the written formats (all but `rich`, which is `as_rich`)."""
    if form == "json":
        return json.dumps(tables_json(tables), ensure_ascii=False, indent=2) + "\n"
    if form == "csv":
        return _long(tables).to_csv(index=False)
    if form == "markdown":
        return "\n".join(_markdown(table) for table in tables)
    if form == "latex":
        return "% needs the packages booktabs and textcomp\n" + "\n".join(_latex(table) for table in tables)
    if form == "html":
        body = "\n".join(as_html(table) for table in tables)
        head = '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>MAE</title>\n'
        head += f"<style>{STYLE}</style></head>"
        return f"{head}\n<body>\n{body}</body>\n</html>\n"
    raise ValueError(f"no written format '{form}', expected one of {', '.join(WRITTEN)}")


def as_rich(tables: Sequence[Table]) -> RenderableType:
    """The tables for a terminal."""
    parts: list[RenderableType] = []
    for table in tables:
        frame = as_frame(table)
        grid = rich.table.Table(title=Text(caption(table)), title_justify="left")
        for name in frame.columns:
            grid.add_column(Text(name), justify="left", overflow="fold")
        lines = _lines(table.rows)
        for line, row in zip(lines, frame.itertuples(index=False), strict=True):
            grid.add_row(*(Text(str(value)) for value in row), end_section=line)
        parts += [
            grid,
            *(Text(f"{mark} {sentence}".strip()) for mark, sentence in table.footnotes),
            *map(Text, table.hints),
            Text(),
        ]
    return Group(*parts)


def _lines(rows: Sequence[Row]) -> list[bool]:
    """After which rows there is a line: around each published row with its measured ones, and around the others."""
    published = {row.method for row in rows if row.source == "published"}
    measured = {row.beneath for row in rows if row.source == "measured"}

    def block(row: Row) -> str:
        if row.source == "published":
            return row.method if row.method in measured else "published"
        return row.beneath if row.beneath in published else "measured"

    blocks = [block(row) for row in rows]
    return [one != other for one, other in pairwise(blocks)] + [False] * bool(rows)


def caption(table: Table) -> str:
    """The table's heading, with the unit."""
    number = f"Table {table.number}. " if table.number else ""
    return f"{number}{table.title}. {METRICS[table.metric]}; measured rows with 95 % interval."


def as_frame(table: Table, escape: Escape = str, small: str = "{}") -> pd.DataFrame:
    """The table as texts: Method, Source, and its columns, each with the number of pictures that were measured.

    escape: what makes a text safe for the format. small: markup around intervals, which stand at `{}`.
    """
    rows = []
    for row in table.rows:
        texts = [escape(_line(row.method) + "".join(row.marks)), escape(row.source)]
        for column in table.columns:
            cell = row.cells.get(column)
            if cell is None:
                texts.append(escape(row.text(column)))
            else:
                detail = " " + small.replace("{}", escape(cell.detail.strip())) if cell.detail else ""
                texts.append(escape(cell.number) + detail + escape("".join(cell.marks)))
        rows.append(texts)
    heads = [f"{name} (n = {table.counts[name]:,})" if name in table.counts else name for name in table.columns]
    return pd.DataFrame(rows, columns=[escape(head) for head in ("Method", "Source", *heads)], dtype=str)


def _long(tables: Sequence[Table]) -> pd.DataFrame:
    """One row per number: for spreadsheets and scripts. All tables are of one metric."""
    names = [
        "table",
        "method",
        "source",
        "run",
        "column",
        tables[0].metric if tables else "mae",
        "ci95_low",
        "ci95_high",
        "n",
        "seeds",
        "spread",
        "note",
    ]
    rows = []
    for table in tables:
        for row in table.rows:
            for column in table.columns:
                cell = row.cells[column]
                low, high = (cell.ci95 or (None, None)) if cell else (None, None)
                values = [cell.value, low, high, cell.n, cell.seeds, cell.spread, cell.note] if cell else [None] * 7
                rows.append([table.number or None, _line(row.method), row.source, row.run, column, *values])
    return pd.DataFrame(rows, columns=names, dtype=object)


def _markdown(table: Table) -> str:
    frame = as_frame(table, _markdown_text)
    lines = [f"**{caption(table).translate(MARKDOWN)}**", "", frame.to_markdown(index=False, disable_numparse=True), ""]
    lines += [
        f"- {mark.translate(MARKDOWN)} {_commands(sentence, _markdown_text, '`{}`')}".replace("-  ", "- ")
        for mark, sentence in table.footnotes
    ]
    lines += [f"- {_commands(hint, _markdown_text, '`{}`')}" for hint in table.hints]
    return "\n".join(lines) + "\n"


def _latex(table: Table) -> str:
    styled = as_frame(table, _latex_text, r"{\footnotesize {}}").style.hide(axis="index")
    text = styled.to_latex(
        hrules=True, caption=caption(table).translate(LATEX), label=f"tab:{table.metric}-{table.number}",
        position="htbp",
        column_format=r"p{0.34\linewidth}l" + "r" * len(table.columns), environment="table",
    )  # fmt: skip
    notes = [f"{mark} {sentence}".strip() for mark, sentence in table.footnotes] + table.hints
    small = "".join(f"\\par {_commands(note, _latex_text, CODE)}\n" for note in notes)
    return str(text).replace("\\end{table}", "{\\footnotesize\n" + small + "}\n\\end{table}")


def as_html(table: Table) -> str:
    """The table and its footnotes as elements of a page."""
    text = (
        as_frame(table, _html_text, "<small>{}</small>")
        .style.hide(axis="index")
        .to_html(table_uuid=f"{table.metric}-{table.number}", caption=_html_text(caption(table)), exclude_styles=True)
    )
    notes = [f"{mark} {sentence}".strip() for mark, sentence in table.footnotes] + table.hints
    return f"{text}\n" + "".join(f"<p>{_commands(note, _html_text, '<code>{}</code>')}</p>\n" for note in notes)


def _commands(sentence: str, escape: Escape, code: str) -> str:
    """A sentence with each part between backquotes inserted into `code` at `{}`."""
    parts = sentence.split("`")
    return "".join(code.replace("{}", escape(part)) if i % 2 else escape(part) for i, part in enumerate(parts))


def _markdown_text(text: str) -> str:
    return text.translate(MARKDOWN)


def _latex_text(text: str) -> str:
    return text.translate(LATEX)


def _html_text(text: str) -> str:
    return html.escape(text, quote=False)


def _line(text: str) -> str:
    return " ".join(text.split())
