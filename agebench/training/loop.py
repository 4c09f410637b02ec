"""The training loop, top to bottom: network, data, step, schedule, log, validation, checkpoint.

Data order, augmentation and dropout each have their own random stream, a function of (seed, step). So a killed and
resumed training ends with the same weights as an uninterrupted one, and changing one leaves the draws of the others
unchanged. Fabric handles devices, precision and multiple processes.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import pickle
import signal
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from agebench.errors import Interrupted, RecipeError, RunError
from agebench.files import write_whole
from agebench.recipes import ModelRecipe, NetworkRecipe, Training
from agebench.training.augment import augment, mixup
from agebench.training.data import Batches, Ints, Pictures, TrainingData, balanced_copies, discounts_of, loader, read
from agebench.training.decoding import Decoding, decoding_of
from agebench.training.log import METRICS, read_log
from agebench.training.losses import make_loss
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import MovingAverage, make_optimiser, rate_at, warmup_steps
from agebench.training.pretrained import start_from_weights

# step, steps, loss (None where a method has none), the last validation MAE in years
Progress = Callable[[int, int, float | None, float | None], None]
LOG_EVERY = 20  # steps between lines of metrics.jsonl
AUGMENTATION, DROPOUT = 1, 2  # streams of random numbers, each with seeds of its own


@dataclass(frozen=True)
class Examples:
    """Picture rows (N,), ages (N,) in years, and copies an epoch (N,)."""

    pictures: Pictures
    rows: Ints
    ages: Ints
    copies: Ints

    @classmethod
    def of(cls, data: TrainingData, mask: NDArray[np.bool_]) -> Examples:
        """The records of `data` selected by `mask` (N,)."""
        return cls(data.pictures, data.rows[mask], data.ages[mask], data.copies[mask])

    @classmethod
    def drawn_by(cls, recipe: ModelRecipe, data: TrainingData, mask: NDArray[np.bool_]) -> Examples:
        """The records of `data` selected by `mask` (N,), with the copies that the recipe's balance and distrust give
        them. Raises RecipeError if it needs label suspicion and there is none."""
        return cls.of(data, mask).balanced(recipe.balance, discounts_of(data.records.filter(mask), recipe.distrust))

    def balanced(self, by: float, discounts: NDArray[np.float64] | None = None) -> Examples:
        """The examples with their copies balanced (see `data.balanced_copies`)."""
        return replace(self, copies=balanced_copies(self.ages, self.copies, by, discounts))


def start_fabric(recipe: NetworkRecipe) -> Fabric:
    """One process on the best device, in the recipe's precision."""
    fabric = Fabric(accelerator="auto", devices=1, precision=recipe.train.precision)
    fabric.launch()
    return fabric


def out_of_memory(recipe: NetworkRecipe) -> RunError:
    """That a batch does not fit into the device's memory."""
    return RunError(
        f"The device has not enough memory for a batch of {recipe.train.batch:,} of {recipe.name}.",
        f"Compute it in parts with `--set train.accumulate={2 * recipe.train.accumulate}`, lower it with "
        f"`--set train.batch={max(recipe.train.batch // 2, 2)}`, or train on another device.",
    )


@dataclass(frozen=True)
class Trained:
    """weights: the network's state (the moving average where the recipe has one). val_mae: theirs, in years. steps:
    how many were made, and weights_of: the one that the weights are of; None for a method without steps."""

    weights: dict[str, Tensor]
    val_mae: float | None
    seconds: float
    steps: int | None = None
    weights_of: int | None = None


@dataclass(frozen=True)
class Best:
    """The lowest validation MAE so far, in years, the step at which it was found, and its weights."""

    val_mae: float
    step: int
    weights: dict[str, Tensor]


