"""Cross-fitting: every record's age is estimated by a model that was trained only on other records.

So the estimates can tell wrong claims from right ones although they were learned from the same claims: after few steps
a network has not memorised single wrong ages, and no model ever estimates a record that it was trained on.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import nn

from agebench.errors import Interrupted, NothingCurated, RecipeError
from agebench.files import DECLARATION, read_file, write_whole
from agebench.recipes import Loss, MethodRecipe, ModelRecipe, NetworkRecipe, digest
from agebench.training.data import Ints, Pictures, TrainingData, check_size, read
from agebench.training.decoding import decoding_of
from agebench.training.features import Faces, extract
from agebench.training.inference import spread
from agebench.training.loop import Examples, Progress, fit, start_fabric
from agebench.training.methods import make_method
from agebench.training.networks import normalise, trained_network
from agebench.training.splits import fold_of, training_for

Mask = NDArray[np.bool_]
Estimates = tuple[NDArray[np.float64], NDArray[np.float64] | None]  # ages (N,), probabilities (N, 100)
# (records to train on, records to estimate; folder, seed, on_progress) → the latter's estimates
Estimate = Callable[..., Estimates]
IDENTITY = "crossfit.json"
BATCH = 64
HELD = 2**30
SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "part": pl.String, "path": pl.String, "sha256": pl.String, "age": pl.Int64, "fold": pl.Int32,
    "estimate": pl.Float64, "spread": pl.Float64, "log_probability": pl.Float64, "probabilities": pl.List(pl.Float32),
}  # fmt: skip


def crossfit(
    recipe: ModelRecipe,
    data: TrainingData,
    *,
    folder: Path,
    folds: int = 5,
    seed: int = 0,
    on_progress: Progress | None = None,
    fabric: Fabric | None = None,
) -> pl.DataFrame:
    """Out-of-fold estimates of every record of `data`, in its order (`SCHEMA`).

    estimate: the expected age in years. spread: its standard deviation in years. probabilities: of the ages 0 to 99,
    by a network the mean of the picture and its mirror image. log_probability: of the claimed age. These three are NULL
    where a classical method gives no probabilities. fold: the record's own. Records with no copies are not trained on,
    but estimated.

    folder: keeps finished folds and the checkpoint of the current one, so the same call continues where an interrupted
    one stopped; folds of another recipe, seed, number of folds or other records are deleted. A network sees
    `recipe.train.steps` batches per fold. `on_progress(step, steps, loss, val_mae)` counts the steps of all folds, or
    the faces of which a method reads its features.
    Raises NothingCurated if all records are in one group, RecipeError if the pictures have another size, the loss
    trains no probabilities or the recipe has distrust, RunError if training diverges, Interrupted at Ctrl-C.
    """
    if recipe.distrust:
        raise RecipeError(
            "train.distrust cannot be used in cross-fitting, which label suspicion is computed from.", "Set it to 0."
        )
    place = fold_of(data.records, folds, seed)
    held_out = np.unique(place)
    if len(held_out) < 2:
        raise NothingCurated("Cross-fitting needs records of at least two groups, found one.", "Curate more records.")
    check_size(data.pictures, int(data.rows[0]), recipe.crop.size)
    if isinstance(recipe, NetworkRecipe) and decoding_of(recipe.loss).probabilities is None:
        raise RecipeError(
            f"Cross-fitting needs probabilities of the ages, and the loss '{recipe.loss.name}' gives none.",
            "Name another loss, such as neighborhood.",
        )
    identity = {"recipe": digest(recipe), "seed": seed, "folds": folds, "data": data.fingerprint}
    _begin(folder, identity)
    if isinstance(recipe, NetworkRecipe):
        estimate: Estimate = partial(_by_network, recipe, data, fabric=fabric or start_fabric(recipe))
    else:
        assert isinstance(recipe, MethodRecipe)
        estimate = _by_method(recipe, data, on_progress)
    parts = []
    for nth, fold in enumerate(held_out):
        kept = folder / f"fold-{fold}.parquet"
        table = _finished(kept)
        if table is None:
            out = place == fold

            def progress(step: int, steps: int, loss: float | None, val_mae: float | None, nth: int = nth) -> None:
                if on_progress:
                    on_progress(nth * steps + step, len(held_out) * steps, loss, val_mae)

            place_of = folder / f"fold-{fold}"
            table = _one_fold(estimate, data, out, int(fold), place_of, seed * folds + int(fold), progress)
            table.write_parquet(held := io.BytesIO())
            write_whole(kept, held.getbuffer())
            shutil.rmtree(place_of, ignore_errors=True)
        parts.append(table)
    order = np.argsort(np.concatenate([np.flatnonzero(place == fold) for fold in held_out]), kind="stable")
    return pl.concat(parts)[order]


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    """Create the folder, or delete its folds if they are of something else."""
    path, text = folder / IDENTITY, json.dumps(identity, indent=2) + "\n"
    with suppress(OSError):
        if read_file(path, DECLARATION) == text.encode():
            return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("fold-*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    write_whole(path, text.encode())


def _finished(path: Path) -> pl.DataFrame | None:
    """The estimates of a finished fold; None if there are none, or if their file is damaged: the fold is repeated."""
    try:
        table = pl.read_parquet(io.BytesIO(read_file(path)))
    except (OSError, pl.exceptions.PolarsError):
        return None
    return table if table.schema == pl.Schema(SCHEMA) else None


def _one_fold(
    estimate: Estimate, data: TrainingData, out: Mask, fold: int, folder: Path, seed: int, on_progress: Progress
) -> pl.DataFrame:
    """Estimate the held-out records, `out`, after training on the others (see `training_for`): rows of `SCHEMA`."""
    drawn = training_for(data.records, out) & (data.copies > 0)
    if not drawn.any():
        raise NothingCurated(f"No record is left to train fold {fold} on.", "Curate more records.")
    folder.mkdir(exist_ok=True)
    try:
        ages, probabilities = estimate(drawn, out, folder=folder, seed=seed, on_progress=on_progress)
    except Interrupted as error:
        raise Interrupted(
            f"{error.message} Finished folds are in {folder.parent}.", "Run it again to continue."
        ) from error
    rows = data.records.filter(pl.Series(out)).select(
        "part", "path", "sha256", pl.col("age").cast(pl.Int64), fold=pl.lit(fold, pl.Int32),
        estimate=pl.Series(ages, dtype=pl.Float64),
    )  # fmt: skip
    if probabilities is None:
        return rows.with_columns(pl.lit(None, kind).alias(name) for name, kind in list(SCHEMA.items())[-3:])
    claimed = probabilities[np.arange(len(probabilities)), data.ages[out]]
    return rows.with_columns(
        spread=pl.Series(spread(probabilities), dtype=pl.Float64),
        log_probability=pl.Series(np.log(np.maximum(claimed, 1e-30)), dtype=pl.Float64),
        probabilities=pl.Series(probabilities.astype(np.float32)).cast(pl.List(pl.Float32)),
    )


def _by_network(
    recipe: NetworkRecipe,
    data: TrainingData,
    drawn: Mask,
    out: Mask,
    *,
    folder: Path,
    seed: int,
    fabric: Fabric,
    on_progress: Progress,
) -> Estimates:
    examples = Examples.of(data, drawn).balanced(recipe.balance)
    none = Examples.of(data, np.zeros_like(out))
    trained = fit(recipe, examples, none, folder=folder, seed=seed, fabric=fabric, on_progress=on_progress)
    network = trained_network(recipe.network, trained.weights, fabric.device)
    probabilities = _probabilities(network, recipe.loss, data.pictures, data.rows[out], fabric.device)
    return probabilities @ np.arange(probabilities.shape[1]), probabilities


def _by_method(recipe: MethodRecipe, data: TrainingData, on_progress: Progress | None) -> Estimate:
    """What fits the method. Features are extracted once where those of all records fit into `HELD` bytes, else in each
    fold again."""

    def read(done: int, total: int) -> None:
        if on_progress:
            on_progress(done, total, None, None)

    method, faces = make_method(recipe.method), Faces(data.pictures, data.rows)
    feature = getattr(method, "features", None)
    if feature and extract(feature, faces.take(np.zeros(1, np.int64))).nbytes * len(data.pictures) <= HELD:
        faces = faces.with_features(feature, read)

    def estimate(drawn: Mask, out: Mask, *, folder: Path, seed: int, on_progress: Progress) -> Estimates:
        counts = data.copies[drawn].astype(np.float64)
        fitted = method.fit(faces.take(np.flatnonzero(drawn)), data.ages[drawn], weights=counts, seed=seed)
        return method.predict(fitted, faces.take(np.flatnonzero(out)))

    return estimate


@torch.inference_mode()
def _probabilities(
    network: nn.Module, loss: Loss, pictures: Pictures, rows: Ints, device: torch.device
) -> NDArray[np.float64]:
    """(N, 100): probabilities of the ages, the mean over each face at `rows` and its mirror image."""
    probabilities = decoding_of(loss).probabilities
    assert probabilities is not None
    found = []
    for start in range(0, len(rows), BATCH):
        batch = normalise(torch.from_numpy(read(pictures, rows[start : start + BATCH])).to(device))
        both = probabilities(network(batch).double()) + probabilities(network(batch.flip(3)).double())
        found.append(both.cpu().numpy() / 2)
    return np.concatenate(found)
