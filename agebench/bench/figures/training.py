"""Figures of how a network was trained, and of the records it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from agebench.bench.figures.style import colour, new_figure, only_lines_across, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = {"reject": ("orange", "rejected"), "review": ("purple", "waits for review")}


@styled
def training_curves(metrics: pl.DataFrame) -> Figure:
    """Loss, and beneath the MAE on the validation side (years), by training step. metrics: as `Run.metrics` has it."""
    figure = new_figure(3.4)
    above, below = figure.subplots(2, sharex=True)
    dots = {"marker": "o", "markersize": 3.5 if len(metrics) < 60 else 0}
    above.plot(metrics["step"], metrics["loss"], color=colour("blue"), **dots)
    above.set_ylabel("Training loss")
    if "val_mae" in metrics.columns:
        measured = metrics.filter(pl.col("val_mae").is_not_null())
        below.plot(measured["step"], measured["val_mae"], color=colour("orange"), marker="o", markersize=3.5)
    below.set(xlabel="Step", ylabel="Validation MAE, years")
    figure.align_ylabels()
    return figure


@styled
def curation_funnel(funnel: pl.DataFrame) -> Figure:
    """How many records are left after each check that took some. funnel: as `Manifest.funnel` has it."""
    from matplotlib.patches import Patch

    total = int(funnel["records"][0])
    steps = [row for row in funnel.iter_rows(named=True) if row["verdict"] in VERDICTS and row["records"]]
    kept = int(funnel.filter(pl.col("verdict") == "keep")["records"].sum())
    rows = [("records of the release", 0, total, "muted", f"{total:,}")]
    left = total
    for step in steps:
        n = int(step["records"])
        left -= n
        rows.append((step["step"].replace("_", " "), left, n, VERDICTS[step["verdict"]][0], f"−{n:,}"))
    rows.append(("kept", 0, kept, "blue", f"{kept:,} ({kept / max(total, 1):.0%})"))
    figure = new_figure(0.75 + 0.23 * len(rows))
    axes = figure.subplots()
    for place, (_, start, width, tone, text) in enumerate(rows):
        axes.barh(place, width, left=start, height=0.72, color=colour(tone))
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, total or 1), xlabel="Records")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)
    only_lines_across(axes, "x")
    taken = list(dict.fromkeys(step["verdict"] for step in steps))
    if taken:
        handles = [Patch(color=colour(VERDICTS[verdict][0]), label=VERDICTS[verdict][1]) for verdict in taken]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, borderaxespad=0)
    return figure


@styled
def ages_before_and_after(ages: pl.DataFrame) -> Figure:
    """Records of each year of age in the release and after curation; beneath, draws in an epoch where there is a
    balance plan. ages: columns age (years), released, curated, and drawn (null where there is no plan)."""
    planned = ages["drawn"].null_count() == 0 and len(ages) > 0
    figure = new_figure(3.8 if planned else 2.4)
    panels = figure.subplots(2 if planned else 1, sharex=True, squeeze=False)[:, 0]
    edges = np.append(ages["age"].to_numpy(), ages["age"][-1] + 1) - 0.5
    panels[0].stairs(ages["released"].to_numpy(), edges, fill=True, color=colour("muted"), alpha=0.4, label="release")
    panels[0].stairs(ages["curated"].to_numpy(), edges, fill=True, color=colour("blue"), label="after curation")
    panels[0].set_ylabel("Records")
    figure.legend(loc="outside upper right", ncols=2, borderaxespad=0)
    if planned:
        panels[1].stairs(ages["drawn"].to_numpy(), edges, fill=True, color=colour("green"))
        panels[1].set_ylabel("Draws in an epoch,\nbalanced")
    panels[-1].set_xlabel("Age, years")
    for axes in panels:
        only_lines_across(axes)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    figure.align_ylabels()
    return figure
