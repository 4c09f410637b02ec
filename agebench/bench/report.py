"""report: published tables beside what was measured here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from agebench import resources
from agebench.bench.evaluations import (
    Evaluation,
    differences,
    interval_versions,
    leak_free,
    leaked,
    own_manifest_first,
    stored_evaluations,
    stored_predictions,
)
from agebench.bench.published import Published, load_published
from agebench.bench.tables import Column, Result, RunSummary, Table, Waiting, build_tables
from agebench.bench.test_sets import labels_of
from agebench.errors import AgebenchError, UsageError
from agebench.estimators import believed_training
from agebench.estimators.keeping import changed_sources
from agebench.files import read_file
from agebench.manifest.places import manifest_of
from agebench.recipes import ModelRecipe, load_card, load_table_row
from agebench.training.run_cards import RUNS, changes_in_words, trained_on
from agebench.training.runs import Listed, changed_in, list_evaluated, load_run


@dataclass(frozen=True)
class Report:
    """The tables, and what was found when their numbers were checked.

    Attributes:
        tables: Published rows, then measured ones.
        verified: With `verify`: a sentence for each measured number that was reproduced.
        problems: With `verify`: a sentence for each that was not.
        left_out: A sentence for each run that could not be read.
    """

    tables: list[Table]
    verified: list[str]
    problems: list[str]
    left_out: list[str] = field(default_factory=list)


def report(
    tables: Sequence[int] | None = None,
    *,
    runs: str | Path = RUNS,
    verify: bool = False,
    without_leaks: bool = False,
) -> Report:
    """The published tables, with the newest complete runs under their rows.

    Args:
        tables: Numbers of the published tables; None for all.
        runs: Folder of runs.
        verify: Recompute every measured number from the predictions stored with its run, and hash the run's files.
        without_leaks: Whether to leave out test pictures whose file, photograph or person was trained on.

    Raises:
        UsageError: There is no table with such a number.
        RecipeError: `published.toml` is invalid.
    """
    published = load_published()
    known = [table.number for table in published.table]
    for number in tables or []:
        if number not in known:
            raise UsageError(f"There is no table {number}.", f"Known: {', '.join(map(str, known))}.")
    complete = [listed for listed in list_evaluated(Path(runs)) if listed.complete]
    summaries: list[RunSummary] = []
    left_out: list[str] = []
    for listed in complete:
        try:
            evaluations = own_manifest_first(stored_evaluations(listed.path))
            summaries.append(_summary(listed, [_measured(listed, e, without_leaks=without_leaks) for e in evaluations]))
        except AgebenchError as error:  # one damaged run must not hide the others
            left_out.append(f"{listed.id} is left out: {error}")
    built = build_tables(published, summaries, _columns(published), numbers=tables, waiting=list(_waiting()))
    verified: list[str] = []
    problems: list[str] = []
    if verify:
        problems += left_out
        labels: dict[Path, str] = {}
        for listed in complete:
            for good, text in _verify(listed, labels):
                (verified if good else problems).append(text)
    return Report(built, verified, problems, left_out)


def _columns(published: Published) -> list[Column]:
    """The columns of the published tables, with the dataset behind each."""
    datasets: dict[str, str] = {}
    for name in resources.available("manifests"):
        try:
            card = load_card(name)
        except AgebenchError:
            continue
        if card.protocol is not None:
            datasets.setdefault(card.protocol.column, card.name)
    names = list(dict.fromkeys(column for table in published.table for column in table.columns))
    return [
        Column(name, datasets.get(name, name.lower()), manifest_of(datasets.get(name, name.lower())).is_file())
        for name in names
    ]


def _waiting() -> Iterator[Waiting]:
    """Model recipes that could fill rows, those ending in `-published` last."""
    for name in sorted(resources.available("models"), key=lambda n: (n.endswith("-published"), n)):
        try:
            recipe = load_table_row(name)
        except AgebenchError:
            continue
        yield Waiting(recipe.name, recipe.label, recipe.tables, trained=isinstance(recipe, ModelRecipe))


def _summary(listed: Listed, results: list[Result]) -> RunSummary:
    card = listed.card
    recipe, known = card.get("recipe", {}), card.get("estimator", {})
    return RunSummary(
        id=listed.id,
        model=str(card.get("model", "?")),
        label=str(recipe.get("label", card.get("model", "?"))),
        tables=list(recipe.get("tables", [])),
        trained_on=_training(card, leaks_sought=all(one.training_known for one in results)),
        seed=card.get("seed"),
        finished=str(card.get("finished") or ""),
        data=str(card.get("data_fingerprint", listed.id)),
        results=results,
        settings=known.get("protocol") or changes_in_words(recipe),
        published_row=recipe.get("published_row"),
        evaluated_as=known.get("called") if known else listed.id,
    )


def summarised(listed: Listed, evaluation: Evaluation, *, without_leaks: bool = False) -> tuple[RunSummary, Result]:
    """A run and one of its results, as tables take them."""
    result = _measured(listed, evaluation, without_leaks=without_leaks)
    return _summary(listed, [result]), result


def _measured(listed: Listed, evaluation: Evaluation, *, without_leaks: bool) -> Result:
    if without_leaks and leaked(evaluation):
        return _result(leak_free(evaluation, stored_predictions(listed.path, evaluation)), evaluation)
    return _result(evaluation)


def _training(card: dict[str, Any], *, leaks_sought: bool) -> str:
    """A sentence about what a run, or an estimator that was not trained here, was trained on."""
    if "trained_on" in card:
        return f"Trained on {card['trained_on']}"
    if "estimator" not in card:
        return f"Trained on {trained_on(card)}"
    told = believed_training(card.get("recipe", {}).get("trained_on"))
    return f"Not trained here; {told}" + ("" if leaks_sought else ", so leakage could not be looked for")


def _result(evaluation: Evaluation, with_leaks: Evaluation | None = None) -> Result:
    """with_leaks: the evaluation of all pictures, if those that leaked are left out of `evaluation`."""
    protocol = load_card(evaluation.dataset).protocol
    return Result(
        column=protocol.column if protocol else evaluation.dataset,
        n=evaluation.n,
        mae=evaluation.mae,
        ci95=evaluation.ci95,
        cs5=evaluation.cs5,
        matches_card=evaluation.matches_card,
        pictures_match=evaluation.pictures_match,
        records=evaluation.records,
        expected=evaluation.expected,
        undetected=evaluation.undetected,
        unreadable=evaluation.unreadable,
        overlap=(with_leaks or evaluation).overlap,
        near_copies=(with_leaks or evaluation).near_copies,
        shared_subjects=(with_leaks or evaluation).shared_subjects,
        matching_faces=(with_leaks or evaluation).matching_faces,
        with_leaks=(with_leaks.n, with_leaks.mae) if with_leaks and with_leaks.mae is not None else None,
        detector=evaluation.detector,
        training_detector=evaluation.training_detector,
        training_known=evaluation.training_known,
        unsearched=evaluation.unsearched,
        draws=evaluation.draws,
    )


def _verify(listed: Listed, labels: dict[Path, str]) -> Iterator[tuple[bool, str]]:
    try:
        if listed.trained:
            load_run(listed.path)
        changed = changed_in(listed.path) + changed_sources(listed.card)
    except AgebenchError as error:
        yield False, error.message
        return
    if changed:
        yield False, f"{listed.id}: {', '.join(changed)} changed, or missing, since it was kept"
    yield from verified_predictions(listed)
    yield from _changed_manifests(listed, labels)


def _changed_manifests(listed: Listed, labels: dict[Path, str]) -> Iterator[tuple[bool, str]]:
    """A sentence for each test manifest whose labels are not those that the run was measured against.

    labels: the fingerprints of manifests that were read before, to which this one's are added.
    """
    try:
        evaluations = stored_evaluations(listed.path)
    except AgebenchError:  # `verified_predictions` says so
        return
    for one in evaluations:
        place = Path(one.manifest)
        if one.labels is None or not place.is_file():
            continue
        try:
            if place not in labels:
                labels[place] = labels_of(place)
            if labels[place] == one.labels:
                continue
            yield False, f"{listed.id}: {place} has other labels than when it was measured: evaluate it again"
        except AgebenchError as error:
            yield False, f"{listed.id}: {error.message}"


def verified_predictions(listed: Listed) -> Iterator[tuple[bool, str]]:
    """Whether the numbers of each evaluation of a run follow from its predictions, and a sentence about it."""
    try:
        evaluations = stored_evaluations(listed.path)
    except AgebenchError as error:
        yield False, error.message
        return
    for evaluation in evaluations:
        path = listed.path / "predictions" / f"{evaluation.name}.parquet"
        if not path.is_file():
            yield False, f"{listed.id}: the predictions on {evaluation.name} are missing"
            continue
        try:
            content = read_file(path)
            if hashlib.sha256(content).hexdigest() != evaluation.predictions_sha256:
                yield False, f"{listed.id}: the predictions on {evaluation.name} were changed"
                continue
            wrong = differences(evaluation, pl.read_parquet(io.BytesIO(content)))
        except (OSError, pl.exceptions.PolarsError) as error:
            yield False, f"{path} cannot be read: {str(error).splitlines()[0]}"
            continue
        mae = "no MAE" if evaluation.mae is None else f"MAE {evaluation.mae:.4f} years"
        found = f"{mae} of {evaluation.n:,} predictions"
        if evaluation.versions != interval_versions():
            drawn_by = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
            found += f"; the interval, drawn by {drawn_by}, agrees within its sampling error"
        yield (
            not wrong,
            f"{listed.id} on {evaluation.name}: {'; '.join(wrong) or found}",
        )
