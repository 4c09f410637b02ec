"""Which process trains which run: a lock on each run's folder, and a mark for every `agebench train` under way.

A lock excludes, a file beside it names its holder. Nobody takes the lock just to look: that would refuse a training.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from agebench.errors import RunError
from agebench.files import DECLARATION, read_file, write_whole
from agebench.processes import running, this_process

LOCK, HOLDER, COMMITTED = "lock", "process", "COMMITTED"
MARK = ".train-"  # begins the names of the marks in the folder of runs
Stage = Literal["cropping", "training", "measuring"]


@contextmanager
def alone(folder: Path, name: str | None = None) -> Iterator[None]:
    """Lock the folder of an unfinished run, as two processes would overwrite each other's checkpoints.

    name: of the process that is told to be training it, as `this_process()`; this one by default.

    Raises RunError if another process is training there, or has completed the run.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        process = holder(folder)
        who = "Another process" if process is None else f"Process {process}"
        raise RunError(f"{who} is training the run {folder}.", "Wait for it, or stop it.") from error
    try:
        if (folder / COMMITTED).exists():
            raise RunError(f"Another process has completed the run {folder}.", "`agebench status` says what is next.")
        write_whole(folder / HOLDER, (name or this_process()).encode())
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        # Without the file, others lock a new one. That is safe only once the run is complete, which they then see.
        if (folder / COMMITTED).exists():
            (folder / LOCK).unlink(missing_ok=True)
        lock.release()


def holder(folder: Path) -> int | None:
    """The number of the process on this machine that is training a run; None if there is none."""
    with suppress(OSError, UnicodeDecodeError):
        return running(read_file(folder / HOLDER, DECLARATION).decode())
    return None


@dataclass(frozen=True)
class Underway:
    """An `agebench train` that a process on this machine is running."""

    process: int
    model: str
    manifest: str
    stage: Stage


@contextmanager
def marked(runs_dir: Path, model: str, manifest: Path) -> Iterator[Callable[[Stage], None]]:
    """Mark a training in the folder of runs from before its first crop to its last measurement; yields a function that
    changes the stage. Raises StorageError if the folder cannot be written."""
    for left in runs_dir.glob(f"{MARK}*"):
        if _underway(left) is None:  # of a process that was killed
            left.unlink(missing_ok=True)
    mark = runs_dir / f"{MARK}{uuid.uuid4().hex[:12]}"

    def tell(stage: Stage) -> None:
        facts = {"process": this_process(), "model": model, "manifest": str(manifest), "stage": stage}
        write_whole(mark, json.dumps(facts).encode(), "Name another folder with --runs.")

    tell("cropping")
    try:
        yield tell
    finally:
        mark.unlink(missing_ok=True)


def trainings(runs_dir: Path) -> list[Underway]:
    """The marked trainings whose process is still running."""
    found = (_underway(mark) for mark in sorted(runs_dir.glob(f"{MARK}*")))
    return [training for training in found if training is not None]


def _underway(mark: Path) -> Underway | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        facts = json.loads(read_file(mark, DECLARATION))
        process = running(facts.pop("process"))
        return None if process is None else Underway(process, **facts)
    return None
