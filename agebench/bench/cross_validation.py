"""Training and testing a recipe on one dataset, fold by fold, as a protocol of its card says."""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from agebench.bench.evaluations import Evaluation
from agebench.bench.face_facts import FACE_COLUMNS
from agebench.bench.leakage import find_leaks, with_all_columns
from agebench.bench.matching_faces import with_vectors
from agebench.bench.partitions import Fold, folds_of
from agebench.bench.test_sets import ProtocolSet, keep_evaluation, predicted, read_test_set
from agebench.errors import Interrupted, NothingCurated, RunError, UsageError
from agebench.estimators import Advance
from agebench.estimators.keeping import begin, commit
from agebench.faces.crops import crop_records
from agebench.files import write_whole
from agebench.manifest.fingerprints import frame_digest
from agebench.manifest.places import find_manifest
from agebench.recipes import MethodRecipe, ModelRecipe, digest
from agebench.training.features import Faces as TrainingFaces
from agebench.training.run_cards import RUNS
from agebench.training.runs import COMMITTED

AT_MOST = 20_000  # faces whose features are held in memory for all folds

OnFold = Callable[[int, int, str], None]  # folds done, all of them, the name of the next


def cross_validate(
    recipe: ModelRecipe,
    on: str | Path,
    protocol: str,
    *,
    runs: str | Path = RUNS,
    seed: int = 0,
    on_crops: Advance | None = None,
    on_fold: OnFold | None = None,
) -> Evaluation:
    """Train a recipe on the training records of every fold of a protocol and predict its test records.

    Finished folds are kept, so the same call goes on where an interrupted one stopped.

    Args:
        recipe: As resolved by `agebench.training.resolve`.
        on: A dataset's name or a manifest file.
        protocol: The name of a table under [protocols] in its card.
        runs: Folder of runs, in which the folds, the predictions and a card are kept.
        seed: Seed of the training; the protocol has its own.
        on_crops: Called with the progress of cropping.
        on_fold: Called with folds done, all of them, and the name of the next.

    Returns:
        The errors of all folds' predictions together.

    Raises:
        UsageError: The card has no such protocol, or it does not train.
        RecipeError: The protocol does not fit the records.
        NothingCurated: No picture can be read.
        RunError: A network diverges, or a kept fold is damaged.
        Interrupted: Ctrl-C; finished folds are kept.
    """
    test_set = read_test_set(find_manifest(on), protocol)
    if test_set.partition is None:
        raise UsageError("This protocol trains nothing.", "Name one of [protocols] in the card.")
    asked = test_set.faces()
    cropped = crop_records(
        asked.records, asked.folders, dataset=asked.dataset, detector=asked.detector, crop=recipe.crop,
        on_progress=on_crops,
    )  # fmt: skip
    records, _ = with_vectors(cropped.records, test_set.path, cropped.records, [test_set.path])
    if records.is_empty():
        raise NothingCurated(f"No picture of {test_set.path} can be read.", "Restore the pictures.")
    folds = folds_of(records, test_set.partition, near=_release(test_set))
    folder = _folder(recipe, test_set, records, folds, Path(runs), seed)
    faces = TrainingFaces(cropped.pictures, np.arange(len(records)))
    name = getattr(_method(recipe), "features", None)
    if name is not None and len(folds) > 1 and len(records) <= AT_MOST:
        faces = faces.with_features(name, on_crops)
    parts = []
    for number, fold in enumerate(folds):
        kept = folder / "folds" / f"{number:04}.parquet"
        if on_fold:
            on_fold(number, len(folds), fold.name)
        if not kept.exists():
            try:
                table = _one_fold(recipe, records, faces, fold, folder / "folds" / f"{number:04}", seed, test_set)
            except KeyboardInterrupt as error:
                raise Interrupted(
                    f"Stopped after {number} of {len(folds)} folds; they are kept in {folder}.",
                    "The same command continues from here.",
                ) from error
            table.write_parquet(buffer := io.BytesIO())
            write_whole(kept, buffer.getvalue())
            shutil.rmtree(kept.with_suffix(""), ignore_errors=True)
        parts.append(_read(kept))
    if on_fold:
        on_fold(len(folds), len(folds), "")
    evaluation = keep_evaluation(
        folder,
        test_set,
        pl.concat(parts).join(
            records.select("part", "path", "subject_id", "sha256", "face_no", *FACE_COLUMNS),
            on=["part", "path"], how="left", maintain_order="left",
        ),
        unreadable=len(test_set.rows) - len(records),
        training_detector=test_set.detector,
        training_known=True,
    )  # fmt: skip
    if not (folder / COMMITTED).exists():
        commit(folder)
    return evaluation


