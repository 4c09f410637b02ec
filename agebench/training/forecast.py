"""What a training costs: parameters, memory and time, from a few timed steps on noise. Nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from agebench.recipes import MethodRecipe, ModelRecipe, NetworkRecipe
from agebench.training.augment import augment
from agebench.training.features import BATCH, Faces, extract
from agebench.training.loop import start_fabric
from agebench.training.losses import make_loss
from agebench.training.methods import make_method
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import make_optimiser
from agebench.training.regression import PCA_FACES

TIMED = 3  # steps, after one warm-up step
TIMED_FACES = 64  # whose features are timed, for a classical method
ON_A_CPU = 16  # pictures per timed step: a whole batch of a large network takes minutes there


@dataclass(frozen=True)
class Cost:
    """What a training costs.

    parameters: of the network; None for a classical method, whose number depends on the faces.
    bytes: weights, gradients, the optimiser's state, and what a batch's backward pass needs; for a method, the features
    of the faces that it holds at once. seconds: of all steps, without cropping and validation; for a method, of reading
    every face's features, without fitting. device: where they were timed.
    """

    parameters: int | None
    bytes: int
    seconds: float
    device: str


def training_cost(recipe: ModelRecipe, faces: int) -> Cost:
    """Time a few steps of a recipe on the best device of this machine. faces: drawn per epoch. Raises RecipeError."""
    if isinstance(recipe, NetworkRecipe):
        return _network_cost(recipe)
    assert isinstance(recipe, MethodRecipe)
    return _method_cost(recipe, faces)


def _method_cost(recipe: MethodRecipe, faces: int) -> Cost:
    name = getattr(make_method(recipe.method), "features", None)
    if name is None:
        return Cost(None, 0, 0.0, "cpu")
    size = recipe.crop.size
    noise = np.random.default_rng(0).integers(0, 256, (TIMED_FACES, size, size, 3), dtype=np.uint8)
    sample = Faces(noise, np.arange(TIMED_FACES))
    extract(name, sample.take(np.arange(BATCH)))  # loads what the feature needs
    began = time.perf_counter()
    features = extract(name, sample)
    seconds = (time.perf_counter() - began) / TIMED_FACES * faces
    return Cost(None, features[0].nbytes * min(faces, PCA_FACES), seconds, "cpu")


def _network_cost(recipe: NetworkRecipe) -> Cost:
    how, fabric = recipe.train, start_fabric(recipe)
    device = fabric.device
    batch = min(how.batch, ON_A_CPU) if device.type == "cpu" else how.batch
    network = make_network(recipe.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = sum(p.numel() for p in network.parameters())
    model, optimiser = fabric.setup(network, make_optimiser(network, how))
    loss_of, generator = make_loss(recipe.loss), torch.Generator(device)
    size = recipe.crop.size
    pictures = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, device=device)
    ages = torch.randint(0, 100, (batch,), device=device)
    saved: dict[int, int] = {}

    def counted(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    took = []
    for _ in range(1 + TIMED):
        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(counted, lambda tensor: tensor):
            loss = loss_of(model(normalise(augment(pictures, recipe.augment, generator))), ages)
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        loss.item()  # waits for the accelerator
        took.append(time.perf_counter() - began)
        held, saved = sum(saved.values()), {}
    state = sum(t.nbytes for s in optimiser.state.values() for t in s.values() if isinstance(t, Tensor))
    weights = sum(t.nbytes for t in network.state_dict().values())
    average = weights if how.average else 0
    share = how.batch / batch
    return Cost(
        parameters,
        int(2 * weights + state + average + held * share),
        min(took[1:]) * share * how.steps,
        torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    )
