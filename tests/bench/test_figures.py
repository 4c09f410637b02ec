"""What the figures show is what the statistics say, and the same predictions give the same files."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb
from skimage.color import deltaE_ciede2000, rgb2lab

from agebench.bench.analysis import Analysis, compared
from agebench.bench.figures import comparisons, drawings, errors, file_names, training, write_figures
from agebench.bench.figures.style import DARK, LIGHT, SERIES, as_pdf, as_svg, inline_svg, series
from agebench.bench.findings import Curation, Findings, MeasuredSet, Training
from agebench.bench.statistics.comparison import to_best
from agebench.errors import StorageError

from .made_up import analysed

NASTY = '50% of <b>_x_</b> & $y$ "quoted" \\frac{1}{2}'


@pytest.fixture(scope="module")
def one() -> Analysis:
    return analysed("Sure", off=5, bias=2, distributions=True)


@pytest.fixture(scope="module")
def measured(one: Analysis) -> MeasuredSet:
    several = [analysed("Better", off=3, seed=1), one, analysed(NASTY, id="nasty", off=9, seed=2)]
    return MeasuredSet("fg-net", "", "FG-NET", several, compared(several))


def test_mean_estimates_and_the_line_of_no_error(one: Analysis) -> None:
    figure = errors.predicted_against_true(one)
    axes = figure.axes[0]
    diagonal, means = axes.get_lines()
    assert (diagonal.get_xdata() == diagonal.get_ydata()).all()
    expected = one.predictions.group_by("age").agg(pl.col("predicted").mean()).sort("age")
    assert np.asarray(means.get_xdata()).tolist() == expected["age"].to_list()
    assert means.get_ydata() == pytest.approx(expected["predicted"].to_numpy())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_xlim()[1] > one.predictions["predicted"].max()  # type: ignore[operator]
    hexagons = axes.collections[0].get_facecolors()  # type: ignore[attr-defined]
    assert 20 < len(hexagons) <= len(one.predictions)
    assert hexagons[:, 3].min() == pytest.approx(errors.PALEST)
    assert hexagons[:, 3].max() == 1


def test_signed_errors_and_counts_of_each_age(one: Analysis) -> None:
    above, below = errors.error_by_age(one).axes
    rows = one.nist.by_age
    assert above.get_lines()[0].get_ydata() == pytest.approx(rows["bias"].to_numpy())
    assert [bar.get_height() for bar in below.patches] == rows["n"].to_list()
    assert sum(bar.get_height() for bar in below.patches) == len(one.predictions)  # type: ignore[attr-defined]


def test_every_group_has_its_dot_interval_and_count(one: Analysis) -> None:
    axes = errors.error_by_group(one).axes[0]
    order = [row for by in errors.GROUPINGS for row in one.groups.filter(by=by).iter_rows(named=True)]
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    intervals = [line for line in axes.get_lines() if line.get_marker() != "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([row["mae"] for row in order])
    assert [dot.get_markerfacecolor() == "none" for dot in dots] == [row["few_subjects"] for row in order]
    ends = [(row["mae_low"], row["mae_high"]) for row in order if row["mae_low"] is not None]
    assert [tuple(line.get_xdata()) for line in intervals] == ends
    texts = [text.get_text() for text in axes.texts]
    assert [text for text in texts if text.replace(",", "").isdigit()] == [f"{row['n']:,}" for row in order]
    assert {"Age, years", "Gender", "Face size, pixels"} <= set(texts)
    assert axes.get_xlim()[1] > max(high for _, high in ends)


def test_confusion_has_row_shares(one: Analysis) -> None:
    shares, counts = errors.confusion(one.predictions)
    assert counts.sum() == len(one.predictions)
    assert shares[counts > 0].sum(axis=1) == pytest.approx(1)
    frame = one.predictions
    twenties = frame.filter(pl.col("age").is_between(20, 29))
    assert shares[2, 3] == (twenties["predicted"].is_between(30, 40, closed="left")).mean()
    axes = errors.confusion_by_age_group(one).axes[0]
    assert len(axes.get_yticklabels()) == (counts > 0).sum()
    assert axes.get_yticklabels()[0].get_text() == f"0–9  (n = {counts[0]:,})"
    shown = [text.get_text() for text in axes.texts]
    assert shown == [f"{share:.0%}"[:-1] for share in shares[counts > 0].ravel() if share >= 0.005]


def test_coverage_and_pit(one: Analysis) -> None:
    known = one.calibration
    assert known is not None
    left, right = errors.calibrated(known).axes
    assert left.get_lines()[1].get_xdata() == pytest.approx(list(known.coverage))
    assert left.get_lines()[1].get_ydata() == pytest.approx(list(known.coverage.values()))
    assert [bar.get_height() for bar in right.patches] == pytest.approx(known.pit)  # type: ignore[attr-defined]


def test_cumulative_scores_of_all_estimators(measured: MeasuredSet) -> None:
    above, below = comparisons.cumulative_scores(measured.measured).axes
    assert len(above.get_lines()) == len(measured.measured)
    for line, each in zip(above.get_lines(), measured.measured, strict=True):
        assert line.get_ydata() == pytest.approx([100 * score.value for score in each.accuracy.cs.values()])
    legend = below.get_legend()
    assert legend is not None
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[0] == f"Better ({measured.measured[0].accuracy.cs[5.0].value:.0%})"
    assert len(texts) == 3


def test_differences_are_counted_from_the_best(measured: MeasuredSet) -> None:
    best, *others = measured.measured
    axes = comparisons.differences_from_best(measured.differences, measured.labels, best.id).axes[0]
    dots = [line for line in axes.get_lines() if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(
        [other.accuracy.mae.value - best.accuracy.mae.value for other in others]
    )
    holm = {pair.second: pair.p_holm for pair in measured.differences if pair.first == best.id}
    texts = " ".join(text.get_text() for text in axes.texts)
    for other in others:
        assert f"p {comparisons.p_text(holm[other.id] or 0)}" in texts
    turned = to_best(measured.differences, others[0].id)
    assert [pair.first for pair in turned] == [best.id, others[1].id]
    assert turned[0].difference == pytest.approx(best.accuracy.mae.value - others[0].accuracy.mae.value)
    assert turned[0].interval is not None
    assert turned[0].interval[0] < turned[0].difference < turned[0].interval[1] < 0


def test_training_curves() -> None:
    metrics = pl.DataFrame({"step": [10, 20, 30], "loss": [5.0, 3.0, 2.0], "val_mae": [None, 9.0, 8.0]})
    above, below = training.training_curves(metrics).axes
    assert above.get_lines()[0].get_ydata().tolist() == [5, 3, 2]  # type: ignore[union-attr]
    assert (below.get_lines()[0].get_xdata().tolist(), below.get_lines()[0].get_ydata().tolist()) == ([20, 30], [9, 8])  # type: ignore[union-attr]
    assert not training.training_curves(metrics.drop("val_mae")).axes[1].get_lines()


def funnel() -> pl.DataFrame:
    rows = [
        (0, "records", None, 100),
        (1, "no_face", "reject", 30),
        (2, "missing", "reject", 0),
        (3, "odd", "review", 8),
        (1000000, "kept", "keep", 62),
    ]
    return pl.DataFrame(rows, ["position", "step", "verdict", "records"], orient="row")


def ages(drawn: int | None) -> pl.DataFrame:
    counts = {"age": [0, 1, 2], "released": [40, 50, 10], "curated": [30, 30, 2], "drawn": [drawn] * 3}
    return pl.DataFrame(counts, schema_overrides={"drawn": pl.Int64})


def test_the_funnel_falls_from_the_release_to_what_is_kept() -> None:
    axes = training.curation_funnel(funnel()).axes[0]
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 100), (70, 30), (62, 8), (0, 62)]  # type: ignore[attr-defined]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "records of the release",
        "no face",
        "odd",
        "kept",
    ]
    assert [text.get_text() for text in axes.texts] == ["100", "−30", "−8", "62 (62%)"]


def test_ages_before_and_after_curation_and_balance() -> None:
    above, below = training.ages_before_and_after(ages(25)).axes
    assert [patch.get_data().values.tolist() for patch in above.patches] == [[40, 50, 10], [30, 30, 2]]  # type: ignore[attr-defined]
    assert below.patches[0].get_data().values.tolist() == [25, 25, 25]  # type: ignore[attr-defined]
    assert len(training.ages_before_and_after(ages(None)).axes) == 1


def test_the_same_predictions_give_the_same_bytes_whatever_the_readers_settings() -> None:
    first = errors.confusion_by_age_group(analysed("A"))
    files = as_svg(first), as_pdf(first), inline_svg(first, "a", "A")
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": "other", "lines.linewidth": 9, "pdf.fonttype": 3}):
        again = errors.confusion_by_age_group(analysed("A"))
        assert (as_svg(again), as_pdf(again), inline_svg(again, "a", "A")) == files
    assert b"<dc:date>" not in files[0]
    assert b"CreationDate" not in files[1]


def test_a_figure_on_a_page_takes_its_colours_and_font_from_there(measured: MeasuredSet) -> None:
    text = inline_svg(comparisons.cumulative_scores(measured.measured), "name", NASTY)
    ElementTree.fromstring(text.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1))
    assert not [value for value in LIGHT.values() if value in text]
    assert {f"var(--{name})" for name in ("text", "blue", "orange", "line")} <= set(re.findall(r"var\(--\w+\)", text))
    assert "DejaVu" not in text
    assert all(id.startswith("name-") for id in re.findall(r' id="([^"]+)"', text))
    assert "50% of &lt;b&gt;_x_&lt;/b&gt; &amp; $y$" in text  # no formula is read out of it
    assert "http" not in text


def only(curations: int = 1) -> Findings:
    """A training and a curation, which are quickly drawn."""
    metrics = pl.DataFrame({"step": [10, 20], "loss": [5.0, 3.0]})
    curation = Curation(Path("a.duckdb"), "imdb-wiki", "IMDB-WIKI", "imdb-wiki-paper", funnel(), ages(25), "plan", None)
    return Findings([], [Training("quick-1", "Quick", metrics)], [curation] * curations)


def test_files_are_named_by_what_they_show(one: Analysis, tmp_path: Path) -> None:
    twice = MeasuredSet("fg-net", "", "FG-NET", [one, replace(one, id="sure-2")], [])
    assert file_names(twice) == {"sure": "sure", "sure-2": "sure-2"}
    names = [drawing.name for drawing in drawings(Findings([twice], [], []))]
    assert len(set(names)) == len(names)
    assert "fg-net-predicted-against-true-sure-2" in names
    steps: list[tuple[int, int]] = []
    written = write_figures(only(), tmp_path / "deep" / "figures", lambda *step: steps.append(step))
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert {path.name for path in (tmp_path / "deep" / "figures").iterdir()} == {
        f"{name}.{form}"
        for name in ("training-quick-1", "imdb-wiki-curation-funnel", "imdb-wiki-ages")
        for form in ("svg", "pdf")
    }
    assert all(path.read_bytes().startswith((b"<?xml", b"%PDF")) for path in written)


def test_nothing_is_written_unless_all_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="--figures"):
        write_figures(only(0), tmp_path / "file")
    monkeypatch.setattr(training, "curation_funnel", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_figures(only(), tmp_path / "figures")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_estimators_without_distributions_groups_or_spread_are_drawn() -> None:
    frame = pl.DataFrame(
        {"part": ["a"] * 3, "path": ["1", "2", "3"], "subject_id": ["x"] * 3, "age": [30, 30, 31], "face_no": [0] * 3,
         "leak": pl.Series([None] * 3, dtype=pl.Utf8)}
    )  # fmt: skip
    lonely = MeasuredSet("fg-net", "", "FG-NET", [analysed("A", frame=frame)], [])
    names = {drawing.name: as_svg(drawing.draw()) for drawing in drawings(Findings([lonely], [], []))}
    assert set(names) == {
        f"fg-net-{what}" for what in ("cumulative-scores", "predicted-against-true-a", "error-by-age-a", "confusion-a")
    }


def test_25_estimators_have_lines_that_differ() -> None:
    assert len({str(series(number)) for number in range(25)}) == 25


@pytest.mark.parametrize(("theme", "page"), [(LIGHT, "#ffffff"), (DARK, "#1b2029")])
def test_colours_can_be_told_apart_with_colour_vision_deficiencies(theme: dict[str, str], page: str) -> None:
    """Simulated after Machado et al. (2009), severity 1; differences by CIEDE2000, contrast as in WCAG."""
    simulated = {
        "none": np.eye(3),
        "protanopia": [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        "deuteranopia": [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.01182, 0.04294, 0.968881],
        ],
        "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }

    def linear(colour: str) -> np.ndarray:
        rgb = np.array(to_rgb(colour))
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)

    def seen(colour: str, matrix: np.ndarray) -> np.ndarray:
        light = (np.asarray(matrix) @ linear(colour)).clip(0, 1)
        rgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
        return rgb2lab(rgb[None, None])[0, 0]

    def luminance(colour: str) -> float:
        return float(linear(colour) @ [0.2126, 0.7152, 0.0722])

    for name in SERIES:
        darker, lighter = sorted([luminance(theme[name]), luminance(page)])
        assert (lighter + 0.05) / (darker + 0.05) >= 3, name
    for kind, matrix in simulated.items():
        for first, second in combinations(SERIES, 2):
            apart = deltaE_ciede2000(seen(theme[first], matrix), seen(theme[second], matrix))
            assert apart > 10, (kind, first, second)


def test_commands_that_draw_nothing_import_no_matplotlib() -> None:
    program = (
        "import sys, agebench.cli, agebench.bench.page, agebench.bench.report; sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    draws = (
        "import sys; from agebench.bench.figures.style import as_svg, new_figure; as_svg(new_figure(1)); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", draws], check=False).returncode == 0
