"""Figures of one estimator on one test set: where and how it is off."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from agebench.bench.analysis import Analysis
from agebench.bench.figures.style import colour, new_figure, only_lines_across, shades, styled
from agebench.bench.statistics.accuracy import AGE_GROUPS
from agebench.bench.statistics.calibration import Calibration

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUPINGS = {
    "age": "Age, years",
    "gender": "Gender",
    "race": "Race",
    "face_size": "Face size, pixels",
    "interocular_distance": "Distance of the eyes, pixels",
    "yaw": "Pose: degrees from the frontal view",
    "face_sharpness": "Sharpness of the face, quarters of the set",
    "sharpness": "Sharpness, quarters of the set",
    "blur": "Blur, quarters of the set",
}
ROW = 0.2  # inches of a row of text
PALEST = 0.12


@styled
def predicted_against_true(one: Analysis) -> Figure:
    """How many pictures lie at each true and predicted age (hexagons), the line of no error, and the mean estimate of
    each true age. Axes in years."""
    from matplotlib.patches import Patch

    age, predicted = one.predictions["age"].to_numpy(), one.predictions["predicted"].to_numpy()
    top = 5 * np.ceil(max(age.max(), predicted.max()) / 5 + 0.2)
    bottom = min(0.0, 5 * np.floor(predicted.min() / 5))
    figure = new_figure(4.9)
    axes = figure.subplots()
    cells = axes.hexbin(age, predicted, gridsize=30, extent=(bottom, top, bottom, top), mincnt=1, linewidths=0.2)
    counts = np.asarray(cells.get_array(), dtype=np.float64)
    most = counts.max()
    cells.set_array(None)
    cells.set_facecolor(shades("blue", _strength(counts, most)))
    cells.set_edgecolor("none")
    axes.plot([bottom, top], [bottom, top], color=colour("muted"), linewidth=1, linestyle=(0, (4, 2)), label="no error")
    means = one.predictions.group_by("age").agg(pl.col("predicted").mean()).sort("age")
    axes.plot(
        means["age"].to_numpy(), means["predicted"].to_numpy(), color=colour("orange"), label="mean of each true age"
    )
    axes.set(xlim=(bottom, top), ylim=(bottom, top), aspect="equal", xlabel="True age, years")
    axes.set_ylabel("Predicted age, years")
    shown = sorted({1, round(float(np.sqrt(most))), round(float(most))})
    tones = [
        Patch(facecolor=shades("blue", _strength(np.array([n]), most))[0], label=f"{n:,} picture{'s' * (n > 1)}")
        for n in shown
    ]
    figure.legend(handles=[*axes.get_lines(), *tones], loc="outside upper left", ncols=2, fontsize=8.5, borderaxespad=0)
    return figure


def _strength(counts: np.ndarray, most: float) -> np.ndarray:
    """Opacity by the logarithm of the count, so that a single picture can still be seen."""
    return PALEST + (1 - PALEST) * np.log(counts) / max(np.log(most), 1e-9)


@styled
def error_by_age(one: Analysis) -> Figure:
    """Mean signed error of each year of age with its 95 % interval, and beneath how many pictures there are."""
    rows = one.nist.by_age
    age, bias = rows["age"].to_numpy(), rows["bias"].to_numpy()
    figure = new_figure(3.6)
    above, below = figure.subplots(2, sharex=True, height_ratios=[3, 1])
    known = rows.filter(pl.col("bias_low").is_not_null())
    above.vlines(known["age"], known["bias_low"], known["bias_high"], color=colour("blue"), alpha=0.35, linewidth=2.2)
    above.plot(age, bias, color=colour("blue"), marker="o", markersize=2.6, linewidth=0.9)
    above.axhline(0, color=colour("text"), linewidth=0.9)
    above.set_ylabel("Signed error, years\n(above 0: too old)")
    below.bar(age, rows["n"].to_numpy(), width=0.85, color=colour("muted"))
    below.set(xlabel="True age, years", ylabel="Pictures")
    for axes in (above, below):
        only_lines_across(axes)
    figure.align_ylabels()
    return figure


@styled
def error_by_group(one: Analysis) -> Figure:
    """MAE of each group of pictures with its 95 % interval; hollow where it rests on few subjects."""
    parts = grouped(one)
    lines = sum(len(rows) + 1.4 for _, rows in parts)
    figure = new_figure(max(1.6, 0.75 + ROW * lines))
    axes = figure.subplots()
    places: list[float] = []
    names: list[str] = []
    at = 0.0
    whole = one.accuracy.mae.value
    for title, rows in parts:
        axes.vlines(whole, at + 0.5, at + len(rows) + 0.5, color=colour("muted"), linewidth=0.9, linestyle=(0, (4, 2)))
        axes.text(
            0.0, at - 0.12, title, transform=axes.get_yaxis_transform(), fontsize=9, fontweight="bold", va="center",
        )  # fmt: skip
        at += 1.0
        for row in rows.iter_rows(named=True):
            if row["mae_low"] is not None:
                axes.plot([row["mae_low"], row["mae_high"]], [at, at], color=colour("blue"), linewidth=1.8, alpha=0.6)
            face = "none" if row["few_subjects"] else colour("blue")
            axes.plot(row["mae"], at, marker="o", markersize=5.5, color=colour("blue"), markerfacecolor=face)
            axes.text(
                1.0, at, f"{row['n']:,}", transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=8.5,
                color=colour("muted"),
            )  # fmt: skip
            places.append(at)
            names.append(rounded(row["group"]))
            at += 1.0
        at += 0.4
    axes.set_yticks(places, names)
    axes.set_ylim(at - 0.4, -0.8)
    right = max([whole, *(row for _, rows in parts for row in rows["mae_high"].fill_null(rows["mae"].max() or 0))])
    axes.set_xlim(0, right * 1.18)
    axes.set_xlabel(f"MAE, years (dashed: all, {whole:.2f}); right: pictures")
    axes.tick_params(axis="y", length=0)
    only_lines_across(axes, "x")
    return figure


def grouped(one: Analysis) -> list[tuple[str, pl.DataFrame]]:
    """The groupings with several groups: title, and the rows of `breakdown`."""
    parts = [(title, one.groups.filter(by=by)) for by, title in GROUPINGS.items()]
    return [(title, rows) for title, rows in parts if len(rows) > 1]


def rounded(group: str) -> str:
    """A group's name with numbers of three digits, as edges that are quantiles have more."""
    return re.sub(r"\d+\.\d+", lambda number: f"{float(number[0]):.3g}", group)


