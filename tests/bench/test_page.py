"""The report as one page: what it says, and how it looks in a browser at two widths, light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from agebench.bench.analysis import compared
from agebench.bench.examples import examples
from agebench.bench.findings import Curation, Findings, MeasuredSet, Training, calibration_of, findings
from agebench.bench.page import audited, html_report
from agebench.bench.published import Published
from agebench.bench.tables import build_tables

from .conftest import COLUMNS, summary
from .made_up import analysed, keep, people
from .test_figures import NASTY, ages, funnel

AUDIT = {"n": 200, "read": 150, "readings": 220, "called_wrong": 9, "wrong": 0.031, "interval": [0.012, 0.067],
         "mistakes": 0.02}  # fmt: skip


LETTERS = """() => {
  const inside = (b, box) => b.left > box.left - 2 && b.right < box.right + 2
    && b.top > box.top - 2 && b.bottom < box.bottom + 2
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3
  const found = {sizes: [], cut: [], overlapping: []}
  for (const svg of document.querySelectorAll('svg.figure')) {
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width
    const texts = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect(), t])
    for (const [text, b, t] of texts) {
      found.sizes.push(parseFloat(getComputedStyle(t).fontSize) * scale)
      if (!inside(b, box)) found.cut.push(text)
    }
    const level = texts.filter(([, , t]) => !/rotate\\(-?[1-9]/.test(t.getAttribute('transform') ?? ''))
    level.forEach(([one, a], i) => level.slice(i + 1).forEach(([other, b]) => {
      if (meet(a, b)) found.overlapping.push([svg.getAttribute('aria-label').slice(0, 60), one, other])
    }))
  }
  return found
}"""  # of the figures: sizes of letters in pixels, texts that the figure's edge cuts, pairs of level texts that overlap


@pytest.fixture(scope="module")
def found() -> Findings:
    frame = people(240)
    several = [
        analysed("Better", off=3, frame=frame, distributions=True),
        analysed(NASTY, id="nasty", off=9, seed=2, frame=frame),
    ]
    metrics = pl.DataFrame({"step": [10, 20], "loss": [5.0, 3.0], "val_mae": [None, 9.0]})
    curation = Curation(
        Path("manifests/imdb-wiki.duckdb"), "imdb-wiki", "IMDB-WIKI", "imdb-wiki-paper", funnel(), ages(25),
        "per-class-25", AUDIT,
    )  # fmt: skip
    return Findings(
        [MeasuredSet("fg-net", "", "FG-NET", several, compared(several))],
        [Training("neighborhood-1", "Neighborhood loss", metrics)],
        [curation],
        ["The training of x is left out: `weights` are gone."],
    )


@pytest.fixture(scope="module")
def page(found: Findings, published: Published) -> str:
    tables = build_tables(published, [summary("r1", label=NASTY)], COLUMNS)
    made = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
    return html_report(tables, found, command="agebench report --html 'a <b>.html'", made=made)


def visible(page: str) -> str:
    """What the page says, without its drawings and tags."""
    text = re.sub(r"<(svg|style).*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_every_estimator_has_its_statistics_with_intervals(page: str, found: Findings) -> None:
    text = visible(page)
    for one in found.sets[0].measured:
        for name in ("mae", "rmse", "balanced_mae"):
            value = getattr(one.accuracy, name)
            assert f"{value.value:.2f} {value.interval[0]:.2f} to {value.interval[1]:.2f}" in text
        assert f"{one.accuracy.bias.value:+.2f}".replace("-", "−") in text
        score = one.accuracy.cs[5.0]
        assert f"{score.value:.1%}".replace("%", " %") in text
        rate = one.nist.challenge25
        assert f"n = {rate.n:,}" in text
        for row in one.groups.iter_rows(named=True):
            assert f"{row['mae']:.2f}" in text
    pair = found.sets[0].differences[0]
    assert pair.difference is not None
    assert f"{pair.difference:+.2f}".replace("-", "−") in text


def test_the_page_says_where_it_comes_from(page: str) -> None:
    text = visible(page)
    for part in (
        "04 March 2026 at 05:06 UTC", "agebench report --html &#x27;a &lt;b&gt;.html&#x27;", "numpy 2", "matplotlib 3",
        "agebench report --verify", "The training of x is left out: weights are gone.", "Trained on 1,274 records",
    ):  # fmt: skip
        assert part in text
    assert "62 of 100 records are kept" in text
    assert "Labels still wrong, by an audit: 3.1% of the kept records (95 % interval 1.2% to 6.7%)" in text
    assert "150 were read, in 220 readings, of which 9 call the label wrong" in text


def test_without_an_audit_the_page_says_how_to_begin_one(found: Findings) -> None:
    from dataclasses import replace

    text = audited(replace(found.curations[0], audit=None))
    assert "not known" in text
    assert "`agebench review audit --manifest manifests/imdb-wiki.duckdb`" in text


def test_the_page_is_one_file_without_scripts_whose_labels_break_nothing(page: str) -> None:
    assert "<b>" not in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:,)[^"]*"', page.replace("xlink:href", "href"))
    assert "@import" not in page
    assert "url(" not in page.replace("url(#", "")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    targets = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert targets <= set(ids)
    contents = re.findall(r'href="#([^"]+)"', page[page.index("<nav") : page.index("</nav>")])
    assert {"tables", "set-fg-net", "set-fg-net-groups", "training", "curation-imdb-wiki", "about"} <= set(contents)


def test_examples_are_the_worst_and_those_nearest_to_the_median(found: Findings) -> None:
    one = found.sets[0].measured[1]
    chosen = examples(one, 5)
    off = (one.predictions["predicted"] - one.predictions["age"]).abs()
    assert chosen["worst"]["error"].abs().to_list() == pytest.approx(off.sort(descending=True).head(5).to_list())
    furthest = np.abs(np.sort(np.abs(off.to_numpy() - np.median(off)))[:5]).max()
    assert (chosen["median"]["error"].abs() - off.median()).abs().max() == pytest.approx(furthest)  # type: ignore[operator]


def test_no_face_is_shown_unless_asked_for(page: str, found: Findings) -> None:
    assert "<img" not in page
    assert "data:image" not in page
    worst = examples(found.sets[0].measured[0])["worst"]
    assert all(path in visible(page) for path in worst["path"])


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser(page: str, browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    complaints: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    shown = context.new_page()
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(file.as_uri())
    shown.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert complaints == []
    assert [url for url in asked if url not in (file.as_uri(), "data:,")] == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    boxes = shown.evaluate("[...document.querySelectorAll('svg.figure')].map(s => s.getBoundingClientRect().width)")
    assert len(boxes) == 2 + 5 + 4 + 1 + 2
    assert min(boxes) > 300
    letters = shown.evaluate(LETTERS)
    assert min(letters["sizes"]) >= 8  # pixels
    assert letters["cut"] == []
    assert letters["overlapping"] == []
    back, ink = shown.evaluate(
        "[getComputedStyle(document.documentElement).backgroundColor, "
        "getComputedStyle(document.querySelector('svg.figure text')).fill]"
    )
    assert _brightness(ink) < 60 < 200 < _brightness(back) or _brightness(back) < 60 < 200 < _brightness(ink)
    assert (_brightness(back) < 60) == (scheme == "dark")
    wide = shown.evaluate("[...document.querySelectorAll('.wide')].filter(w => w.scrollWidth > w.clientWidth).length")
    assert (wide > 0) or width == 1280
    context.close()


def _brightness(colour: str) -> float:
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


def test_report_writes_the_page_and_the_figures_of_what_was_kept(here: Path, agebench: Callable) -> None:
    frame = people(40).drop("gender", "face_size", "interocular_distance", "yaw", "face_sharpness")
    keep(analysed("First", id="first", off=3, frame=frame), here / "runs")
    done = agebench("report", "--html", "report.html", "--figures", "figures")
    assert done.status == 0, done.err
    written = {path.name for path in (here / "figures").iterdir()}
    kinds = ("predicted-against-true", "error-by-age", "error-by-group", "confusion")
    expected = {"cumulative-scores", *(f"{kind}-first" for kind in kinds)}
    assert written == {f"fg-net-{name}.{form}" for name in expected for form in ("svg", "pdf")}
    assert all(name in done.out for name in written)
    assert "Report written to report.html" in done.out
    text = visible((here / "report.html").read_text(encoding="utf-8"))
    assert "1 estimator measured on 1 test set" in text
    assert "agebench report --html report.html --figures figures" in text
    assert "FG-NET Ageing Database" in text


def test_findings_have_the_newest_estimators_by_mae_of_every_test_set(here: Path) -> None:
    frame = people(40)
    keep(analysed("Worse", id="worse", off=9, seed=1, frame=frame), here / "runs")
    keep(analysed("Better", id="better", off=3, frame=frame), here / "runs")
    other = keep(analysed("Other labels", id="other", frame=frame.with_columns(age=pl.col("age") + 1)), here / "runs")
    found = findings("runs")
    assert [one.id for one in found.sets[0].measured] == ["better", "other", "worse"]
    assert found.sets[0].title == "FG-NET Ageing Database"
    assert found.sets[0].differences == []
    assert "measured against different ages" in found.left_out[0]
    (other / "predictions" / "fg-net.json").write_text("{")
    assert [(pair.first, pair.second) for pair in findings("runs").sets[0].differences] == [("better", "worse")]


def test_a_calibration_that_cannot_be_computed_is_left_out_with_the_reason(here: Path) -> None:
    old = people(40).with_columns(age=pl.col("age") + pl.when(pl.int_range(pl.len()) == 3).then(100).otherwise(0))
    keep(analysed("Sure", id="sure", frame=old, distributions=True), here / "runs")
    found = findings("runs")
    assert calibration_of(found.sets[0].measured[0]) is None
    assert found.left_out == [
        "FG-NET Ageing Database: the calibration of Sure is left out, as an age is not a whole year from 0 to 99."
    ]


def test_faces_need_a_page(here: Path, agebench: Callable) -> None:
    done = agebench("report", "--faces")
    assert done.status == 2
    assert "--html" in done.err
