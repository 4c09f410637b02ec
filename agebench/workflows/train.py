"""train: make missing crops, train, evaluate on every test manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from agebench.bench.evaluate import evaluate, manifests_for_testing, named_test_sets
from agebench.bench.evaluations import Evaluation
from agebench.bench.leakage import find_leaks, with_all_columns
from agebench.bench.matching_faces import with_vectors
from agebench.bench.test_sets import read_test_set
from agebench.errors import AgebenchError, Interrupted, NothingCurated
from agebench.faces.crops import Advance, crop_records
from agebench.manifest.fingerprints import frame_digest
from agebench.manifest.places import choose_plan, find_manifest, must_be_judged
from agebench.manifest.plans import PlanFacts, curated_fingerprint
from agebench.manifest.records import count_records, folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import ModelRecipe, NetworkRecipe
from agebench.remote import Folder
from agebench.training.backbones import has_imagenet_weights
from agebench.training.data import TrainingData, balanced_copies, discounts_of
from agebench.training.devices import check_devices, check_shares, train_on
from agebench.training.forecast import Cost, training_cost
from agebench.training.pretrained import Loaded, pretrained_of
from agebench.training.resolve import resolve_recipe
from agebench.training.rows import training_rows, with_draws
from agebench.training.run_cards import RUNS
from agebench.training.run_lock import marked
from agebench.training.runs import Run, load_run, same_training
from agebench.training.splits import LEFT_OUT, TRAIN


@dataclass(frozen=True)
class TrainSetting:
    """What a training is about to do, for the first lines of output.

    pretrained: what its network takes from a file of weights.
    """

    recipe: ModelRecipe
    why: str
    manifest: Path
    plan: PlanFacts | None
    records: int
    pretrained: Loaded | None = None


@dataclass(frozen=True)
class TrainReport:
    """What a training made.

    Attributes:
        run: The complete run.
        setting: The recipe, manifest and plan that it was trained with.
        train_records: Records that were trained on or validated with.
        steps: Training steps, one batch each; None for a classical method.
        seconds: How long the training took.
        evaluated: The run's errors on the test sets.
        notes: Sentences that the user should see.
    """

    run: Run
    setting: TrainSetting
    train_records: int
    steps: int | None
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
    without_leaks: Sequence[str | Path] = (),
    on: Sequence[str | Path] = (),
    seed: int = 0,
    resume: bool = False,
    reuse: bool = False,
    measure: bool = True,
    devices: int = 1,
    on_setting: Callable[[TrainSetting], None] | None = None,
    on_crops: Advance | None = None,
    on_step: Callable[[int, int, float | None, float | None], None] | None = None,
    on_predict: Advance | None = None,
) -> TrainReport:
    """Train a model recipe on a manifest's curated records, and evaluate the run on test sets.

    Args:
        model: Model recipe, by name or file; by default `neighborhood-34` on an accelerator, and on a CPU
            `neighborhood-lite` where the extra `backbones` is installed, else `neighborhood-quick`.
        manifest: A file, or a name in `manifests/` (see `Manifest`).
        plan: Balance plan by name; the newest by default, or every curated record once if there is none.
        runs: Folder of runs.
        changes: Dotted keys of the recipe with their values (`{"train.steps": 500}`).
        without_leaks: Test sets, by name or manifest file. Records whose file, photograph or person stands in one of
            them do not train.
        on: Test sets to evaluate the run on, by name or manifest file; by default those in `manifests/` of every
            dataset but the manifest's own.
        seed: Seed of weights, order, augmentation and validation split.
        resume: Continue the newest unfinished run of this recipe, seed and records.
        reuse: Take a complete run of this recipe, seed and records if there is one, or continue an unfinished one.
        measure: Whether to evaluate the run.
        devices: GPUs to train a network on; each computes its share of every batch. With more than one, a script
            needs `if __name__ == "__main__":`, and a notebook cannot be used.
        on_setting: Called with the recipe, manifest and plan before training.
        on_crops: Called with the progress of cropping.
        on_step: Called with step, steps, loss and the last validation MAE in years; for a classical method with the
            faces read, of how many, and None twice.
        on_predict: Called with the progress of predicting the test sets.

    Raises:
        UsageError: A name is unknown, or there are fewer devices.
        RecipeError: The recipe is wrong; the message lists every mistake.
        ManifestNotFound: There is no such manifest.
        NothingCurated: There is nothing to train on.
        StalePlan: The curated records have changed since the plan was made.
        RunError: Training diverges, or the run to resume is damaged.
        StorageError: The disk is full or the folder cannot be written.
        Interrupted: Ctrl-C; the last checkpoint is kept.
    """
    recipe, why = _recipe(model, changes)
    check_devices(devices, recipe)
    tested = named_test_sets(on)
    source = _source(manifest, plan).without_leaks_into(without_leaks)
    drawn = source.drawn(recipe, seed)
    setting = _setting(recipe, why, source, drawn)
    if on_setting:
        on_setting(setting)
    with marked(Path(runs), recipe.name, source.manifest) as tell:
        data, notes = _crop(source, recipe, seed, on_crops)
        tell("training")
        same = same_training(recipe, data, Path(runs), seed) if reuse else None
        if same and same.complete:
            run = load_run(same.path)
        else:
            run = train_on(
                devices, recipe, data, runs_dir=Path(runs), seed=seed,
                provenance=source.provenance | ({"test_sets": [str(path) for path in tested]} if tested else {}),
                resume=resume or same is not None, on_progress=on_step,
            )  # fmt: skip
        tell("measuring")
        evaluated = _measure(run, tested, source.dataset, notes, on_crops, on_predict) if measure else []
    return TrainReport(
        run,
        setting,
        int((data.copies > 0).sum()),
        recipe.train.steps if isinstance(recipe, NetworkRecipe) else None,
        float(run.card.get("seconds", 0.0)),
        evaluated,
        notes,
    )


@dataclass(frozen=True)
class _Source:
    """What a training draws from: a manifest's curated records of ages 0 to 99, and the plan."""

    manifest: Path
    dataset: str
    detector: str | None
    plan: PlanFacts | None
    rows: pl.DataFrame
    folders: dict[str, Folder]
    provenance: dict[str, Any]

    def drawn(self, recipe: ModelRecipe, seed: int) -> pl.DataFrame:
        """The records that train or validate, and those that are left out of both, with `split` and `copies`."""
        rows = with_draws(self.rows, self.plan, validation=recipe.validation, seed=seed, most=recipe.most_records)
        return rows.filter((pl.col("copies") > 0) | (pl.col("split") == LEFT_OUT))

    def without(self, lost: pl.DataFrame) -> _Source:
        return replace(self, rows=self.rows.join(lost, on="record_id", how="anti", maintain_order="left"))

    def without_leaks_into(self, test_sets: Sequence[str | Path]) -> _Source:
        """Without the records whose file, photograph or person stands in a test set. Raises NothingCurated if no record
        is left, and what reading a test set raises."""
        source, counts = self, {}
        manifests = [find_manifest(name) for name in test_sets]
        for manifest in manifests:
            tested = read_test_set(manifest)
            one_dataset = tested.card.name == self.dataset
            ours, theirs = with_vectors(source.rows, self.manifest, tested.rows, [tested.path])
            leaks = find_leaks(with_all_columns(ours), with_all_columns(theirs), one_dataset=one_dataset)
            leaking = source.rows.filter(leaks.is_not_null())
            counts[tested.card.name] = len(leaking)
            source = source.without(leaking)
        if source.rows.is_empty():
            raise NothingCurated(f"Every curated record of {self.manifest} leaks into {', '.join(counts)}.")
        if not manifests:
            return source
        left_out = {"without_leaks": counts, "without_leaks_into": [str(manifest) for manifest in manifests]}
        return replace(source, provenance=source.provenance | left_out)

    def fingerprint(self, recipe: ModelRecipe) -> str:
        """SHA-256 of all records that a training could draw, whatever its seed, and of the plan's rule."""
        columns = ["part", "path", "sha256", "age", "group_id", "photograph_id", "face_no"]
        known = frame_digest(self.rows.select(*columns, *(["label_suspicion"] if recipe.distrust else [])))
        rule = (self.plan.per_class, self.plan.thin_ages, self.plan.seed) if self.plan else None
        return hashlib.sha256(f"{known} {self.detector} {rule}".encode()).hexdigest()