@styled
def confusion_by_age_group(one: Analysis) -> Figure:
    """Of the pictures of each true age group, the share estimated in each age group; rows sum to 1."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Rectangle

    names = age_group_names()
    shares, counts = confusion(one.predictions)
    present = np.flatnonzero(counts).tolist()
    size = len(names)
    figure = new_figure(0.9 + 0.36 * len(present))
    axes = figure.subplots()
    squares = [[(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)] for y in range(len(present)) for x in range(size)]
    cells = PolyCollection(
        squares, facecolors=shades("blue", shares[present]), edgecolors=colour("line"), linewidths=0.5
    )
    axes.add_collection(cells)
    for y, row in enumerate(present):
        axes.add_patch(Rectangle((row, y), 1, 1, fill=False, edgecolor=colour("text"), linewidth=1.1))
        for x, share in enumerate(shares[row]):
            if share >= 0.005:
                axes.text(
                    x + 0.5, y + 0.5, f"{share:.0%}".rstrip("%"), ha="center", va="center", fontsize=8.5,
                    color=colour("back" if share > 0.72 else "text"),
                )  # fmt: skip
    axes.set(xlim=(0, size), ylim=(len(present), 0))
    axes.set_xticks(np.arange(size) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8.5)
    axes.set_yticks(np.arange(len(present)) + 0.5, [f"{names[row]}  (n = {counts[row]:,})" for row in present])
    axes.set(xlabel="Predicted age group", ylabel="True age group")
    axes.grid(False)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    return figure


def confusion(predictions: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(G, G) share of the pictures of each true age group (row) estimated in each age group, and (G,) pictures; a group
    without pictures has shares of 0. The groups are those of the balanced MAE."""
    size = len(AGE_GROUPS)
    true, found = (
        np.searchsorted(AGE_GROUPS, predictions[name].to_numpy(), side="right").clip(1) - 1
        for name in ("age", "predicted")
    )
    table = np.bincount(true * size + found, minlength=size * size).reshape(size, size)
    counts = table.sum(axis=1)
    return table / np.maximum(counts, 1)[:, None], counts


def age_group_names() -> list[str]:
    """`0–9`, …, `70+`."""
    return [*(f"{low}–{high - 1}" for low, high in pairwise(AGE_GROUPS)), f"{AGE_GROUPS[-1]}+"]


@styled
def calibrated(found: Calibration) -> Figure:
    """Left: how often the true age lies in the central interval of each level. Right: the probability integral
    transform in tenths, flat where the distributions are calibrated."""
    figure = new_figure(2.7)
    left, right = figure.subplots(1, 2)
    levels, covered = list(found.coverage), list(found.coverage.values())
    _diagonal(left)
    left.plot(levels, covered, color=colour("blue"), marker="o", markersize=4.5)
    left.set(xlim=(0, 1), ylim=(0, 1), xlabel="Level of the interval", ylabel="Share of ages inside")
    width = 1 / len(found.pit)
    right.bar([(i + 0.5) * width for i in range(len(found.pit))], found.pit, width=width * 0.9, color=colour("blue"))
    right.axhline(width, color=colour("muted"), linewidth=1, linestyle=(0, (4, 2)))
    right.set(xlim=(0, 1), xlabel="PIT of the true age", ylabel="Share of pictures")
    only_lines_across(right)
    return figure


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=colour("muted"), linewidth=1, linestyle=(0, (4, 2)))
