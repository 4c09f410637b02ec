"""DLA, deeply learned ageing patterns: features pooled from every layer of a small network that was trained to tell the
age, reduced to principal components, then support vector regression.

Source: Wang, Guo and Kambhamettu, "Deeply-learned feature for age estimation", WACV 2015. They read all layers instead
of the last, reduce them (PCA, then manifold learning) and regress by SVM.

Left open there, and chosen here: the network's widths (`agebench.training.networks.dla`), crops of 64 pixels, its
training with cross entropy (1,500 steps of AdamW with weak augmentation); each feature map averaged in a 4×4 grid;
no manifold learning after PCA, which by their figures adds little. The network and the regression learn from the same
faces, and the features of seen faces fit better than those of new ones; dropout and the few components limit that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch.nn import functional as F

from agebench.recipes import Augment, Crop, Loss, Network, NetworkRecipe, Training
from agebench.training import loop
from agebench.training.data import Ints, read
from agebench.training.features import Advance, Faces, Floats
from agebench.training.methods import Ages, Parameters
from agebench.training.networks import make_network, normalise
from agebench.training.networks.dla import DlaNetwork
from agebench.training.regression import fit_svr, inside, machine, onto, principal_components, under, within_range

GRID = 4  # feature maps are averaged to so many cells a side
BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Dla:
    steps: Annotated[int, Field(ge=1)] = 1500  # of the network's training
    batch: Annotated[int, Field(ge=1)] = 64
    rate: Annotated[float, Field(gt=0)] = 2e-3
    components: Annotated[int, Field(ge=1)] = 300
    c: Annotated[float, Field(gt=0)] = 30.0
    gamma: Annotated[float, Field(gt=0)] = 0.1
    epsilon: Annotated[float, Field(ge=0)] = 1.0  # years

    def fit(
        self, faces: Faces, ages: Ints, *, weights: NDArray[np.float64], seed: int, on_progress: Advance | None = None
    ) -> Parameters:
        network = self._trained(faces, ages, weights, seed, on_progress)
        features = _features(network, faces)
        projection = principal_components(features, self.components, seed)
        settings: dict[str, Any] = {"c": self.c, "gamma": self.gamma, "epsilon": self.epsilon, "seed": seed}
        svr = fit_svr(onto(projection, features), ages, weights, **settings)
        state = {name: value.numpy() for name, value in network.state_dict().items()}
        return under("network", state) | under("projection", projection) | under("svr", svr)

    def predict(self, parameters: Mapping[str, NDArray[Any]], faces: Faces) -> tuple[Ages, None]:
        network = _network()
        state = inside("network", parameters)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        points = onto(inside("projection", parameters), _features(network, faces))
        return within_range(machine(inside("svr", parameters), points)), None

    def network_recipe(self, size: int) -> NetworkRecipe:
        """How the network is trained on crops of `size` pixels."""
        how = Training(
            steps=self.steps,
            batch=self.batch,
            optimiser="adamw",
            rate=self.rate,
            weight_decay=0.05,
            schedule="one-cycle",
            checkpoint_every=self.steps,
            average=0.99,
        )
        return NetworkRecipe(
            name="dla",
            title="the network of DLA",
            label="DLA",
            crop=Crop(size=size),
            network=Network(name="dla"),
            loss=Loss(name="cross-entropy"),
            augment=Augment(crop=0.1, rotate=5.0, colour=0.2),
            train=how,
        )

    def _trained(
        self, faces: Faces, ages: Ints, weights: NDArray[np.float64], seed: int, on_progress: Advance | None
    ) -> DlaNetwork:
        recipe = self.network_recipe(read(faces.pictures, faces.rows[:1]).shape[1])
        copies = np.maximum(1, np.rint(weights)).astype(np.int64)
        train = loop.Examples(faces.pictures, faces.rows, ages, copies)
        none = loop.Examples(faces.pictures, faces.rows[:0], ages[:0], copies[:0])

        def advance(step: int, steps: int, loss: float | None, mae: float | None) -> None:
            if on_progress:
                on_progress(step * self.batch, steps * self.batch)

        with tempfile.TemporaryDirectory() as folder:
            fitted = loop.fit(
                recipe,
                train,
                none,
                folder=Path(folder),
                seed=seed,
                fabric=loop.start_fabric(recipe),
                on_progress=advance,
            )
        network = _network()
        network.load_state_dict(fitted.weights)
        return network


def _network() -> DlaNetwork:
    made = make_network(Network(name="dla"))
    assert isinstance(made, DlaNetwork)
    return made.eval()


@torch.inference_mode()
def _features(network: DlaNetwork, faces: Faces) -> Floats:
    """What all layers say of each face, pooled: (N, D)."""
    found = []
    for start in range(0, len(faces), BATCH):
        pictures = torch.from_numpy(read(faces.pictures, faces.rows[start : start + BATCH]))
        maps = network.layers(normalise(pictures))
        pooled = [F.adaptive_avg_pool2d(one, GRID).flatten(1) if one.ndim == 4 else one for one in maps]
        found.append(torch.cat(pooled, 1).numpy())
    return np.concatenate(found)


method = Dla
