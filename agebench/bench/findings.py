"""Everything that a report can show besides its tables: test sets with their estimators, trainings, curations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from agebench.bench.analysis import Analysis, analyses, compared
from agebench.bench.evaluations import stored_evaluations
from agebench.bench.statistics.calibration import Calibration
from agebench.bench.statistics.comparison import Difference
from agebench.errors import AgebenchError, Missing, NothingCurated, RunError, StalePlan
from agebench.manifest.manifest import Manifest
from agebench.manifest.places import existing_manifests
from agebench.recipes import load_card
from agebench.training.run_cards import RUNS
from agebench.training.runs import Listed, list_evaluated, load_run


@dataclass(frozen=True)
class MeasuredSet:
    """A test set under one protocol.

    Attributes:
        dataset, protocol: As in the evaluations; the protocol is empty for the usual one.
        title: Of its card, with the protocol.
        measured: Its estimators, by MAE.
        differences: Of all pairs of them, by id; empty if they were measured against different ages.
    """

    dataset: str
    protocol: str
    title: str
    measured: list[Analysis]
    differences: list[Difference]

    @property
    def name(self) -> str:
        """For file names and links."""
        return f"{self.dataset}-{self.protocol}" if self.protocol else self.dataset

    @property
    def labels(self) -> dict[str, str]:
        """Id → the name of its row."""
        return {one.id: one.label for one in self.measured}


@dataclass(frozen=True)
class Training:
    """A run of a network: id, label, and its training log (see `Run.metrics`)."""

    id: str
    label: str
    metrics: pl.DataFrame


@dataclass(frozen=True)
class Curation:
    """A training manifest.

    Attributes:
        path: The file.
        dataset, title: Of its card.
        recipe: The curation recipe.
        funnel: See `Manifest.funnel`.
        ages: A row a year from 0: age, released, curated (records), drawn (draws in an epoch; null without a plan).
        plan: Name of the newest balance plan; None if there is none, or it is older than the curated records.
        audit: The estimate of wrong labels that was folded in (`review.audit.Estimate` as a table); None without one.
    """

    path: Path
    dataset: str
    title: str
    recipe: str
    funnel: pl.DataFrame
    ages: pl.DataFrame
    plan: str | None
    audit: dict[str, Any] | None


@dataclass(frozen=True)
class Findings:
    """What was found; left_out: a sentence for each thing that could not be read or compared."""

    sets: list[MeasuredSet]
    trainings: list[Training]
    curations: list[Curation]
    left_out: list[str] = field(default_factory=list)


def findings(runs: str | Path = RUNS, *, without_leaks: bool = False) -> Findings:
    """All of it, from a folder of runs and the manifests of the working directory, which are opened read-only.

    without_leaks: leave out test pictures that leaked into training (see `analysis.analyses`).
    """
    left_out: list[str] = []
    complete = [listed for listed in list_evaluated(Path(runs)) if listed.complete]
    sets = []
    for dataset, protocol in _protocols(complete):
        try:
            sets.append(_measured(dataset, protocol, runs, without_leaks, left_out))
        except Missing as error:  # no picture is left without those that leaked
            left_out.append(error.message)
    shown = {one.id for found in sets for one in found.measured}
    trainings = list(_trainings([listed for listed in complete if listed.id in shown], left_out))
    return Findings(sets, trainings, list(_curations(left_out)), left_out)


def calibration_of(one: Analysis) -> Calibration | None:
    """Its calibration; None without distributions, or if an age lies outside them."""
    try:
        return one.calibration
    except ValueError:
        return None


def _protocols(complete: list[Listed]) -> list[tuple[str, str]]:
    """Dataset and protocol of every evaluation with an error."""
    found = set()
    for listed in complete:
        try:
            found |= {(one.dataset, one.protocol) for one in stored_evaluations(listed.path) if one.mae is not None}
        except AgebenchError:  # the tables say so
            continue
    return sorted(found)


def _measured(dataset: str, protocol: str, runs: str | Path, without_leaks: bool, left_out: list[str]) -> MeasuredSet:
    measured = analyses(dataset, runs, protocol=protocol, without_leaks=without_leaks)
    title = dataset
    try:
        title = load_card(dataset).title
    except AgebenchError as error:
        left_out.append(error.message)
    if protocol:
        title += f", {protocol.replace('-', ' ')}"
    differences: list[Difference] = []
    try:
        differences = compared(measured)
    except RunError as error:
        left_out.append(f"{title}: {error.message}")
    for one in measured:
        try:
            _ = one.calibration
        except ValueError as error:
            left_out.append(f"{title}: the calibration of {one.label} is left out, as {error}.")
    return MeasuredSet(dataset, protocol, title, measured, differences)


def _trainings(shown: list[Listed], left_out: list[str]) -> Iterator[Training]:
    for listed in shown:
        if not listed.card.get("steps"):
            continue
        try:
            run = load_run(listed.path)
            metrics = run.metrics
        except AgebenchError as error:
            left_out.append(f"The training of {listed.id} is left out: {error.message}")
            continue
        if len(metrics):
            yield Training(run.id, run.recipe.label, metrics)


def _curations(left_out: list[str]) -> Iterator[Curation]:
    try:
        training = [(path, card) for path, card in existing_manifests() if "train" in card.roles]
    except AgebenchError as error:
        left_out.append(f"The training manifests are left out: {error.message}")
        return
    for path, card in training:
        try:
            found = _curation(Manifest(path), card.name, card.title)
        except AgebenchError as error:
            left_out.append(f"{path} is left out: {error.message}")
            continue
        if found is not None:
            yield found


def _curation(manifest: Manifest, dataset: str, title: str) -> Curation | None:
    """None if its curation was not finished."""
    meta, funnel = manifest.meta, manifest.funnel
    if funnel.is_empty() or not funnel["records"][0]:
        return None
    counted = {
        "released": manifest.sql("SELECT age, count(*) AS n FROM record WHERE age >= 0 GROUP BY age"),
        "curated": manifest.sql("SELECT age, count(*) AS n FROM kept WHERE age >= 0 GROUP BY age"),
    }
    plan = None
    try:
        counted["drawn"] = manifest.plan().group_by("age").agg(n=pl.col("copies").sum())
        plan = manifest.sql("SELECT plan FROM plan_made ORDER BY made_at DESC LIMIT 1")["plan"][0]
    except (NothingCurated, StalePlan):
        pass
    oldest = max([0, *(int(frame["age"].max()) for frame in counted.values() if len(frame))])  # type: ignore[arg-type]
    ages = pl.DataFrame({"age": range(min(oldest, 120) + 1)}, schema={"age": pl.Int64})
    for name, frame in counted.items():
        counts = frame.select(pl.col("age").cast(pl.Int64), pl.col("n").cast(pl.Int64).alias(name))
        ages = ages.join(counts, on="age", how="left", maintain_order="left").with_columns(pl.col(name).fill_null(0))
    if plan is None:
        ages = ages.with_columns(drawn=pl.lit(None, dtype=pl.Int64))
    audit = json.loads(meta.get("audit") or "null")
    return Curation(manifest.path, dataset, title, meta.get("recipe", "?"), funnel, ages, plan, audit)
