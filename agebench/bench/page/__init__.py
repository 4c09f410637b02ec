"""The report as one HTML file: tables, statistics of every test set, figures, trainings, curations, and its origin.

It refers to nothing outside itself, has no script, and follows the reader's light or dark theme.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import resources
from importlib.metadata import version
from itertools import count

from agebench.bench.figures import of_curation, of_training
from agebench.bench.figures.style import DARK, LIGHT
from agebench.bench.findings import Curation, Findings
from agebench.bench.page.elements import escaped, figures, in_a_box, with_code
from agebench.bench.page.sets import measured_set
from agebench.bench.render import as_html, caption
from agebench.bench.tables import Table

PACKAGES = ("agebench", "numpy", "polars", "scipy", "matplotlib")
PAGE = {"light": "#f6f7f9", "dark": "#12151b"}
MEANINGS = {
    "MAE": "mean absolute error, years; RMSE: root of the mean squared error; bias: mean of estimate minus true age",
    "Balanced MAE": "mean of the MAEs of the age groups 0–9, 10–19, …, 70 and over that have pictures",
    "CS(5)": "cumulative score: share of pictures at most 5 years off",
    "Intervals": "95 %, from a bootstrap that draws subjects, not pictures, with replacement",
    "p": "two-sided, of no difference on the pictures that both predicted, after Holm's correction over all pairs",
    "Challenge 25": "share of the pictures of people below 18 that are estimated at 25 or more (NIST FATE AEV)",
}


def html_report(
    tables: Sequence[Table],
    found: Findings,
    *,
    command: str,
    made: datetime,
    show_faces: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> str:
    """The page. command: what was run; made: when. show_faces: whether examples show faces, which are personal data.
    on_progress: gets how many estimators are done, and of how many."""
    estimators = sum(len(measured.measured) for measured in found.sets)
    done = count(1)

    def advance() -> None:
        if on_progress:
            on_progress(next(done), estimators)

    parts: list[tuple[str, str, str]] = [("tables", "Published tables and measured rows", _tables(tables))]
    for one in found.sets:
        parts.append((f"set-{one.name}", one.title, measured_set(one, show_faces=show_faces, advance=advance)))
    if found.trainings:
        parts.append(("training", "Training curves", figures(of_training(run) for run in found.trainings)))
    for curation in found.curations:
        parts.append((f"curation-{curation.dataset}", f"Training data: {curation.title}", _curation(curation)))
    parts.append(("about", "About this report", _about(found, command, made)))
    contents = "".join(
        f'<li><a href="#{id}">{escaped(title)}</a>{_subheadings(text)}</li>' for id, title, text in parts
    )
    body = "\n".join(f'<section id="{id}"><h2>{escaped(title)}</h2>\n{text}</section>' for id, title, text in parts)
    different = len({one.id for measured in found.sets for one in measured.measured})
    lead = f"{different} estimator{'s' * (different != 1)} measured on {len(found.sets)} test set"
    lead += f"{'s' * (len(found.sets) != 1)}; {made:%d %B %Y, %H:%M %Z}, agebench {version('agebench')}."
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<title>Age estimation: report</title>\n<style>\n{_css()}</style></head>\n<body>\n<header>"
        f'<h1>Age estimation: report</h1><p class="lead">{escaped(lead)}</p></header>\n'
        f'<nav aria-label="Contents"><ol>{contents}</ol></nav>\n<main>\n{body}\n</main>\n</body>\n</html>\n'
    )


def _subheadings(text: str) -> str:
    links = [f'<li><a href="#{id}">{title}</a></li>' for id, title in re.findall(r'<h3 id="([^"]+)">(.*?)</h3>', text)]
    return f"<ol>{''.join(links)}</ol>" if links else ""


def _css() -> str:
    def variables(theme: dict[str, str], page: str) -> str:
        return ":root { " + " ".join(f"--{name}: {value};" for name, value in theme.items()) + f" --page: {page}; }}\n"

    own = resources.files("agebench.bench.page").joinpath("style.css").read_text(encoding="utf-8")
    dark = variables(DARK, PAGE["dark"])
    return f"{variables(LIGHT, PAGE['light'])}@media screen and (prefers-color-scheme: dark) {{ {dark}}}\n{own}"


def _tables(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        text, _, notes = as_html(table).partition("</table>")
        parts.append(in_a_box(f"{text}</table>", caption(table)) + f'<div class="footnotes">{notes}</div>')
    return "\n".join(parts)


def _curation(found: Curation) -> str:
    kept = int(found.funnel.filter(verdict="keep")["records"].sum())
    total = int(found.funnel["records"][0])
    said = f"{kept:,} of {total:,} records are kept by the curation recipe {found.recipe} ({found.path})."
    return f"<p>{escaped(said)}</p><p>{with_code(audited(found))}</p>{figures(of_curation(found))}"


def audited(found: Curation) -> str:
    """What an audit of a manifest says about the labels that it keeps."""
    known = found.audit
    if not known or not known.get("interval"):
        return (
            "No audit of the kept labels was folded in, so how many of them are wrong is not known: "
            f"`agebench review audit --manifest {found.path}` draws records to read."
        )
    low, high = known["interval"]
    mistakes = f"; the readers' own error rate is estimated at {known['mistakes']:.1%}" if known.get("mistakes") else ""
    return (
        f"Labels still wrong, by an audit: {known['wrong']:.1%} of the kept records (95 % interval {low:.1%} to "
        f"{high:.1%}). Of {known['n']:,} records drawn at random {known['read']:,} were read, in {known['readings']:,} "
        f"readings, of which {known['called_wrong']:,} call the label wrong{mistakes}."
    )


def _about(found: Findings, command: str, made: datetime) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    rows = [f"<p>{escaped(name)}: {escaped(meaning)}.</p>" for name, meaning in MEANINGS.items()]
    left_out = "".join(f"<p>{with_code(line)}</p>" for line in found.left_out)
    return (
        f"<p>Made on {made:%d %B %Y at %H:%M %Z} by <code>{escaped(command)}</code> with Python "
        f"{platform.python_version()}, {escaped(versions)}.</p>"
        "<p><code>agebench report --verify</code> recomputes every measured number from the stored predictions, "
        "<code>agebench report --explain CELL</code> names the files, hashes and records behind one.</p>"
        f"<h3>What the numbers are</h3>{''.join(rows)}" + (f"<h3>Left out</h3>{left_out}" if left_out else "")
    )
