"""Training on several devices of one machine: a process for each, which share every batch (distributed data parallel).

The processes are Lightning Fabric's. Here is what crosses to the one that started them: progress, errors, and the run.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from agebench.errors import AgebenchError, Interrupted, RunError, UsageError
from agebench.files import write_whole
from agebench.recipes import ModelRecipe, NetworkRecipe
from agebench.training.data import TrainingData
from agebench.training.loop import Progress
from agebench.training.runs import Run, load_run, train_run

for noisy in ("lightning_fabric", "torch.multiprocessing.spawn"):  # ranks and ports, and how it stops what failed
    logging.getLogger(noisy).setLevel(logging.ERROR)


def must_have(devices: int, recipe: ModelRecipe) -> None:
    """Raises UsageError if a recipe cannot be trained on so many devices of this machine."""
    must_share(devices, recipe)
    gpus = torch.cuda.device_count()
    if gpus and devices > gpus:
        raise UsageError(f"This machine has {gpus} GPU{'s' if gpus > 1 else ''}, not {devices}.")


def must_share(devices: int, recipe: ModelRecipe) -> None:
    """Raises UsageError for a classical method on several devices, and for a network if its batch is too small for
    them: normalisation needs two pictures on each."""
    if devices < 1:
        raise UsageError(f"--devices: expected at least 1, not {devices}.")
    if devices == 1:
        return
    if not isinstance(recipe, NetworkRecipe):
        raise UsageError(f"{recipe.name} is no network: it is fitted in one process.", "Leave out --devices.")
    least = 2 * devices * recipe.train.accumulate
    if recipe.train.batch < least:
        raise UsageError(
            f"A batch of {recipe.train.batch} is too small for {devices} devices.",
            f"Use fewer of them, or --set train.batch={least} or more.",
        )


def train_on(
    devices: int, recipe: ModelRecipe, data: TrainingData, *, on_progress: Progress | None = None, **options: Any
) -> Run:
    """`train_run` by one process on each of several devices; each takes its share of every batch.

    options: further arguments of `train_run`. A script that calls this needs `if __name__ == "__main__":`, as every
    process imports it. Batch normalisation is over each process's share, so the weights differ from those of one
    process. Raises as `train_run` does, and UsageError as `must_have` does.
    """
    must_have(devices, recipe)
    assert isinstance(recipe, NetworkRecipe)
    fabric = Fabric(accelerator="auto", devices=devices, strategy="ddp_spawn", precision=recipe.train.precision)
    with tempfile.TemporaryDirectory() as errors, _leave_interrupts_to_the_processes():
        with _listening(on_progress) as tell:
            try:
                place = fabric.launch(partial(_one_of_them, recipe, data, tell, Path(errors), options))
            except (ProcessRaisedException, ProcessExitedException) as error:
                raise _first_error(Path(errors)) or _unexpected(error) from error
        if place is None:
            raise _first_error(Path(errors)) or Interrupted("The training was stopped.")
    return load_run(Path(place))


def _one_of_them(
    recipe: NetworkRecipe, data: TrainingData, tell: Connection, errors: Path, options: dict[str, Any], fabric: Fabric
) -> str | None:
    """What each process does. An interrupt reaches all of them, and each ends by itself, so that the checkpoint is
    written; any other error makes torch stop the others, which would wait for this one."""

    def progress(*told: Any) -> None:
        tell.send(told)

    try:
        return str(train_run(recipe, data, fabric=fabric, on_progress=progress, **options).path)
    except AgebenchError as error:
        write_whole(errors / f"{fabric.global_rank}", pickle.dumps(error))
        if isinstance(error, Interrupted):
            return None
        raise
    except KeyboardInterrupt:  # the second Ctrl-C
        return None


def _first_error(folder: Path) -> AgebenchError | None:
    """The error that a process left, of the first if there are several."""
    for path in sorted(folder.iterdir()):
        return pickle.loads(path.read_bytes())  # written by our own processes
    return None


def _unexpected(error: Exception) -> RunError:
    lines = str(error).strip().splitlines()
    return RunError(f"A process of the training ended: {lines[-1] if lines else type(error).__name__}")


@contextmanager
def _listening(on_progress: Progress | None) -> Iterator[Connection]:
    """A pipe whose messages are given to `on_progress`, by a thread."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    ended = threading.Event()

    def listen() -> None:
        while receiver.poll() or not ended.is_set():
            if receiver.poll(0.1):
                told = receiver.recv()
                if on_progress:
                    on_progress(*told)

    thread = threading.Thread(target=listen, daemon=True)  # a killed process can leave half a message
    thread.start()
    try:
        yield sender
    finally:
        ended.set()
        thread.join(timeout=2)


@contextmanager
def _leave_interrupts_to_the_processes() -> Iterator[None]:
    """Ignore Ctrl-C, which reaches the processes too: they stop after the current step, with a checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