def _source(manifest: str | Path | None, plan: str | None) -> _Source:
    path = find_manifest(manifest)
    with open_manifest(path) as con:
        must_be_judged(con, path)
        dataset, detector = get_meta(con, "dataset") or "", get_meta(con, "detector")
        facts, rows = choose_plan(con, path, plan), training_rows(con)
        provenance = {
            "dataset": dataset,
            "records": count_records(con),
            "manifest": str(path),
            "curated_fingerprint": curated_fingerprint(con),
            "curation_recipe": get_meta(con, "recipe"),
            "curation_recipe_digest": get_meta(con, "recipe_digest"),
            "label_fingerprint": get_meta(con, "label_fingerprint"),
            "detector": detector,
            "detector_choice": json.loads(get_meta(con, "detector_choice") or "null"),
            "plan": facts.__dict__ if facts else None,
            "audit": json.loads(get_meta(con, "audit") or "null"),
        }
        folders = folders_of(con)
    if rows.is_empty():
        raise NothingCurated(
            f"{path} has no curated record of an age from 0 to 99.",
            "`agebench curate` prints which check took how many.",
        )
    return _Source(path, dataset, detector, facts, rows, folders, provenance)


def _crop(source: _Source, recipe: ModelRecipe, seed: int, on_crops: Advance | None) -> tuple[TrainingData, list[str]]:
    """The drawn records with a crop each, and notes for the user. Records that cannot be cropped are removed and the
    draw is repeated, so that the classes stay complete."""
    fingerprint = source.fingerprint(recipe)  # of the curated records: which of them fail here depends on the draw
    faults: dict[str, int] = {}
    damaged = 0
    while True:
        drawn = source.drawn(recipe, seed)
        cropped = crop_records(
            drawn, source.folders, dataset=source.dataset, detector=source.detector, crop=recipe.crop,
            on_progress=on_crops,
        )  # fmt: skip
        damaged += cropped.damaged_shards
        if len(cropped.records) == len(drawn):
            break
        for fault, n in cropped.faults.items():
            faults[fault] = faults.get(fault, 0) + n
        source = source.without(drawn.join(cropped.records, on="record_id", how="anti"))
        if source.rows.is_empty():
            raise NothingCurated(
                f"No picture of the curated records of {source.manifest} could be read ({_listed(faults)}).",
                "Restore the pictures, or run `agebench curate` again with `--root`.",
            )
    notes = []
    if faults:
        notes.append(
            f"Left out records that could not be cropped: {_listed(faults)}. `agebench curate` updates the manifest."
        )
    if damaged:
        notes.append(f"{damaged} damaged crop shard(s) were rebuilt.")
    if whole := int(drawn["face_no"].null_count()):
        notes.append(f"{whole:,} curated records have no face; the whole picture is used for them.")
    records = drawn.drop("landmarks")
    return TrainingData.from_records(cropped.pictures, range(len(drawn)), records, fingerprint), notes


