"""Figures that compare the estimators measured on one test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import polars as pl

from agebench.bench.analysis import Analysis
from agebench.bench.figures.style import colour, new_figure, only_lines_across, series, short, styled
from agebench.bench.statistics.comparison import Difference, to_best
from agebench.bench.statistics.groups import UNKNOWN
from agebench.bench.studies import StudySet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SURE = 0.05


@styled
def cumulative_scores(measured: Sequence[Analysis]) -> Figure:
    """CS curve of each estimator: the share of pictures that are at most so many years off."""
    height = 2.9 + 0.19 * len(measured)
    figure = new_figure(height)
    axes, below = figure.subplots(2, height_ratios=[2.9, 0.19 * len(measured)])
    below.axis("off")
    for number, one in enumerate(measured):
        scores = one.accuracy.cs
        name = f"{short(one.label)} ({scores[5.0].value:.0%})" if 5.0 in scores else short(one.label)
        axes.plot(list(scores), [100 * score.value for score in scores.values()], label=name, **series(number))
    axes.set(xlabel="Largest error θ, years", ylabel="CS(θ): share of pictures, %", ylim=(0, 100))
    axes.set_xlim(0, max(max(one.accuracy.cs) for one in measured))
    below.legend(
        *axes.get_legend_handles_labels(), loc="upper left", title="Estimator (CS(5))", alignment="left",
        handlelength=3.4, borderaxespad=0, labelspacing=0.3,
    )  # fmt: skip
    return figure


@styled
def differences_from_best(differences: Sequence[Difference], labels: Mapping[str, str], best: str) -> Figure:
    """Forest plot: how many years the MAE of each other estimator lies above that of the best, on the same pictures,
    with its 95 % interval and the p value after Holm's correction over all pairs. Hollow where p is 0.05 or more."""
    rows = [pair for pair in to_best(differences, best) if pair.difference is not None]
    figure = new_figure(0.95 + 0.42 * max(1, len(rows)))
    axes = figure.subplots()
    for place, pair in enumerate(rows):
        axes.vlines(0, place - 0.2, place + 0.42, color=colour("text"), linewidth=0.9)
        assert pair.difference is not None
        if pair.interval:
            axes.plot(pair.interval, [place, place], color=colour("blue"), linewidth=1.8, alpha=0.6)
        sure = pair.p_holm is not None and pair.p_holm < SURE
        face = colour("blue") if sure else "none"
        axes.plot(pair.difference, place, marker="o", markersize=6, color=colour("blue"), markerfacecolor=face)
        axes.text(
            0.0, place - 0.38, short(labels.get(pair.first, pair.first), 46), transform=axes.get_yaxis_transform(),
            fontsize=8.5, va="center",
        )  # fmt: skip
        p = "" if pair.p_holm is None else f"p {p_text(pair.p_holm)}"
        axes.text(
            1.0, place - 0.38, f"{pair.difference:+.2f}; {p}".rstrip("; "), transform=axes.get_yaxis_transform(),
            fontsize=8.5, va="center", ha="right", color=colour("muted"),
        )  # fmt: skip
    ends = [end for pair in rows for end in (*(pair.interval or ()), pair.difference) if end is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    edge = 0.04 * max(high - low, 0.1)
    axes.set(xlim=(low - edge, high + edge), ylim=(len(rows) - 0.5, -0.8))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"Difference of MAE, years, from\n{short(labels.get(best, best), 50)}")
    only_lines_across(axes, "x")
    return figure


def p_text(p: float) -> str:
    """`= 0.03`, `< 0.001`."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


@styled
def study(found: StudySet) -> Figure:
    """The arms of a study on one test set: MAE over all pictures with its 95 % interval, small marks for the seeds, and
    beneath it the MAE by age group."""
    arms = found.arms
    legend = 0.3 + 0.18 * len(arms)
    figure = new_figure(3.6 + 0.34 * len(arms) + legend)
    axes, below, bottom = figure.subplots(3, height_ratios=[0.55 + 0.34 * len(arms), 3.05, legend])
    bottom.axis("off")
    for place, arm in enumerate(arms):
        style = series(place)
        if arm.interval:
            axes.plot(arm.interval, [place, place], color=style["color"], linewidth=1.8, alpha=0.6)
        axes.plot(arm.seeds, [place] * len(arm.seeds), marker="|", markersize=8, linestyle="", color=style["color"])
        axes.plot(arm.mae, place, marker="o", markersize=5.5, color=style["color"])
        rows = arm.groups.filter(pl.col("group") != UNKNOWN)
        below.plot(rows["group"].to_list(), rows["mae"].to_list(), label=short(arm.label), **style)
    axes.set_yticks(range(len(arms)), [fill(short(arm.label), 24) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"MAE on {short(found.column)}, years; ticks: seeds")
    only_lines_across(axes, "x")
    below.set(xlabel="True age, years", ylabel="MAE, years")
    below.set_ylim(0)
    below.tick_params(axis="x", labelrotation=30)
    only_lines_across(below)
    bottom.legend(
        *below.get_legend_handles_labels(), loc="upper left", fontsize=8, handlelength=2.6, borderaxespad=0,
        labelspacing=0.3,
    )  # fmt: skip
    return figure
