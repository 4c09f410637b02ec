"""The look of all figures, and writing them: the same figure always gives the same bytes.

Colours are the review page's and, for several lines, near those of Okabe and Ito ("Color Universal Design", 2008): they
contrast at least 3:1 with the page and can be told apart with any of the common colour vision deficiencies. On a page
they are CSS variables, so that one drawing follows the reader's light or dark theme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

if TYPE_CHECKING:  # importing matplotlib takes a second, and most commands draw nothing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")
WIDTH = 4.8  # inches: the text is readable on a telephone and, halved, in a column of print
LIGHT = {
    "text": "#1b1f27", "muted": "#545c69", "line": "#d4d9e1", "back": "#fffffe", "blue": "#1f56a8", "orange": "#c44e00",
    "green": "#009e73", "purple": "#c25fa6",
}  # fmt: skip
DARK = {
    "text": "#e8ebf0", "muted": "#a7b0be", "line": "#363e4b", "back": "#1b2029", "blue": "#6aa3ff", "orange": "#f07a2a",
    "green": "#12a67c", "purple": "#e9a3cf",
}  # fmt: skip
SERIES = ("blue", "orange", "green", "purple", "text")
LINES = ("-", (0, (5, 2)), (0, (1.2, 1.5)), (0, (6, 2, 1.2, 2)), (0, (9, 2, 2, 2, 2, 2)))


def colour(name: str) -> str:
    """The colour of that name in print."""
    return LIGHT[name]


def shades(name: str, strengths: Any) -> Any:
    """(N, 4) RGBA of a colour at each strength, 0 to 1, as its opacity: it works on white and on black alike."""
    import numpy as np
    from matplotlib.colors import to_rgb

    strengths = np.asarray(strengths, dtype=np.float64).ravel()
    return np.column_stack([np.tile(to_rgb(LIGHT[name]), (len(strengths), 1)), strengths])


def series(number: int) -> dict[str, Any]:
    """Colour and line style of the nth of several lines: 25 that differ."""
    return {"color": LIGHT[SERIES[number % len(SERIES)]], "linestyle": LINES[number // len(SERIES) % len(LINES)]}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's defaults with ours, whatever the reader's own settings are."""
    import matplotlib

    own: dict[Any, Any] = {
        "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 9, "xtick.labelsize": 9,
        "ytick.labelsize": 9, "font.family": ["DejaVu Sans"], "text.parse_math": False, "axes.unicode_minus": True,
        "text.color": LIGHT["text"], "axes.labelcolor": LIGHT["text"], "axes.edgecolor": LIGHT["muted"],
        "xtick.color": LIGHT["muted"], "ytick.color": LIGHT["muted"], "xtick.labelcolor": LIGHT["text"],
        "ytick.labelcolor": LIGHT["text"], "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
        "axes.axisbelow": True, "grid.color": LIGHT["line"], "grid.linewidth": 0.6, "axes.linewidth": 0.8,
        "axes.facecolor": "none", "legend.frameon": False, "lines.linewidth": 1.6, "svg.hashsalt": "agebench",
        "figure.constrained_layout.use": True, "pdf.fonttype": 42,
    }  # fmt: skip
    defaults: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if "backend" not in key}
    with matplotlib.rc_context(defaults | own), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a name in a script that the font lacks
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A function that draws a figure in the house style."""

    @wraps(draw)
    def drawn(*args: P.args, **named: P.kwargs) -> Figure:
        with house_style():
            return draw(*args, **named)

    return drawn


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure; inches. It belongs to no window and no list of open figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def only_lines_across(axes: Axes, direction: str = "y") -> None:
    """Grid lines in one direction only: `y` has horizontal ones."""
    axes.grid(False, axis="x" if direction == "y" else "y")


def short(text: str, most: int = 42) -> str:
    """One line of printable text, cut off with an ellipsis."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def as_pdf(figure: Figure) -> bytes:
    """A figure for print, without a date."""
    return _saved(figure, "pdf", {"CreationDate": None, "Creator": "agebench", "Producer": None})


def as_svg(figure: Figure) -> bytes:
    """A figure as a file that looks alike everywhere: letters are outlines, the back is white, there is no date."""
    return _saved(figure, "svg", {"Date": None, "Creator": "agebench"})


def inline_svg(figure: Figure, name: str, label: str) -> str:
    """A figure as an element for a page: letters are text in the page's font, colours are CSS variables.

    name: unique on the page, prefixes the ids. label: what a screen reader says.
    """
    import html

    text = _saved(figure, "svg", {"Date": None, "Creator": None, "Format": None, "Type": None}, page=True).decode()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>\*\{.*?</style>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    text = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for key, value in LIGHT.items():
        text = text.replace(value, f"var(--{key})")
    box = re.search(r'viewBox="[^"]+"', text)
    assert box is not None
    body = text[text.index(">") + 1 :]
    body = re.sub(r"\s*\n\s*", "\n", body)
    return f'<svg {box[0]} role="img" aria-label="{html.escape(label)}" class="figure">{body}'.strip()


def _saved(figure: Figure, form: str, metadata: dict[str, str | None], *, page: bool = False) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with house_style(), matplotlib.rc_context({"svg.fonttype": "none" if page else "path"}):
        figure.savefig(buffer, format=form, metadata=metadata, facecolor="none" if page else "white")
    return buffer.getvalue()
