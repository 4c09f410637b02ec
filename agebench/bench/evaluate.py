"""evaluate: an estimator's predictions on test sets, kept with it, and their errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from agebench.bench.evaluations import Evaluation
from agebench.bench.leakage import find_leaks, unsearched_leaks, with_all_columns
from agebench.bench.matching_faces import with_vectors
from agebench.bench.model_card import write_model_card
from agebench.bench.protocols import first_draw
from agebench.bench.test_sets import keep_evaluation, predicted, read_test_set
from agebench.errors import Missing
from agebench.estimators import Advance, Estimator
from agebench.estimators.finding import find_estimator
from agebench.estimators.keeping import keep
from agebench.estimators.run import RunEstimator
from agebench.manifest.places import existing_manifests, find_manifest
from agebench.training.run_cards import RUNS
from agebench.training.runs import Run


def manifests_for_testing(exclude: str = "") -> list[Path]:
    """Manifests in `manifests/` whose card has the role *test*, except those of one dataset."""
    return [path for path, card in existing_manifests() if "test" in card.roles and card.name != exclude]


def named_test_sets(names: Sequence[str | Path]) -> list[Path]:
    """The manifests of test sets, by name or file, each once, for what will measure on them only after a training.
    Raises what finding and reading them raises."""
    manifests = {manifest.resolve(): manifest for manifest in map(find_manifest, names)}
    for manifest in manifests.values():
        read_test_set(manifest)
    return list(manifests.values())


def evaluate(
    estimator: str | Path | Run | Estimator,
    on: Sequence[str | Path] | str | Path = (),
    *,
    runs: str | Path = RUNS,
    on_crops: Advance | None = None,
    on_predict: Advance | None = None,
) -> list[Evaluation]:
    """Predict every record of each test set's protocol, and keep the predictions in the run's folder, or in one of the
    estimator's own beside the runs. The model card of a run is written anew (see `bench.model_card`).

    Args:
        estimator: A finished run, or its id, the start of its id, its model's name, or its folder; or any other
            estimator by the name that `agebench evaluate` takes (see `agebench.estimators.finding`).
        on: Datasets' names or manifest files; every test manifest by default.
        runs: Folder of runs.
        on_crops: Called with the progress of cropping.
        on_predict: Called with the progress of predicting.

    Returns:
        One evaluation per test set, in the order of `on`.

    Raises:
        UsageError: A set has no protocol, or a name is unknown.
        Missing: There is no such run, file or function, or no test manifest.
        ManifestNotFound: There is no such manifest.
        RunError: The run is damaged or unfinished.
        EstimatorError: The estimator fails, or gives something else than an age for every face; nothing is kept.
        StorageError: The predictions or the crops cannot be written.
    """
    found = find_estimator(estimator, Path(runs)) if isinstance(estimator, str | Path | Run) else estimator
    named = [on] if isinstance(on, str | Path) else on
    manifests = [find_manifest(name) for name in named] or manifests_for_testing()
    if not manifests:
        raise Missing("There is no test manifest.", "`agebench curate fg-net` (or morph, cacd) makes one.")
    measured = [_evaluate(found, path, Path(runs), on_crops, on_predict) for path in manifests]
    if isinstance(found, RunEstimator):
        write_model_card(found.run)
    return measured


def _evaluate(
    estimator: Estimator, path: Path, runs_dir: Path, on_crops: Advance | None, on_predict: Advance | None
) -> Evaluation:
    test_set = read_test_set(path)
    found = estimator.estimate(test_set.faces(), on_crops, on_predict)
    training = estimator.training()
    known = pl.DataFrame() if training.records is None else training.records
    tested, trained = map(with_all_columns, with_vectors(found.records, path, known, training.manifests))
    one_dataset = training.dataset == test_set.card.name
    leaks = find_leaks(tested, trained, one_dataset=one_dataset)
    return keep_evaluation(
        keep(estimator, runs_dir),
        test_set,
        predicted(found.records, found.ages, found.spreads, found.probabilities).with_columns(leaks),
        unreadable=len(first_draw(test_set.rows)) - len(first_draw(found.records)),
        training_detector=training.detector if training.known and estimator.crops else test_set.detector,
        training_known=training.known,
        unsearched=unsearched_leaks(tested, trained, one_dataset=one_dataset) if training.known else [],
    )
