"""Training on several devices of one machine: a process for each, which share every batch (distributed data parallel).

The processes are Lightning Fabric's. Here is what passes between them and the one that started them: progress, requests
to stop, errors, and the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from agebench.errors import AgebenchError, Interrupted, RunError, UsageError, described
from agebench.files import write_whole
from agebench.memory import keep_freed_memory
from agebench.processes import this_process, undisturbed
from agebench.recipes import ModelRecipe, NetworkRecipe
from agebench.training.data import TrainingData
from agebench.training.loop import Progress, interrupts
from agebench.training.runs import Run, load_run, train_run

ON_ONE = "Train on one device to see whether it fails there too."
RENDEZVOUS = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK")  # variables by which processes find each other
# who tell ranks and ports, before anything here is called, and how torch stops processes
for name in (
    "lightning_fabric.utilities.distributed",
    "lightning_fabric.utilities.rank_zero",
    "torch.multiprocessing.spawn",
):
    logging.getLogger(name).setLevel(logging.ERROR)


def check_devices(devices: int, recipe: ModelRecipe) -> None:
    """Raises UsageError if a recipe cannot be trained on so many devices of this machine."""
    check_shares(devices, recipe)
    if devices == 1:
        return
    gpus = torch.cuda.device_count()
    if gpus and devices > gpus:
        raise UsageError(f"This machine has {gpus} GPU{'s' if gpus > 1 else ''}, not {devices}.")
    if not gpus and torch.backends.mps.is_available():
        raise UsageError("This machine has one GPU, Apple's.", "Leave out --devices.")
    if hasattr(sys, "ps1"):
        raise UsageError("A notebook or an interactive session trains on one device.", "Use `agebench train`.")


def check_shares(devices: int, recipe: ModelRecipe) -> None:
    """Raises UsageError if so many devices, wherever they are, cannot share the batches of a recipe."""
    if devices < 1:
        raise UsageError(f"--devices: expected at least 1, not {devices}.")
    if devices == 1:
        return
    if not isinstance(recipe, NetworkRecipe):
        raise UsageError(f"{recipe.name} is no network: it is fitted in one process.", "Leave out --devices.")
    if recipe.train.small_loss:
        raise UsageError("train.small_loss selects from a whole batch: it needs one device.", "Leave out --devices.")
    least = 2 * devices * recipe.train.accumulate  # batch normalisation needs two pictures
    if recipe.train.batch < least:
        parts = f" in {recipe.train.accumulate} parts" if recipe.train.accumulate > 1 else ""
        raise UsageError(
            f"A batch of {recipe.train.batch}{parts} is too small for {devices} devices.",
            f"Use fewer of them, or --set train.batch={least} or more.",
        )


def train_on(
    devices: int, recipe: ModelRecipe, data: TrainingData, *, on_progress: Progress | None = None, **options: Any
) -> Run:
    """`train_run` on one device, or by one process on each of several, which each computes its share of every batch.

    options: further arguments of `train_run`. With several devices a script needs `if __name__ == "__main__":`, as
    every process imports it, and batch normalisation is over each process's share, so that the weights differ from
    those of one process. A first Ctrl-C stops all after a step, with a checkpoint, a second one at once.

    Raises as `train_run` does, what `on_progress` raises, and UsageError as `check_devices` does.
    """
    check_devices(devices, recipe)
    if devices == 1:
        return train_run(recipe, data, on_progress=on_progress, **options)
    assert isinstance(recipe, NetworkRecipe)
    stop = multiprocessing.get_context("spawn").Event()
    with (
        tempfile.TemporaryDirectory() as errors,
        _own_rendezvous(),
        interrupts(stop.set),
        _listening(on_progress, stop) as (updates, failures),
    ):
        fabric = Fabric(
            accelerator="auto", devices=devices, strategy="ddp_spawn", precision=recipe.train.precision,
            plugins=[LightningEnvironment()],
        )  # fmt: skip
        options["holder"] = this_process()
        train = partial(_train_in_process, recipe, data, options, updates, stop, Path(errors))
        others = multiprocessing.active_children()
        try:
            # a terminal sends Ctrl-C to the started processes too, but only this one is to act on it
            place = undisturbed(lambda: fabric.launch(train))
        except (ProcessRaisedException, ProcessExitedException) as error:
            raise _left_in(Path(errors), devices) or _unexpected(error) from error
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                if process not in others:
                    process.kill()
                    process.join()
            raise
        if failures:
            raise failures[0]
        if place is None:
            raise _left_in(Path(errors), devices) or Interrupted("The training was stopped.")
    return load_run(Path(place))


def _train_in_process(
    recipe: ModelRecipe, data: TrainingData, options: dict[str, Any], updates: Connection, stop: Event,
    errors: Path, fabric: Fabric,
) -> str | None:  # fmt: skip
    """What each process does; None if it was interrupted. Any other error makes torch stop the other processes, which
    would wait for this one."""
    keep_freed_memory()

    def progress(*update: Any) -> None:
        with suppress(OSError):  # the process that started this one has died
            updates.send(update)
            if not stop.is_set():
                return
        raise KeyboardInterrupt  # the loop shares it with the other processes

    def keep(error: AgebenchError) -> None:
        write_whole(errors / str(fabric.global_rank), pickle.dumps(error))

    try:
        return str(train_run(recipe, data, fabric=fabric, on_progress=progress, **options).path)
    except AgebenchError as error:
        keep(error)
        if isinstance(error, Interrupted):
            return None
        raise
    except Exception as error:
        keep(RunError(f"A process of the training failed: {described(error)}.", ON_ONE))
        raise


def _left_in(folder: Path, devices: int) -> AgebenchError | None:
    """The error that a process left: of the first that has more to tell than an interrupt."""
    paths = (folder / str(rank) for rank in range(devices))
    left: list[AgebenchError] = [pickle.loads(path.read_bytes()) for path in paths if path.exists()]
    return next((error for error in left if not isinstance(error, Interrupted)), left[0] if left else None)


def _unexpected(error: ProcessRaisedException | ProcessExitedException) -> RunError:
    """For a process that left no error: it was killed, or failed before the training began."""
    lines = str(error).strip().splitlines()
    why = lines[-1] if lines else type(error).__name__
    return RunError(f"A process of the training ended: {why}", ON_ONE)


@contextmanager
def _listening(on_progress: Progress | None, stop: Event) -> Iterator[tuple[Connection, list[BaseException]]]:
    """A pipe whose messages are given to `on_progress` by a thread, and what that raised, which sets `stop`."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    ended = threading.Event()
    failures: list[BaseException] = []

    def listen() -> None:
        while receiver.poll() or not ended.is_set():
            if not receiver.poll(0.1):
                continue
            update = receiver.recv()
            if on_progress and not failures:
                try:
                    on_progress(*update)
                except KeyboardInterrupt:
                    stop.set()
                except BaseException as error:  # noqa: BLE001 — raised again where the training was asked for
                    failures.append(error)
                    stop.set()

    thread = threading.Thread(target=listen, daemon=True)  # a killed process can leave half a message
    thread.start()
    try:
        yield sender, failures
    finally:
        ended.set()
        thread.join(timeout=2)


@contextmanager
def _own_rendezvous() -> Iterator[None]:
    """Without the variables of a cluster or of an earlier training, and with them again afterwards."""
    before = {name: os.environ.pop(name) for name in RENDEZVOUS if name in os.environ}
    try:
        yield
    finally:
        for name in RENDEZVOUS:
            os.environ.pop(name, None)
        os.environ.update(before)