@dataclass(frozen=True)
class TrainForecast:
    """What a training would do.

    Attributes:
        setting: The recipe as resolved, the manifest and the plan.
        draws: Pictures per epoch, including copies.
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
    without_leaks: Sequence[str | Path] = (),
    on: Sequence[str | Path] = (),
    seed: int = 0,
    devices: int = 1,
) -> TrainForecast:
    """What `train` would do with these arguments, from a few timed steps; writes nothing. Raises as `train` does, but
    only one of the `devices` need be here."""
    recipe, why = _recipe(model, changes)
    check_shares(devices, recipe)
    tested = named_test_sets(on)
    source = _source(manifest, plan).without_leaks_into(without_leaks)
    drawn = source.drawn(recipe, seed)
    setting = _setting(recipe, why, source, drawn)
    trains = drawn.filter(pl.col("split") == TRAIN)
    ages, copies = (trains[name].cast(pl.Int64).to_numpy() for name in ("age", "copies"))
    draws = int(balanced_copies(ages, copies, recipe.balance, discounts_of(trains, recipe.distrust)).sum())
    tested = tested or manifests_for_testing(source.dataset)
    return TrainForecast(setting, draws, training_cost(recipe, draws, devices), tested)


def _setting(recipe: ModelRecipe, why: str, source: _Source, drawn: pl.DataFrame) -> TrainSetting:
    records = int((drawn["copies"] > 0).sum())
    pretrained = pretrained_of(recipe) if isinstance(recipe, NetworkRecipe) else None
    return TrainSetting(recipe, why, source.manifest, source.plan, records, pretrained)


def _recipe(model: str | None, changes: dict[str, Any] | None) -> tuple[ModelRecipe, str]:
    """(the recipe as resolved, why it is that one)."""
    name, why = (model, "chosen") if model else default_model()
    return resolve_recipe(name, changes), why


def default_model() -> tuple[str, str]:
    """The model recipe that `train` takes on this machine, and why it is that one."""
    if _accelerator():
        return "neighborhood-34", "the default on an accelerator"
    if has_imagenet_weights():
        return "neighborhood-lite", "the default on a CPU with the extra `backbones`"
    return "neighborhood-quick", "the default on a CPU"


def _measure(
    run: Run,
    tested: Sequence[Path],
    dataset: str,
    notes: list[str],
    on_crops: Advance | None,
    on_predict: Advance | None,
) -> list[Evaluation]:
    """Evaluate on test manifests, by default all but those of `dataset`; a failure becomes a note, because the run
    itself is complete."""
    evaluated: list[Evaluation] = []
    try:
        manifests = tested or manifests_for_testing(exclude=dataset)
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
    return ", ".join(f"{n:,} {fault.replace('_', ' ')}" for fault, n in sorted(faults.items())) or "no fault recorded"


def _accelerator() -> bool:
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
