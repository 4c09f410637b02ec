"""Pieces of HTML: numbers, tables and figures. Texts are escaped here, and nowhere else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from agebench.bench.figures import Drawing
from agebench.bench.figures.style import inline_svg
from agebench.bench.statistics.accuracy import Estimate
from agebench.bench.statistics.bootstrap import Interval
from agebench.bench.statistics.nist import Rate

NONE = "–"
Cell = str  # HTML


def escaped(text: object) -> str:
    return html.escape(" ".join(str(text).split()))


def with_code(text: str) -> str:
    """A text with each part between backquotes as code."""
    parts = escaped(text).split("`")
    return "".join(f"<code>{part}</code>" if place % 2 else part for place, part in enumerate(parts))


def number(value: float | None, interval: Interval | None = None, *, sign: bool = False) -> Cell:
    """Two decimals, and the interval beneath in small type."""
    if value is None:
        return NONE
    form = "+.2f" if sign else ".2f"
    ends = f"<small>{_minus(f'{interval[0]:{form}}')} to {_minus(f'{interval[1]:{form}}')}</small>" if interval else ""
    return _minus(f"{value:{form}}") + ends


def share(value: float | None, interval: Interval | None = None) -> Cell:
    """Per cent, and the interval beneath in small type."""
    if value is None:
        return NONE
    ends = f"<small>{interval[0]:.1%} to {interval[1]:.1%}</small>" if interval else ""
    return f"{value:.1%}{ends}".replace("%", " %")


def estimate(one: Estimate | None, *, sign: bool = False) -> Cell:
    return NONE if one is None else number(one.value, one.interval, sign=sign)


def rate(one: Rate) -> Cell:
    return share(one.value, one.interval) + (f"<small>n = {one.n:,}</small>" if one.n else "")


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], *, statistics: bool = True) -> str:
    """A table in a box of its own that scrolls sideways. head: texts. rows: the first cell names the row; a row of one
    cell is a heading within the table."""
    columns = "".join(
        f'<th scope="col"{" class=number" if place else ""}>{escaped(name)}</th>' for place, name in enumerate(head)
    )
    lines = []
    for row in rows:
        if len(row) == 1:
            lines.append(f'<tr class="part"><th scope="rowgroup" colspan="{len(head)}">{row[0]}</th></tr>')
            continue
        cells = "".join(f'<td class="number">{cell}</td>' for cell in row[1:])
        lines.append(f'<tr><th scope="row">{row[0]}</th>{cells}</tr>')
    kind = ' class="statistics"' if statistics else ""
    body = f"<thead><tr>{columns}</tr></thead><tbody>{''.join(lines)}</tbody>"
    return in_a_box(f"<table{kind}><caption>{escaped(caption)}</caption>{body}</table>", caption)


def in_a_box(content: str, label: str) -> str:
    """Content that scrolls sideways where it is wider than the page, by keyboard too."""
    return f'<div class="wide" tabindex="0" role="group" aria-label="{escaped(label)}">{content}</div>'


def figures(drawings: Iterable[Drawing]) -> str:
    """Figures side by side where there is room."""
    shown = [
        f"<figure>{inline_svg(one.draw(), one.name, one.caption)}"
        f"<figcaption>{escaped(one.caption)}</figcaption></figure>"
        for one in drawings
    ]
    return f'<div class="figures">{"".join(shown)}</div>' if shown else ""


def _minus(text: str) -> str:
    return text.replace("-", "−")