def fit(
    recipe: NetworkRecipe,
    train: Examples,
    validation: Examples,
    *,
    folder: Path,
    seed: int,
    fabric: Fabric,
    on_progress: Progress | None = None,
) -> Trained:
    """Train as `recipe` says, from the checkpoint in `folder` if there is one.

    With `patience`, training ends after that many validations without a lower MAE, and the weights with the lowest are
    kept. `on_progress(step, steps, loss, val_mae)` is called whenever the loss is read.

    Raises RunError if the loss is not finite, RecipeError if there is nothing to validate with for `patience`,
    Interrupted (after a checkpoint) at Ctrl-C.
    """
    how, device = recipe.train, fabric.device
    if how.patience and not len(validation.rows):
        raise RecipeError(
            "train.patience needs validation records, and the split holds none.", "Raise train.validation."
        )
    torch.manual_seed(seed)
    bare = make_network(recipe.network)
    pretrained = start_from_weights(bare, recipe.network)
    bare.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(bare).eval() if how.average else None
    network, optimiser = fabric.setup(bare, make_optimiser(bare, how, pretrained.taken if pretrained else ()))
    loss_of, generator = make_loss(recipe.loss), torch.Generator(device)
    decoding, at_once = decoding_of(recipe.loss), -(-how.batch // (how.accumulate * fabric.world_size))
    checkpoint = folder / "checkpoint" / "state.pt"
    follower = MovingAverage(average, bare, how.average) if average else None
    done, val_mae, spent = 0, None, 0.0
    best: Best | None = None
    if checkpoint.exists():
        state = _load(checkpoint)
        try:
            done, val_mae, spent = state["step"], state["val_mae"], state["seconds"]
            bare.load_state_dict(state["network"])
            optimiser.load_state_dict(state["optimiser"])
            fabric.strategy.precision.load_state_dict(state["precision"])
            if average:
                average.load_state_dict(state["average"])
            best = Best(**state["best"]) if state.get("best") else None
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise _unreadable(checkpoint, f"it does not fit the network of {recipe.name}") from error
    begun = time.perf_counter() - spent

    def save(step: int) -> None:
        state = {"step": step, "val_mae": val_mae, "seconds": time.perf_counter() - begun}
        state |= {"network": bare.state_dict(), "optimiser": optimiser.state_dict()}
        state |= {"precision": fabric.strategy.precision.state_dict()}
        state |= {"average": average.state_dict()} if average else {}
        state |= {"best": vars(best)} if best else {}
        if fabric.is_global_zero:
            checkpoint.parent.mkdir(exist_ok=True)
            torch.save(state, held := io.BytesIO())
            write_whole(checkpoint, held.getbuffer())

    last = done if _ended(how, best, done) else how.steps  # it may have been stopped just when it ended
    place = (seed, done, last, fabric.global_rank, fabric.world_size)
    batches = Batches(train.rows, train.ages, train.copies, how.batch, *place)
    workers = min(-(-how.workers // fabric.world_size), os.cpu_count() or 1)
    losses: list[Tensor] = []
    clock, logged = time.perf_counter(), done
    with _metrics(folder / METRICS, done, fabric.is_global_zero) as write, interrupts() as asked:
        for step, batch in enumerate(loader(train.pictures, batches, workers, device.type == "cuda"), done + 1):
            # step
            rate = rate_at(how, step - 1)
            for group in optimiser.param_groups:
                group["lr"] = rate * group["share"]
            generator.manual_seed(_mix(AUGMENTATION, seed, step, fabric.global_rank))
            torch.manual_seed(_mix(DROPOUT, seed, step, fabric.global_rank))
            pictures, ages = (part.to(device, non_blocking=True) for part in batch)
            optimiser.zero_grad()
            loss = torch.zeros((), device=device)
            pictures, partners, own = augment(pictures, recipe.augment, generator, recipe.crop.border), None, 1.0
            if recipe.augment.mixup:
                pictures, partner, own = mixup(pictures, recipe.augment.mixup, generator)
                partners = ages[partner].tensor_split(how.accumulate)
            parts = pictures.tensor_split(how.accumulate)
            for number, (some, theirs) in enumerate(zip(parts, ages.tensor_split(how.accumulate), strict=True)):
                with fabric.no_backward_sync(network, enabled=number + 1 < len(parts)):
                    # of a batch; the gradients of the processes are averaged
                    share, scores = len(theirs) * fabric.world_size / how.batch, network(normalise(some))
                    if how.small_loss and step > warmup_steps(how):
                        scores, theirs = _nearest(scores, theirs, decoding, 1 - how.small_loss)
                    part = loss_of(scores, theirs)
                    if partners:
                        part = own * part + (1 - own) * loss_of(scores, partners[number])
                    part = part * share
                    fabric.backward(part)
                loss += part.detach()
            if how.clip:
                fabric.clip_gradients(network, optimiser, max_norm=how.clip, error_if_nonfinite=False)
            optimiser.step()
            if follower:
                follower.follow(step)
            losses.append(loss)

            # what is due
            validating = len(validation.rows) > 0 and (step % how.validate_every == 0 or step == how.steps)
            saving = step % how.checkpoint_every == 0
            logging = step % LOG_EVERY == 0 or step == how.steps or validating or saving
            if not logging and device.type != "cpu":  # reading the loss would wait for the accelerator
                continue
            means = _finite(losses, step, recipe, fabric)
            if on_progress and fabric.is_global_zero:
                try:
                    on_progress(step, how.steps, means[-1].item(), val_mae)
                except KeyboardInterrupt:
                    asked.append(signal.SIGINT)
            stopping = step < how.steps and fabric.strategy.reduce_boolean_decision(bool(asked), all=False)

            # log, validation
            if logging or stopping:
                line = {"step": step, "loss": means.mean().item(), "rate": rate}
                line["pictures_per_second"] = round((step - logged) * how.batch / (time.perf_counter() - clock), 1)
                if validating:
                    _take_statistics_of_the_first(average or bare, fabric)
                    val_mae = mean_absolute_error(average or bare, validation, at_once, fabric, decoding)
                write(line | ({"val_mae": val_mae} if validating else {}))
                clock, logged, losses = time.perf_counter(), step, []

            # checkpoint, early stopping
            if how.patience and validating and val_mae is not None and (best is None or val_mae < best.val_mae):
                best = Best(val_mae, step, _weights(average or bare))
            if saving or stopping:
                save(step)
            if stopping:
                raise Interrupted(
                    f"Stopped after step {step} of {how.steps}; the checkpoint is in {checkpoint.parent}.",
                    "Run the same command with --resume to continue.",
                )
            done = step
            if _ended(how, best, step):
                break
    seconds = time.perf_counter() - begun
    if best:
        return Trained(best.weights, best.val_mae, seconds, done, best.step)
    return Trained(_weights(average or bare), val_mae, seconds, how.steps, how.steps)


def _ended(how: Training, best: Best | None, step: int) -> bool:
    """Whether early stopping ends the training after this step."""
    return bool(how.patience and best and step - best.step >= how.patience * how.validate_every)


def _nearest(scores: Tensor, ages: Tensor, decoding: Decoding, share: float) -> tuple[Tensor, Tensor]:
    """The scores (B, K) and ages (B,) of the share of examples whose predicted age is nearest to the claimed one: the
    small-loss selection of Han et al. (NeurIPS 2018), by the error in years, so that every loss selects alike."""
    errors = (decoding.ages(scores.detach()) - ages).abs()
    kept = errors.topk(max(1, round(share * len(ages))), largest=False).indices
    return scores[kept], ages[kept]


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """A copy of the network's state, on the CPU."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}


@torch.no_grad()
def _take_statistics_of_the_first(network: nn.Module, fabric: Fabric) -> None:
    """Give the network of every process the normalisation statistics of the first, whose weights are kept."""
    if fabric.world_size > 1:
        for buffer, first in zip(network.buffers(), fabric.broadcast(list(network.buffers())), strict=True):
            buffer.copy_(first)


@torch.inference_mode()
def mean_absolute_error(
    network: nn.Module, examples: Examples, batch: int, fabric: Fabric, decoding: Decoding
) -> float:
    """The MAE in years over all examples, each once, shared among the processes."""
    training = network.training
    network.eval()
    error = torch.zeros((), device=fabric.device)
    mine = np.arange(fabric.global_rank, len(examples.rows), fabric.world_size)
    for part in np.array_split(mine, max(1, -(-len(mine) // batch))):
        pictures = torch.from_numpy(read(examples.pictures, examples.rows[part])).to(fabric.device)
        with fabric.autocast():
            logits = network(normalise(pictures))
        error += (decoding.ages(logits) - torch.from_numpy(examples.ages[part]).to(fabric.device)).abs().sum()
    network.train(training)
    error = cast(Tensor, fabric.all_reduce(error, reduce_op="sum"))
    return error.item() / len(examples.rows)


def _load(checkpoint: Path) -> dict[str, Any]:
    try:
        if not zipfile.is_zipfile(checkpoint):  # torch would read it as its older format, a bare pickle
            raise pickle.UnpicklingError("it is not a checkpoint, or is truncated")
        # weights_only: a checkpoint is data and must not run code
        return cast(dict[str, Any], torch.load(checkpoint, map_location="cpu", weights_only=True))
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _unreadable(checkpoint, str(error).splitlines()[0]) from error


def _unreadable(checkpoint: Path, why: str) -> RunError:
    return RunError(
        f"{checkpoint} cannot be read: {why}.",
        f"Remove {checkpoint.parent} to restart this run, or train without --resume.",
    )


def _finite(losses: list[Tensor], step: int, recipe: NetworkRecipe, fabric: Fabric) -> Tensor:
    """The mean of each loss over the processes. losses: of the steps up to `step`, as many in every process.

    Raises RunError in every process if a loss in any process is not finite, so that none waits for another.
    """
    means = cast(Tensor, fabric.all_reduce(torch.stack(losses), reduce_op="mean"))
    values = means.tolist()  # a mean is finite only if all losses are
    wrong = [n for n, value in enumerate(values) if not math.isfinite(value)]
    if wrong:
        raise RunError(
            f"The {recipe.loss.name} loss of {recipe.name} became {values[wrong[0]]} at step "
            f"{step - len(values) + 1 + wrong[0]}: the training diverged.",
            f"Lower train.rate (it is {recipe.train.rate:g}), or lengthen train.warmup.",
        )
    return means


def _mix(*numbers: int) -> int:
    """One seed from several numbers; different numbers give different seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def _metrics(path: Path, done: int, writing: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that appends to metrics.jsonl. Lines after the checkpoint are removed first, as those steps repeat."""
    if not writing:
        yield lambda line: None
        return
    kept = [line for line in read_log(path) if line["step"] <= done]
    write_whole(path, "".join(json.dumps(line) + "\n" for line in kept).encode())
    with path.open("a", encoding="utf-8") as file:

        def write(line: dict[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield write


@contextmanager
def interrupts(at_the_first: Callable[[], None] | None = None) -> Iterator[list[int]]:
    """A list that fills at Ctrl-C, so that the current step can finish; a second Ctrl-C stops at once.

    at_the_first: called at the first one.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        if at_the_first:
            at_the_first()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
