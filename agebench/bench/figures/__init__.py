"""Figures of a report: which there are, what each is called and says, and writing them as files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agebench.bench.analysis import Analysis
from agebench.bench.figures import comparisons, errors, training
from agebench.bench.figures.style import as_pdf, as_svg
from agebench.bench.findings import Curation, Findings, MeasuredSet, Training, calibration_of
from agebench.bench.studies import StudySet
from agebench.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn. name: unique in a report, for its file. caption: a sentence or two."""

    name: str
    caption: str
    draw: Callable[[], Figure]


def drawings(found: Findings) -> Iterator[Drawing]:
    """All figures of a report."""
    for measured in found.sets:
        yield from of_set(measured)
        for one in measured.measured:
            yield from of_estimator(measured, one)
    for run in found.trainings:
        yield of_training(run)
    for curation in found.curations:
        yield from of_curation(curation)


def of_set(found: MeasuredSet) -> Iterator[Drawing]:
    """Figures that compare the estimators on one test set."""
    yield Drawing(
        f"{found.name}-cumulative-scores",
        f"Cumulative scores on {found.title}: the share of pictures that are at most θ years off.",
        lambda: comparisons.cumulative_scores(found.measured),
    )
    if found.differences:
        best = found.measured[0].id
        yield Drawing(
            f"{found.name}-differences-from-the-best",
            f"{found.title}: by how many years the MAE of each estimator exceeds the smallest MAE, on the pictures "
            "that both predicted, with 95 % intervals; p after Holm's correction over all pairs. Hollow: p is 0.05 or "
            "more.",
            lambda: comparisons.differences_from_best(found.differences, found.labels, best),
        )


def of_estimator(found: MeasuredSet, one: Analysis) -> Iterator[Drawing]:
    """Figures of one estimator on one test set."""
    ending, of = file_names(found)[one.id], f"{one.label} on {found.title}"

    def drawing(what: str, caption: str, draw: Callable[[], Figure]) -> Drawing:
        return Drawing(f"{found.name}-{what}-{ending}", caption, draw)

    yield drawing(
        "predicted-against-true",
        f"Predicted against true age, {of}; the stronger the colour, the more pictures.",
        lambda: errors.predicted_against_true(one),
    )
    yield drawing(
        "error-by-age",
        f"Signed error by true age, {of}: mean of each year with its 95 % interval; beneath, the number of pictures.",
        lambda: errors.error_by_age(one),
    )
    if errors.grouped(one):
        yield drawing(
            "error-by-group",
            f"MAE by group, {of}, with 95 % intervals over subjects. Hollow: fewer than 20 subjects.",
            lambda: errors.error_by_group(one),
        )
    yield drawing(
        "confusion",
        f"Confusion of age groups, {of}: of each true group, the share in % that is estimated in each group.",
        lambda: errors.confusion_by_age_group(one),
    )
    known = calibration_of(one)
    if known is not None:
        yield drawing(
            "calibration",
            f"Calibration of the predicted distributions, {of}. Left: how often the true age lies in the central "
            "interval of a level. Right: the probability integral transform (PIT), level if calibrated. "
            f"CRPS {known.crps:.2f} years.",
            lambda: errors.calibrated(known),
        )


def of_training(run: Training) -> Drawing:
    return Drawing(
        f"training-{slug(run.id)}",
        f"Training of {run.label} ({run.id}): loss and validation MAE by step.",
        lambda: training.training_curves(run.metrics),
    )


def of_study(found: StudySet) -> Drawing:
    return Drawing(
        f"{slug(found.column)}-study",
        f"MAE on {found.column} of the arms of a study, with 95 % intervals over subjects and seeds; by age group.",
        lambda: comparisons.study(found),
    )


def of_curation(found: Curation) -> Iterator[Drawing]:
    yield Drawing(
        f"{found.dataset}-curation-funnel",
        f"{found.title}, curated by {found.recipe}: records that each check took, in order.",
        lambda: training.curation_funnel(found.funnel),
    )
    balanced = f"; beneath, draws in an epoch under the plan {found.plan}" if found.plan else ""
    yield Drawing(
        f"{found.dataset}-ages",
        f"{found.title}: claimed ages of the release, and ages after curation{balanced}.",
        lambda: training.ages_before_and_after(found.ages),
    )


def file_names(found: MeasuredSet) -> dict[str, str]:
    """Id → what its figures end with: its label, or its id where two labels give the same."""
    slugs = {one.id: slug(one.label) for one in found.measured}
    unique = [*slugs.values()]
    return {id: name if name and unique.count(name) == 1 else slug(id) for id, name in slugs.items()}


def slug(text: str) -> str:
    """Lower case, with hyphens between the words: for file names and links."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60].strip("-")


def write_figures(found: Findings, folder: Path, on_progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write each figure as SVG and PDF; the files. Nothing is written before all are drawn.

    Raises StorageError.
    """
    return write_drawings(list(drawings(found)), folder, on_progress)


def write_drawings(
    wanted: Sequence[Drawing], folder: Path, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """As `write_figures`, of these figures."""
    contents: dict[Path, bytes] = {}
    for number, drawing in enumerate(wanted, start=1):
        figure = drawing.draw()
        contents[folder / f"{drawing.name}.svg"] = as_svg(figure)
        contents[folder / f"{drawing.name}.pdf"] = as_pdf(figure)
        if on_progress:
            on_progress(number, len(wanted))
    for path, content in contents.items():
        write_whole(path, content, "Name another folder with `--figures`.")
    return list(contents)