def _read(kept: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(kept)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{kept} cannot be read: {str(error).splitlines()[0]}.", "Remove it; the same command makes it again."
        ) from error


def _one_fold(
    recipe: ModelRecipe,
    records: pl.DataFrame,
    faces: TrainingFaces,
    fold: Fold,
    folder: Path,
    seed: int,
    test_set: ProtocolSet,
) -> pl.DataFrame:
    """part, path, age, predicted, spread, probabilities, leak and fold of the test records of one fold."""
    from agebench.training.fitting import fit_faces
    from agebench.training.inference import predict_faces, spread

    train, test = np.flatnonzero(fold.train), np.flatnonzero(fold.test)
    ages = records["age"].cast(pl.Int64).to_numpy()
    folder.mkdir(parents=True, exist_ok=True)
    trained = fit_faces(recipe, faces.take(train), ages[train], folder=folder, seed=seed)
    found, shares = predict_faces(recipe, trained.weights, faces.take(test))
    spreads = np.full(len(found), np.nan) if shares is None else spread(shares).astype(np.float64)
    tested, known = records[test], with_all_columns(records[train])
    leaks = find_leaks(with_all_columns(tested), known, one_dataset=True)
    table = predicted(tested.select("part", "path", "age"), found.astype(np.float64), spreads, shares)
    return table.with_columns(leaks, fold=pl.lit(fold.name))


def _folder(
    recipe: ModelRecipe, test_set: ProtocolSet, records: pl.DataFrame, folds: list[Fold], runs_dir: Path, seed: int
) -> Path:
    """The folder of this cross-validation, with its card; another recipe, seed, record or fold makes another."""
    split = hashlib.sha256()
    for fold in folds:
        split.update(fold.name.encode() + np.packbits(fold.train).tobytes() + np.packbits(fold.test).tobytes())
    data = frame_digest(records.select("part", "path", "sha256", "age", "subject_id", "face_no"))
    facts = {
        "kind": "cross-validated",
        "dataset": test_set.card.name,
        "manifest": str(test_set.path),
        "protocol": test_set.protocol,
        "partition": test_set.partition.model_dump(mode="json") if test_set.partition else None,
        "folds": len(folds),
        "split_fingerprint": split.hexdigest(),
        "data_fingerprint": data,
        "recipe_digest": digest(recipe),
        "detector": test_set.detector,
        "files": {},
    }
    together = repr([facts["split_fingerprint"], data, facts["recipe_digest"], seed])
    identity = hashlib.sha256(together.encode()).hexdigest()
    folder = runs_dir / f"{recipe.name}-{test_set.card.name}-{test_set.protocol}-{identity[:8]}"
    if not folder.exists():
        trained = int(np.mean([fold.train.sum() for fold in folds]))
        how_often = "one training on" if len(folds) == 1 else f"{len(folds)} trainings on about"
        each = "" if len(folds) == 1 else " each"
        sentence = (
            f"{test_set.card.title} itself by the protocol {test_set.protocol}: {how_often} {trained:,} records{each}"
        )
        begin(folder, recipe, facts, seed=seed, trained_on=sentence)
        write_split(records, folds, folder / "split.csv")
    (folder / "folds").mkdir(exist_ok=True)
    return folder


def write_split(records: pl.DataFrame, folds: list[Fold], path: Path) -> None:
    """The folds as CSV: part, path, and for every fold `train`, `test` or nothing."""
    columns = []
    for fold in folds:
        side = np.where(fold.test, "test", np.where(fold.train, "train", ""))
        columns.append(pl.Series(fold.name, side))
    tested_once = np.sum([fold.test for fold in folds], axis=0).max() <= 1
    if len(folds) > 2 and tested_once:  # every record is tested in one fold and trains in the others
        names = np.full(len(records), "", dtype=object)
        for fold in folds:
            names[fold.test] = fold.name
        columns = [pl.Series("folder", names.tolist(), dtype=pl.String)]
    write_whole(path, records.select("part", "path").with_columns(columns).write_csv().encode())


def _method(recipe: ModelRecipe) -> object | None:
    if not isinstance(recipe, MethodRecipe):
        return None
    from agebench.training.methods import make_method

    return make_method(recipe.method)


def _release(test_set: ProtocolSet) -> Path:
    """The folder in which a protocol's file may lie: that of the pictures, if they are on this machine."""
    first = next(iter(test_set.folders.values()), Path())
    return Path(str(first))
