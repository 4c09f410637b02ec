"""Statistics of every estimator on a test set, for a terminal: `agebench report --on`."""

from __future__ import annotations

from collections.abc import Sequence

import rich.table
from rich.console import Group, RenderableType
from rich.text import Text

from agebench.bench.analysis import Analysis
from agebench.bench.statistics.accuracy import Estimate
from agebench.bench.statistics.comparison import Difference, to_best
from agebench.bench.statistics.groups import FEW_SUBJECTS
from agebench.bench.statistics.nist import Rate

WORDS = {"face_size": "face size, px", "interocular_distance": "eye distance, px", "yaw": "yaw, degrees"}
WORDS |= {"face_sharpness": "face sharpness", "age": "age, years"}
EMPTY = "-"


def as_rich(measured: Sequence[Analysis], differences: Sequence[Difference], heading: str) -> RenderableType:
    """All tables. measured: the best first. differences: of all pairs; the table has those with the best."""
    few = any(one.groups["few_subjects"].any() for one in measured)
    return Group(
        Text(heading, style="bold"),
        _errors(measured),
        Text(),
        _groups(measured),
        *([Text(f"* Fewer than {FEW_SUBJECTS} subjects.")] if few else []),
        Text(),
        _nist(measured),
        Text(),
        *_differences(measured, differences),
    )


def _table(*names: str) -> rich.table.Table:
    made = rich.table.Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, name in enumerate(names):
        made.add_column(name, justify="right" if i else "left", overflow="fold")
    return made


def _errors(measured: Sequence[Analysis]) -> RenderableType:
    table = _table("estimator", "n", "MAE, years", "RMSE", "bias", "CS(5)", "balanced MAE", "90 % covers")
    for one in measured:
        found = one.accuracy
        covered = f"{one.calibration.coverage[0.9]:.0%}" if one.calibration else EMPTY
        table.add_row(
            Text(one.label), f"{found.n:,}", _with_interval(found.mae), f"{found.rmse.value:.2f}",
            f"{found.bias.value:+.2f}", f"{found.cs[5].value:.0%}", f"{found.balanced_mae.value:.2f}", covered,
        )  # fmt: skip
    return table


def _groups(measured: Sequence[Analysis]) -> RenderableType:
    """MAE and bias of every group, a column an estimator."""
    table = _table("MAE (bias), years", "n", *(f"[{i}]" for i in range(1, len(measured) + 1)))
    found = [{(row["by"], row["group"]): row for row in one.groups.iter_rows(named=True)} for one in measured]
    previous = ""
    for by, group in found[0]:
        if by != previous:
            table.add_row(Text(WORDS.get(by, by), style="bold"))
            previous = by
        rows = [groups.get((by, group)) for groups in found]
        first = found[0][by, group]
        mark = "*" if first["few_subjects"] else ""
        cells = [EMPTY if row is None else f"{row['mae']:.2f} ({row['bias']:+.1f})" for row in rows]
        table.add_row(Text(f"  {group}{mark}"), f"{first['n']:,}", *cells)
    names = Text("\n".join(f"[{i}] {one.label}" for i, one in enumerate(measured, 1)))
    return Group(names, table)


def _nist(measured: Sequence[Analysis]) -> RenderableType:
    table = _table("as NIST's age evaluation", "Challenge-25 false positives", "MAE 18–30", "13–16 found", "8–12 MAE")
    for one in measured:
        figures = one.nist
        children = {row["group"]: row for row in figures.children.iter_rows(named=True)}.get("8 to 12")
        mae = figures.mae_18_30
        table.add_row(
            Text(one.label), _rate(figures.challenge25), EMPTY if mae is None else f"{mae.value:.2f}",
            _rate(figures.in_13_to_16["13 to 16"]), EMPTY if children is None else f"{children['mae']:.2f}",
        )  # fmt: skip
    return table


def _differences(measured: Sequence[Analysis], differences: Sequence[Difference]) -> list[RenderableType]:
    if len(measured) < 2:
        return []
    best = measured[0]
    labels = {one.id: one.label for one in measured}
    table = _table(f"MAE beyond that of {best.label}", "n", "years", "95 % interval", "p (Holm)")
    for one in to_best(differences, best.id):
        if one.difference is None:
            continue
        interval = "{:+.2f} to {:+.2f}".format(*one.interval) if one.interval else EMPTY
        p = EMPTY if one.p_holm is None else f"{one.p_holm:.3f}"
        table.add_row(Text(labels[one.first]), f"{one.n:,}", f"{one.difference:+.2f}", interval, p)
    pairs = len(differences)
    note = f"Paired over pictures, subjects drawn anew; p corrected for all {pairs} pairs." if pairs > 1 else ""
    return [table, *([Text(note)] if note else [])]


def _with_interval(one: Estimate) -> str:
    return f"{one.value:.2f}" + (f" ({one.interval[0]:.2f}–{one.interval[1]:.2f})" if one.interval else "")


def _rate(one: Rate) -> str:
    return EMPTY if one.value is None else f"{one.value:.1%} of {one.n:,}"
