"""train: crop what is missing, train, evaluate on every test manifest that is there."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agebench.bench.evaluate import evaluate, manifests_for_testing
from agebench.bench.evaluations import Evaluation
from agebench.errors import AgebenchError, Interrupted, NothingCurated
from agebench.faces.crops import Advance, crop_records
from agebench.manifest.places import choose_plan, find_manifest, must_be_judged
from agebench.manifest.plans import PlanFacts, curated_fingerprint
from agebench.manifest.records import count_records, folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import ModelRecipe
from agebench.training.data import TrainingData
from agebench.training.forecast import Cost, training_cost
from agebench.training.resolve import resolve_recipe
from agebench.training.rows import training_rows
from agebench.training.run_cards import RUNS
from agebench.training.runs import Run, train_run


@dataclass(frozen=True)
class TrainSetting:
    """What a training is about to do, for the first line that people read."""

    recipe: ModelRecipe
    why: str
    manifest: Path
    plan: PlanFacts | None
    records: int


@dataclass(frozen=True)
class TrainReport:
    """What a training made.

    Attributes:
        run: The complete run.
        setting: The recipe, the manifest and the plan that it was trained by.
        train_records: Records that were trained on or validated with.
        steps: Steps, one batch each.
        seconds: How long the training took.
        evaluated: The run's errors on every test set that is here.
        notes: Sentences that the user should see.
    """

    run: Run
    setting: TrainSetting
    train_records: int
    steps: int
    seconds: float
    evaluated: list[Evaluation]
    notes: list[str] = field(default_factory=list)


def train(
    model: str | None = None,
    *,
    manifest: str | Path | None = None,
    plan: str | None = None,
    runs: str | Path = RUNS,
    changes: dict[str, Any] | None = None,
    seed: int = 0,
    resume: bool = False,
    on_setting: Callable[[TrainSetting], None] | None = None,
    on_crops: Advance | None = None,
    on_step: Callable[[int, int, float, float | None], None] | None = None,
    on_predict: Advance | None = None,
) -> TrainReport:
    """Train a model recipe on a manifest's curated records, and evaluate the run on every test manifest that exists.

    Args:
        model: Model recipe, by name or file; by default `neighborhood-34` on an accelerator, else
            `neighborhood-quick`.
        manifest: A file or a dataset's name (see `Manifest`).
        plan: Balance plan by name; the newest by default, and every curated record once where there is none.
        runs: Folder of runs.
        changes: Dotted keys of the recipe with their values (`{"train.steps": 500}`).
        seed: Seed of weights, order, augmentation and validation split.
        resume: Go on with the newest unfinished run of this recipe, seed and records.
        on_setting: Is told of the recipe, manifest and plan before training.
        on_crops: Is told of cropping.
        on_step: Is told step, steps, loss and the last validation MAE in years.
        on_predict: Is told of predicting the test sets.

    Raises:
        UsageError: A name is unknown.
        RecipeError: The recipe is wrong; the message lists every mistake.
        ManifestNotFound: There is no such manifest.
        NothingCurated: There is nothing to train on.
        StalePlan: The curated records have changed since the plan was made.
        RunError: Training diverges, or the run to go on with is damaged.
        StorageError: The disk is full or the folder cannot be written.
        Interrupted: Ctrl-C; the last checkpoint is kept.
    """
    recipe, why = _recipe(model, changes)
    path = find_manifest(manifest)
    notes: list[str] = []
    with open_manifest(path) as con:
        must_be_judged(con, path)
        dataset, detector = get_meta(con, "dataset") or "", get_meta(con, "detector")
        fingerprint = curated_fingerprint(con)
        facts = choose_plan(con, path, plan)
        rows = training_rows(con, facts.plan if facts else None)
        folders = folders_of(con)
        provenance = {
            "dataset": dataset,
            "records": count_records(con),
            "manifest": str(path),
            "curated_fingerprint": fingerprint,
            "curation_recipe": get_meta(con, "recipe"),
            "curation_recipe_digest": get_meta(con, "recipe_digest"),
            "label_fingerprint": get_meta(con, "label_fingerprint"),
            "detector": detector,
            "detector_choice": json.loads(get_meta(con, "detector_choice") or "null"),
            "plan": facts.__dict__ if facts else None,
            "audit": json.loads(get_meta(con, "audit") or "null"),
        }
    if rows.is_empty():
        raise _nothing_curated(path)
    drawn = rows.filter(rows["copies"] > 0)
    setting = TrainSetting(recipe, why, path, facts, len(drawn))
    if on_setting:
        on_setting(setting)
    cropped = crop_records(drawn, folders, dataset=dataset, detector=detector, crop=recipe.crop, on_progress=on_crops)
    if cropped.records.is_empty():
        raise NothingCurated(
            f"No picture of the {len(drawn):,} curated records of {path} could be read ({_listed(cropped.faults)}).",
            "Bring the pictures back, or run `agebench curate` again with `--root`.",
        )
    if cropped.faults:
        notes.append(
            f"Left out what could not be cropped: {_listed(cropped.faults)}. `agebench curate` renews the manifest."
        )
    if cropped.damaged_shards:
        notes.append(f"{cropped.damaged_shards} damaged crop shard(s) were made again.")
    whole = int(drawn["face_no"].null_count())
    if whole:
        notes.append(f"{whole:,} curated records have no face and are learnt from the whole picture.")
    data = TrainingData.from_records(cropped.pictures, range(len(cropped.records)), cropped.records.drop("landmarks"))
    run = train_run(
        recipe, data, runs_dir=Path(runs), seed=seed, provenance=provenance, resume=resume, on_progress=on_step
    )
    evaluated = _measure(run, dataset, notes, on_crops, on_predict)
    return TrainReport(
        run, setting, len(cropped.records), recipe.train.steps, float(run.card.get("seconds", 0.0)), evaluated, notes
    )


@dataclass(frozen=True)
class TrainForecast:
    """What a training would do.

    Attributes:
        setting: The recipe as resolved, the manifest and the plan.
        draws: Pictures of an epoch, copies counted.
        cost: The network's parameters, memory and time.
        test_sets: Manifests that it would be measured on.
    """

    setting: TrainSetting
    draws: int
    cost: Cost
    test_sets: list[Path]


def forecast(
    model: str | None = None,
    *,
    manifest: str | Path | None = None,
    plan: str | None = None,
    changes: dict[str, Any] | None = None,
) -> TrainForecast:
    """What `train` would do with these arguments, from a few timed steps; nothing is written. Raises as `train`."""
    recipe, why = _recipe(model, changes)
    path = find_manifest(manifest)
    with open_manifest(path) as con:
        must_be_judged(con, path)
        dataset, facts = get_meta(con, "dataset") or "", choose_plan(con, path, plan)
        rows = training_rows(con, facts.plan if facts else None)
    drawn = rows.filter(rows["copies"] > 0)
    if drawn.is_empty():
        raise _nothing_curated(path)
    setting = TrainSetting(recipe, why, path, facts, len(drawn))
    return TrainForecast(setting, int(drawn["copies"].sum()), training_cost(recipe), manifests_for_testing(dataset))


def _recipe(model: str | None, changes: dict[str, Any] | None) -> tuple[ModelRecipe, str]:
    """(the recipe as resolved, why it is that one)."""
    why = "chosen" if model else "the default " + ("on an accelerator" if _accelerator() else "on a CPU")
    return resolve_recipe(model or ("neighborhood-34" if _accelerator() else "neighborhood-quick"), changes), why


def _nothing_curated(manifest: Path) -> NothingCurated:
    return NothingCurated(
        f"{manifest} has no curated record of an age from 0 to 99.",
        "`agebench curate` prints which check took how many.",
    )


def _measure(
    run: Run, dataset: str, notes: list[str], on_crops: Advance | None, on_predict: Advance | None
) -> list[Evaluation]:
    """Evaluate on every test manifest that is here; what fails becomes a note, for the run itself is complete."""
    evaluated: list[Evaluation] = []
    try:
        manifests = manifests_for_testing(exclude=dataset)
    except AgebenchError as error:
        notes.append(f"Not measured: {error.message} `agebench evaluate {run.id}` measures it.")
        return evaluated
    for path in manifests:
        try:
            evaluated += evaluate(run, [path], on_crops=on_crops, on_predict=on_predict)
        except Interrupted:
            raise
        except AgebenchError as error:
            notes.append(f"Not measured on {path}: {error.message} `agebench evaluate {run.id} --on {path}` does it.")
    return evaluated


def _listed(faults: dict[str, int]) -> str:
    return ", ".join(f"{n:,} {fault.replace('_', ' ')}" for fault, n in sorted(faults.items())) or "no fault told"


def _accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
