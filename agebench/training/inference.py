"""A finished run as an estimator: ages for faces that are already aligned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor

from agebench.recipes import MethodRecipe, ModelRecipe, NetworkRecipe
from agebench.training.calibrate import tempered
from agebench.training.data import Ints, Pictures, check_size, read
from agebench.training.decoding import CLASSES, decoding_of, median_age
from agebench.training.features import Faces
from agebench.training.methods import make_method
from agebench.training.networks import normalise, trained_network
from agebench.training.runs import Run, load_weights

AT_ONCE = 1024  # faces that a method predicts between two reports of its progress


def predict_ages(
    run: Run,
    pictures: Pictures,
    rows: Sequence[int] | Ints,
    *,
    batch: int = 64,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The ages (N,) in years of the faces at `rows` and their probabilities (N, 100), None for a method without any.

    A network's age is that which its loss decodes to, the mean (eq. 6) or the median of a distribution; its
    probabilities are calibrated on the run's validation records (see `training.calibrate`). device: the best one by
    default.
    `on_progress(done, total)` is called after every batch.
    Raises RunError if the run's weights were changed, RecipeError if the pictures have another size.
    """
    where = np.asarray(rows, dtype=np.int64)
    if len(where):
        check_size(pictures, int(where[0]), run.recipe.crop.size)
    faces = Faces(pictures, where)
    weights = load_weights(run)
    ages, shares = predict_faces(run.recipe, weights, faces, batch=batch, device=device, on_progress=on_progress)
    known = run.card.get("calibration")
    return ages, tempered(shares, known["temperature"]) if known and shares is not None else shares


def predict_faces(
    recipe: ModelRecipe,
    weights: Mapping[str, Tensor],
    faces: Faces,
    *,
    batch: int = 64,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """As `predict_ages`, by a recipe and the weights that it was trained to."""
    if isinstance(recipe, NetworkRecipe):
        return _by_network(recipe, weights, faces, batch, device, on_progress)
    assert isinstance(recipe, MethodRecipe)
    return _by_method(recipe, {name: value.numpy() for name, value in weights.items()}, faces, on_progress)


@torch.inference_mode()
def _by_network(
    recipe: NetworkRecipe,
    weights: Mapping[str, Tensor],
    faces: Faces,
    batch: int,
    device: torch.device | str | None,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    if device is None:
        device = Fabric(accelerator="auto", devices=1).device
    network = trained_network(recipe.network, weights, device)
    ages = np.empty(len(faces), dtype=np.float32)
    decoding = decoding_of(recipe.loss)
    probabilities = np.empty((len(faces), CLASSES), dtype=np.float32) if decoding.probabilities else None
    for start in range(0, len(faces), batch):
        part = slice(start, start + batch)
        logits = network(normalise(torch.from_numpy(read(faces.pictures, faces.rows[part])).to(device)))
        ages[part] = decoding.ages(logits).cpu().numpy()
        if decoding.probabilities and probabilities is not None:
            probabilities[part] = decoding.probabilities(logits.float()).cpu().numpy()
        if on_progress:
            on_progress(min(start + batch, len(faces)), len(faces))
    return ages, probabilities


def _by_method(
    recipe: MethodRecipe,
    parameters: Mapping[str, NDArray[Any]],
    faces: Faces,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    method = make_method(recipe.method)
    found = []
    for start in range(0, len(faces), AT_ONCE):
        some = np.arange(start, min(start + AT_ONCE, len(faces)))
        found.append(method.predict(parameters, faces.take(some)))
        if on_progress:
            on_progress(int(some[-1]) + 1, len(faces))
    ages = np.concatenate([np.empty(0), *(ages for ages, _ in found)]).astype(np.float32)
    with_probabilities = [p for _, p in found if p is not None]
    if not found or len(with_probabilities) < len(found):
        return ages, None
    return ages, np.concatenate(with_probabilities).astype(np.float32)


def combined(
    each: Sequence[tuple[NDArray[Any], NDArray[Any] | None]],
) -> tuple[NDArray[np.float64], NDArray[np.float32] | None]:
    """The ages (N,) in years and the probabilities (N, 100) of the same faces by several estimators together.

    each: their ages and probabilities. The probabilities are the mean of theirs (the linear opinion pool of Stone, "The
    opinion pool", 1961), and the age is the median of that, which has the least expected absolute error: an estimator
    that is unsure of a face then moves the age less than one that is sure. Where one of them gives no probabilities,
    there are none, and the age is the mean of the ages.
    """
    shares = [one for _, one in each if one is not None]
    if len(shares) < len(each):
        return np.stack([ages for ages, _ in each]).astype(np.float64).mean(0), None
    pool = np.stack(shares).astype(np.float64).mean(0)
    return median_age(torch.from_numpy(pool)).numpy(), pool.astype(np.float32)


def spread(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Standard deviation in years of each distribution over the ages 0, 1, …: (N,) of (N, K)."""
    classes = np.arange(probabilities.shape[1])
    return np.sqrt(np.maximum(0, probabilities @ classes**2 - (probabilities @ classes) ** 2))
