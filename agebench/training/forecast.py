"""What a training costs: parameters, memory and time, from a few timed steps on noise. Nothing is written."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from agebench.recipes import ModelRecipe
from agebench.training.augment import augment
from agebench.training.loop import out_of_memory, start_fabric
from agebench.training.losses import make_loss
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import make_optimiser

TIMED = 3  # steps, after one with half a batch
ON_A_CPU = 16  # pictures per timed step: a whole batch of a large network takes minutes there


@dataclass(frozen=True)
class Cost:
    """parameters: of the network. bytes: weights, gradients, the optimiser's state, and what a batch's backward pass
    needs. seconds: of all steps, without cropping and validation. device: where the steps were timed. fits: whether a
    batch fits into its memory; if not, bytes and seconds are extrapolated from a smaller one."""

    parameters: int
    bytes: int
    seconds: float
    device: str
    fits: bool


def training_cost(recipe: ModelRecipe) -> Cost:
    """Time a few steps of a recipe on the best device of this machine. Raises RecipeError, and RunError if even two
    pictures do not fit into its memory."""
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

    batch, fits = min(how.batch, ON_A_CPU) if device.type == "cpu" else how.batch, True
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
    copies = 2 + bool(how.average)  # weights, gradients, the moving average
    return Cost(
        parameters,
        int(copies * sum(weights.values()) + state + held[0] + a_picture * (how.batch - batch)),
        min(took[0]) * how.batch / batch * how.steps,
        torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        fits,
    )
