"""A finished run as an estimator: ages for faces that are already aligned."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray

from agebench.training.data import Ints, Pictures, check_size, read
from agebench.training.networks import expected_age, normalise
from agebench.training.runs import Run, load_network

CLASSES = 100  # ages 0 to 99


@torch.inference_mode()
def predict_ages(
    run: Run,
    pictures: Pictures,
    rows: Sequence[int] | Ints,
    *,
    batch: int = 64,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The expected ages (N,) in years (eq. 6) and the probabilities (N, 100) of the faces at `rows`.

    device: the best one by default. `on_progress(done, total)` is called after every batch.
    Raises RunError if the run's weights were changed, RecipeError if the pictures have another size.
    """
    where = np.asarray(rows, dtype=np.int64)
    if device is None:
        device = Fabric(accelerator="auto", devices=1).device
    network = load_network(run, device)
    ages = np.empty(len(where), dtype=np.float32)
    probabilities = np.empty((len(where), CLASSES), dtype=np.float32)
    if len(where):
        check_size(pictures, int(where[0]), run.recipe.crop.size)
    for start in range(0, len(where), batch):
        part = slice(start, start + batch)
        logits = network(normalise(torch.from_numpy(read(pictures, where[part])).to(device)))
        ages[part] = expected_age(logits).cpu().numpy()
        probabilities[part] = logits.float().softmax(1).cpu().numpy()
        if on_progress:
            on_progress(min(start + batch, len(where)), len(where))
    return ages, probabilities


def spread(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Standard deviation in years of each distribution over the ages 0, 1, …: (N,) of (N, K)."""
    classes = np.arange(probabilities.shape[1])
    return np.sqrt(np.maximum(0, probabilities @ classes**2 - (probabilities @ classes) ** 2))
