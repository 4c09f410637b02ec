"""study: trainings that differ in a few keys, on the same records, order of batches and budget, compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agebench.bench.evaluate import evaluate, manifests_for_testing, named_test_sets
from agebench.bench.evaluations import Evaluation, stored_predictions
from agebench.bench.protocols import first_draw
from agebench.bench.studies import StudySet, compare_arms
from agebench.errors import Missing
from agebench.faces.crops import Advance
from agebench.manifest.places import find_manifest
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import StudyRecipe, load_card, load_study
from agebench.training.resolve import resolve_recipe
from agebench.training.run_cards import RUNS
from agebench.training.runs import Run
from agebench.workflows.train import TrainForecast, TrainSetting, forecast, train


@dataclass(frozen=True)
class StudyTraining:
    """One training of a study. number: from 1, of `total`."""

    number: int
    total: int
    label: str
    seed: int


@dataclass(frozen=True)
class StudyForecast:
    """What a study would train.

    Attributes:
        study: Its recipe.
        seeds: Trainings of each arm.
        arms: Label → what one training of the arm takes.
        test_sets: Manifests that it would be measured on.
        seconds: Of all trainings together, including those that are already complete.
    """

    study: StudyRecipe
    seeds: int
    arms: dict[str, TrainForecast]
    test_sets: list[Path]
    seconds: float


@dataclass(frozen=True)
class StudyReport:
    """What a study found.

    Attributes:
        study: Its recipe.
        seeds: Trainings of each arm.
        runs: Label → the run of each seed.
        sets: The comparison on each test set.
        seconds: Of all trainings together, those of earlier calls included.
        notes: Sentences that the user should see.
    """

    study: StudyRecipe
    seeds: int
    runs: dict[str, list[Run]]
    sets: list[StudySet]
    seconds: float
    notes: list[str] = field(default_factory=list)


def study(
    name: str,
    *,
    manifest: str | Path | None = None,
    plan: str | None = None,
    on: Sequence[str | Path] = (),
    seeds: int | None = None,
    runs: str | Path = RUNS,
    changes: dict[str, Any] | None = None,
    on_training: Callable[[StudyTraining, TrainSetting], None] | None = None,
    on_crops: Advance | None = None,
    on_step: Callable[[int, int, float | None, float | None], None] | None = None,
    on_predict: Advance | None = None,
) -> StudyReport:
    """Train every arm of a study with every seed, measure all runs on the same test sets, and compare them.

    Runs are kept as those of `train`. A complete run of the same recipe, seed and records is taken as it is, and an
    unfinished one is continued: the same call goes on where an interrupted one stopped.

    Args:
        name: Study, by name or file.
        manifest: A file, or a name in `manifests/` (see `Manifest`).
        plan: Balance plan by name; the newest by default, or every curated record once if there is none.
        on: Test sets, as names or manifest files; every test manifest by default.
        seeds: Trainings of each arm, instead of the study's number.
        runs: Folder of runs.
        changes: Dotted keys set for all arms (`{"train.steps": 500}`); an arm's own keys come after them.
        on_training: Called before each training.
        on_crops: Called with the progress of cropping.
        on_step: Called as by `train`.
        on_predict: Called with the progress of predicting the test sets.

    Raises:
        Missing: There is no test manifest.
        RecipeError: The study or one of its arms is wrong; nothing has been trained.
        RunError: Training diverges; the runs that are complete are kept.
        Interrupted: Ctrl-C; the last checkpoint is kept.
        AgebenchError: Whatever else `train` and `evaluate` raise.
    """
    recipe, settings, tested = _planned(name, manifest, on, changes)
    number, names = seeds or recipe.seeds, _columns(tested)
    made: dict[str, list[Run]] = {label: [] for label in settings}
    measured: dict[tuple[str, int], list[Evaluation]] = {}
    total, done = number * len(settings), 0
    notes: list[str] = []
    for seed in range(number):
        for label, each in settings.items():
            done += 1
            place = StudyTraining(done, total, label, seed)

            def tell(setting: TrainSetting, place: StudyTraining = place) -> None:
                if on_training:
                    on_training(place, setting)

            report = train(
                recipe.model, manifest=manifest, plan=plan, runs=runs, changes=each, seed=seed, reuse=True,
                measure=False, on_setting=tell, on_crops=on_crops, on_step=on_step,
            )  # fmt: skip
            made[label].append(report.run)
            measured[label, seed] = evaluate(report.run, tested, runs=runs, on_crops=on_crops, on_predict=on_predict)
            notes += [note for note in report.notes if note not in notes]
    sets = []
    for index, path in enumerate(tested):
        frames = {
            label: [
                first_draw(stored_predictions(run.path, measured[label, seed][index])) for seed, run in enumerate(each)
            ]
            for label, each in made.items()
        }
        dataset = measured[recipe.arm[0].label, 0][index].dataset
        sets.append(compare_arms(dataset, names[path], frames))
    seconds = sum(float(run.card.get("seconds", 0.0)) for each in made.values() for run in each)
    return StudyReport(recipe, number, made, sets, seconds, notes)


def forecast_study(
    name: str,
    *,
    manifest: str | Path | None = None,
    plan: str | None = None,
    on: Sequence[str | Path] = (),
    seeds: int | None = None,
    changes: dict[str, Any] | None = None,
    on_arm: Callable[[int, int], None] | None = None,
) -> StudyForecast:
    """What `study` would do with these arguments, from a few timed steps of each arm; writes nothing.

    on_arm: called with the number of arms timed so far and their total. Raises as `study` does."""
    recipe, settings, tested = _planned(name, manifest, on, changes)
    arms = {}
    for label, each in settings.items():
        arms[label] = forecast(recipe.model, manifest=manifest, plan=plan, changes=each)
        if on_arm:
            on_arm(len(arms), len(settings))
    number = seeds or recipe.seeds
    return StudyForecast(recipe, number, arms, tested, number * sum(arm.cost.seconds for arm in arms.values()))


def _planned(
    name: str, manifest: str | Path | None, on: Sequence[str | Path], changes: dict[str, Any] | None
) -> tuple[StudyRecipe, dict[str, dict[str, Any]], list[Path]]:
    """The study, each arm's changes by label, and the test manifests. Raises RecipeError if an arm is wrong, Missing if
    there is no test manifest."""
    recipe = load_study(name)
    with open_manifest(find_manifest(manifest)) as con:
        trained_on = get_meta(con, "dataset") or ""
    tested = named_test_sets(on) or manifests_for_testing(trained_on)
    if not tested:
        raise Missing("There is no test manifest.", "`agebench curate fg-net` (or morph, cacd) makes one.")
    settings = {arm.label: (changes or {}) | arm.set for arm in recipe.arm}
    for each in settings.values():
        resolve_recipe(recipe.model, each)
    return recipe, settings, tested


def _columns(tested: Sequence[Path]) -> dict[Path, str]:
    """What each test set is called in the tables: as its card says, or by its file if two have the same card."""
    cards = {}
    for path in tested:
        with open_manifest(path) as con:
            cards[path] = load_card(get_meta(con, "dataset") or path.stem)
    columns = {path: card.protocol.column if card.protocol else card.title for path, card in cards.items()}
    used = [*columns.values()]
    return {path: column if used.count(column) == 1 else path.stem for path, column in columns.items()}
