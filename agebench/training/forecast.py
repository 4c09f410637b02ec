"""What a training costs: parameters, memory and time, from a few timed steps on noise. Nothing is written."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from agebench.recipes import MethodRecipe, ModelRecipe, NetworkRecipe
from agebench.training.augment import augment
from agebench.training.features import BATCH, Faces, extract
from agebench.training.loop import out_of_memory, start_fabric
from agebench.training.losses import make_loss
from agebench.training.methods import make_method
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import make_optimiser
from agebench.training.regression import PCA_FACES

TIMED = 3  # steps, after one with half a batch
TIMED_FACES = 64  # whose features are timed, for a classical method
ON_A_CPU = 16  # pictures per timed step: a whole batch of a large network takes minutes there


@dataclass(frozen=True)
class Cost:
    """What a training costs.

    parameters: of the network; None for a classical method, whose number depends on the faces.
    bytes: weights, gradients, the optimiser's state, and what the backward pass needs, on each of `devices` devices,
    which computes up to `share` pictures of every batch; for a method, the features of the faces that it holds at once.
    seconds: of all steps, without cropping, validation and what the devices exchange; for a method, of reading every
    face's features, without fitting. device: where they were timed, on one. fits: whether a share fits into its memory;
    if not, bytes and seconds are extrapolated from a smaller one. crowded: whether at least half of the cores
    were busy in the minute before the timing, on a CPU: beside other work it takes longer.
    """

    parameters: int | None
    bytes: int
    seconds: float
    device: str
    fits: bool
    devices: int = 1
    share: int | None = None
    crowded: bool = False


def training_cost(recipe: ModelRecipe, faces: int, devices: int = 1) -> Cost:
    """Time a few steps of a recipe on the best device of this machine. faces: drawn per epoch. devices: such as it that
    share every batch of a network; only one of them need be here.

    Raises RecipeError, and RunError if even two pictures do not fit into its memory.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # Windows does not know it
    if isinstance(recipe, NetworkRecipe):
        cost = _network_cost(recipe, devices)
    else:
        assert isinstance(recipe, MethodRecipe)
        cost = _method_cost(recipe, faces)
    return replace(cost, crowded=cost.device == "cpu" and load >= (os.cpu_count() or 1) / 2)


def _method_cost(recipe: MethodRecipe, faces: int) -> Cost:
    method = make_method(recipe.method)
    if trained := getattr(method, "network_recipe", None):  # what takes its time is training a network
        return _network_cost(trained(recipe.crop.size))
    name = getattr(method, "features", None)
    if name is None:
        return Cost(None, 0, 0.0, "cpu", fits=True)
    size = recipe.crop.size
    noise = np.random.default_rng(0).integers(0, 256, (TIMED_FACES, size, size, 3), dtype=np.uint8)
    sample = Faces(noise, np.arange(TIMED_FACES))
    extract(name, sample.take(np.arange(BATCH)))  # loads what the feature needs
    began = time.perf_counter()
    features = extract(name, sample)
    seconds = (time.perf_counter() - began) / TIMED_FACES * faces
    return Cost(None, features[0].nbytes * min(faces, PCA_FACES), seconds, "cpu", fits=True)


def _network_cost(recipe: NetworkRecipe, devices: int = 1) -> Cost:
    how, fabric = recipe.train, start_fabric(recipe)
    device = fabric.device
    network = make_network(recipe.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    parameters = sum(p.numel() for p in network.parameters())
    model, optimiser = fabric.setup(network, make_optimiser(network, how))
    loss_of, generator = make_loss(recipe.loss), torch.Generator(device)
    size = recipe.crop.size
    weights = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in network.state_dict().values()}

    def step(batch: int) -> tuple[int, float]:
        """(bytes that the backward pass needs beside the weights, seconds)."""
        saved: dict[int, int] = {}

        def counted(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                saved[storage.data_ptr()] = storage.nbytes()
            return tensor

        pictures = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, device=device)
        ages = torch.randint(0, 100, (batch,), device=device)
        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(counted, lambda tensor: tensor):
            loss = loss_of(model(normalise(augment(pictures, recipe.augment, generator))), ages)
        optimiser.zero_grad()
        fabric.backward(loss)
        optimiser.step()
        loss.item()  # waits for the accelerator
        return sum(saved.values()), time.perf_counter() - began

    share = -(-how.batch // devices)
    part = -(-share // how.accumulate)  # what is computed at once
    batch, fits = min(part, ON_A_CPU) if device.type == "cpu" else part, True
    while True:
        smaller = max(min(batch, 2), batch // 2)  # batch normalisation needs two pictures
        try:
            held_by_smaller, _ = step(smaller)
            held, *took = zip(*(step(batch) for _ in range(TIMED)), strict=True)
            break
        except torch.OutOfMemoryError as error:
            if batch <= 2:
                raise out_of_memory(recipe) from error
            batch, fits = batch // 2, False
    # what is kept once, whatever the batch, such as weights in another precision, cancels out
    a_picture = (held[0] - held_by_smaller) / max(batch - smaller, 1)
    state = sum(t.nbytes for s in optimiser.state.values() for t in s.values() if isinstance(t, Tensor))
    # weights, gradients, the moving average, and the gradients that are exchanged
    copies = 2 + bool(how.average) + (devices > 1)
    return Cost(
        parameters,
        int(copies * sum(weights.values()) + state + held[0] + a_picture * (part - batch)),
        # processes on one CPU share its cores
        min(took[0]) * (how.batch if device.type == "cpu" else share) / batch * how.steps,
        torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        fits,
        devices,
        share,
    )
