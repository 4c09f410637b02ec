"""The section of one test set: statistics of every estimator, what compares them, and each estimator by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl

from agebench.bench.analysis import Analysis
from agebench.bench.examples import examples, faces
from agebench.bench.figures import file_names, of_estimator, of_set, slug
from agebench.bench.figures.comparisons import p_text
from agebench.bench.figures.errors import GROUPINGS, rounded
from agebench.bench.findings import MeasuredSet, calibration_of
from agebench.bench.page.elements import NONE, Cell, escaped, estimate, figures, number, rate, share, table

PERSONAL = "Faces are personal data: whether they may be shown to others depends on the licence of the release."


def measured_set(found: MeasuredSet, *, show_faces: bool, advance: Callable[[], None]) -> str:
    """The section without its heading. advance: called after each estimator."""
    each = []
    for place, one in enumerate(found.measured):
        shown = figures(of_estimator(found, one)) + _examples(one, show_faces)
        is_open = " open" if place == 0 else ""
        ending = file_names(found)[one.id]
        each.append(
            f'<details id="{found.name}-{ending}"{is_open}><summary>{escaped(one.label)}</summary>'
            f"<p>{escaped(one.id)}</p>{shown}</details>"
        )
        advance()
    return "\n".join(
        [
            f"<p>{escaped(_described(found))}</p>",
            _accuracies(found),
            figures(of_set(found)),
            _differences(found),
            _groups(found),
            _nist(found),
            _calibrations(found),
            heading(found, "Each estimator"),
            *each,
        ]
    )


def heading(found: MeasuredSet, title: str) -> str:
    """A heading that the contents link to."""
    return f'<h3 id="set-{found.name}-{slug(title)}">{escaped(title)}</h3>'


def _described(found: MeasuredSet) -> str:
    first = found.measured[0].accuracy
    sizes = {one.accuracy.n for one in found.measured}
    pictures = f"{first.n:,} pictures of {first.subjects:,} subjects"
    if len(sizes) > 1:
        pictures = f"{min(sizes):,} to {max(sizes):,} pictures, as not every estimator was measured on all"
    return f"{pictures}. Ages in years; the estimator with the smallest MAE comes first. Small type: 95 % intervals."


def _accuracies(found: MeasuredSet) -> str:
    rows = []
    for one in found.measured:
        a = one.accuracy
        five = a.cs.get(5.0)
        cs = share(five.value, five.interval) if five else NONE
        rows.append(
            [
                escaped(one.label), f"{a.n:,}", estimate(a.mae), estimate(a.rmse), estimate(a.bias, sign=True), cs,
                estimate(a.balanced_mae),
            ]
        )  # fmt: skip
    head = ["Estimator", "n", "MAE", "RMSE", "Bias", "CS(5)", "Balanced MAE"]
    return heading(found, "Accuracy") + table(f"Errors on {found.title}", head, rows)


def _differences(found: MeasuredSet) -> str:
    if not found.differences:
        return ""
    labels = found.labels
    rows = [
        [
            f"{escaped(labels[pair.first])} − {escaped(labels[pair.second])}", f"{pair.n:,}",
            number(pair.difference, pair.interval, sign=True), "" if pair.p is None else escaped(p_text(pair.p)),
            "" if pair.p_holm is None else escaped(p_text(pair.p_holm)),
        ]
        for pair in found.differences
    ]  # fmt: skip
    shown = table(
        "Paired differences of MAE, years: below 0 where the first is better",
        ["First − second", "Pictures", "Difference", "p", "p (Holm)"], rows,
    )  # fmt: skip
    return f"<details><summary>All {len(rows):,} paired differences</summary>{shown}</details>"


def _groups(found: MeasuredSet) -> str:
    """MAE of each group (rows) and estimator (columns)."""
    parts: list[list[Cell]] = []
    by_id = {one.id: one.groups for one in found.measured}
    for by, title in GROUPINGS.items():
        there = [rows.filter(pl.col("by") == by) for rows in by_id.values()]
        names = list(dict.fromkeys(name for rows in there for name in rows["group"]))
        if len(names) < 2:
            continue
        parts.append([escaped(title)])
        parts += [list(_group_row(name, there)) for name in names]
    if not parts:
        return ""
    head = ["Group", "n", *(one.label for one in found.measured)]
    note = '<p class="note">MAE, years. * fewer than 20 subjects: the interval covers less often than it says.</p>'
    return heading(found, "Groups") + table(f"MAE by group on {found.title}", head, parts) + note


def _group_row(name: str, there: list[pl.DataFrame]) -> Iterator[Cell]:
    rows = [frame.filter(pl.col("group") == name) for frame in there]
    counts = {frame["n"][0] for frame in rows if len(frame)}
    yield escaped(rounded(name))
    yield f"{max(counts):,}"
    for frame in rows:
        if frame.is_empty():
            yield NONE
            continue
        row = frame.row(0, named=True)
        interval = (row["mae_low"], row["mae_high"]) if row["mae_low"] is not None else None
        text = number(row["mae"], interval)
        if row["few_subjects"]:
            before, small, after = text.partition("<small>")
            text = f"{before}*{small}{after}"
        yield text


def _nist(found: MeasuredSet) -> str:
    rows = []
    children = [f"{group}" for group in found.measured[0].nist.in_13_to_16]
    for one in found.measured:
        nist = one.nist
        by_group = {row["group"]: row for row in nist.children.iter_rows(named=True)}
        maes = [_mae_of(by_group.get(group)) for group in children]
        inside = [rate(nist.in_13_to_16[group]) for group in children]
        sexes = [f"{escaped(sex)}: {share(one_sex.value)}" for sex, one_sex in nist.challenge25_by_sex.items()]
        rows.append(
            [
                escaped(one.label), rate(nist.challenge25), "<br>".join(sexes) or NONE,
                share(nist.challenge25_balanced), estimate(nist.mae_18_30), *maes, *inside,
            ]
        )  # fmt: skip
    head = ["Estimator", "Challenge 25", "by sex", "balanced, 14 to 17", "MAE 18 to 30"]
    head += [f"MAE {group}" for group in children] + [f"{group}: in 13 to 16" for group in children]
    note = (
        '<p class="note">Challenge 25: share of the pictures of people below 18 that are estimated at 25 or more; '
        "balanced: mean over both sexes at 14, 15, 16 and 17. MAE 18 to 30: mean of the MAEs of both sexes at each "
        "year. In 13 to 16: share estimated from 13 to below 17. – where the set lacks such pictures.</p>"
    )
    return (
        heading(found, "NIST's figures")
        + table(f"Figures of NIST's age evaluation on {found.title}", head, rows)
        + note
    )


def _mae_of(row: dict[str, float] | None) -> Cell:
    if row is None:
        return NONE
    return number(row["mae"], (row["mae_low"], row["mae_high"]) if row["mae_low"] is not None else None)


def _calibrations(found: MeasuredSet) -> str:
    known = [(one, calibration) for one in found.measured if (calibration := calibration_of(one)) is not None]
    if not known:
        return ""
    levels = list(known[0][1].coverage)
    rows = [
        [
            escaped(one.label), *(share(c.coverage.get(level)) for level in levels), number(c.crps),
            f"{c.negative_log_likelihood:.2f}", f"{c.calibration_error:.3f}",
        ]
        for one, c in known
    ]  # fmt: skip
    head = ["Estimator", *(f"Inside {level:.0%}" for level in levels), "CRPS, years", "−log likelihood", "PIT error"]
    return heading(found, "Calibration") + table(f"Distributions over ages on {found.title}", head, rows)


def _examples(one: Analysis, show_faces: bool) -> str:
    chosen = examples(one)
    shown = faces(pl.concat(chosen.values()), Path(one.evaluation.manifest)) if show_faces else {}
    head = ["Picture", *(["Face"] if shown else []), "True age", "Estimate", "Error"]
    tables = []
    for title, rows in (("Largest errors", chosen["worst"]), ("Median errors", chosen["median"])):
        lines = []
        for row in rows.iter_rows(named=True):
            picture = shown.get((row["part"], row["path"]))
            face = [f'<img src="{picture}" alt="Face, {row["age"]} years">' if picture else NONE]
            lines.append(
                [
                    f'<span class="path">{escaped(row["path"])}</span>', *(face if shown else []), f"{row['age']:g}",
                    number(row["predicted"]), number(row["error"], sign=True),
                ]
            )  # fmt: skip
        tables.append(table(title, head, lines, statistics=False))
    return f'<div class="figures">{"".join(tables)}</div>' + (f'<p class="note">{PERSONAL}</p>' if shown else "")
