"""Batches of work in single-threaded worker processes; a worker that dies costs one item, not the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from agebench.errors import WorkersFailed
from agebench.memory import keep_freed_memory
from agebench.processes import WAKE_SECONDS, result_of, undisturbed

Item = TypeVar("Item")
Result = TypeVar("Result")
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
END_SECONDS = 2.0
_starting = threading.Lock()


class Crashed(Generic[Item]):
    """Replaces the result of an item whose work killed its worker process."""

    def __init__(self, item: Item) -> None:
        self.item = item


def run_batches(
    work: Callable[[Sequence[Item]], Result],
    batches: Iterable[Sequence[Item]],
    *,
    workers: int,
    setup: Callable[..., None] | None = None,
    setup_args: tuple[Any, ...] = (),
) -> Generator[Result | Crashed[Item], None, None]:
    """Yield `work(batch)` for every batch, in the order in which they finish.

    `work` and `setup` are module-level functions; `setup(*setup_args)` runs once in every worker. OpenMP and the like
    get one thread per worker: with their defaults two workers run over ten times slower. At most three batches per
    worker are in progress, so memory does not grow with the number of batches. If a worker dies, unfinished batches
    run again one item at a time in a separate process, and an item that kills that one too yields `Crashed(item)`.
    """
    waiting = iter(batches)
    pool = _pool(workers, setup, setup_args)
    under_way: dict[Future[Result], Sequence[Item]] = {}
    try:
        while True:
            unsent: list[Sequence[Item]] = []
            while not unsent and len(under_way) < 3 * workers and (batch := next(waiting, None)) is not None:
                try:
                    under_way[_submit(pool, work, batch)] = batch
                except BrokenProcessPool:  # a worker has died since the last check
                    unsent.append(batch)
            if not under_way and not unsent:
                return
            done = set(under_way) if unsent else wait(under_way, WAKE_SECONDS, FIRST_COMPLETED).done
            if unsent or any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                finished = [f for f in under_way if f.done() and f.exception() is None]
                yield from (future.result() for future in finished)
                again = [batch for future, batch in under_way.items() if future not in finished] + unsent
                under_way = {}
                pool.shutdown(wait=False, cancel_futures=True)
                yield from _one_by_one(work, again, setup, setup_args)
                pool = _pool(workers, setup, setup_args)
                continue
            for future in done:
                del under_way[future]
                yield future.result()
    finally:
        _end(pool)


class Worker(Generic[Item, Result]):
    """One worker process for occasional batches, with the isolation of `run_batches`.

    Raises WorkersFailed if it cannot be started.
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Result], setup: Callable[..., None], setup_args: tuple[Any, ...]
    ) -> None:
        self.work, self.setup, self.setup_args = work, setup, setup_args
        self.pool = _pool(1, setup, setup_args)
        _check_that_it_starts(self.pool)

    def __call__(self, batch: Sequence[Item]) -> list[Result | Crashed[Item]]:
        """[work(batch)]; if that killed the process, the results of its items one by one."""
        try:
            return [result_of(_submit(self.pool, self.work, batch))]
        except BrokenProcessPool:
            _end(self.pool)
            self.pool = _pool(1, self.setup, self.setup_args)
            return list(_one_by_one(self.work, [batch], self.setup, self.setup_args))


def _one_by_one(
    work: Callable[[Sequence[Item]], Result],
    batches: list[Sequence[Item]],
    setup: Callable[..., None] | None,
    setup_args: tuple[Any, ...],
) -> Iterator[Result | Crashed[Item]]:
    pool = _pool(1, setup, setup_args)
    try:
        _check_that_it_starts(pool)
        for batch in batches:
            for item in batch:
                try:
                    result: Result | Crashed[Item] = result_of(_submit(pool, work, [item]))
                except BrokenProcessPool:
                    pool.shutdown(wait=False)
                    pool = _pool(1, setup, setup_args)
                    _check_that_it_starts(pool)
                    result = Crashed(item)
                yield result
    finally:
        _end(pool)


def _submit(pool: ProcessPoolExecutor, work: Callable[[Any], Result], batch: Any) -> Future[Result]:
    return _start(lambda: pool.submit(work, batch))  # which may start a worker


def _start(call: Callable[[], Result]) -> Result:
    """Run `call()`, which may start a worker, undisturbed by Ctrl-C.

    A started process inherits the limit of one thread per library, which also applies to what it imports before
    `_begin`.
    """

    def run() -> Result:
        with _starting, _one_thread_each(), _without_main():
            return call()

    return undisturbed(run)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ |= dict.fromkeys(THREAD_LIMITS, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the main module from a started process: it would run a script without `if __name__ == "__main__"` again,
    and the workers need nothing from it."""
    main = sys.modules["__main__"]
    before: dict[str, object] = {name: vars(main)[name] for name in ("__file__", "__spec__") if name in vars(main)}
    vars(main).pop("__file__", None)
    vars(main)["__spec__"] = None
    try:
        yield
    finally:
        vars(main).update(before)


def _end(pool: ProcessPoolExecutor) -> None:
    """End a pool at once, without waiting for batches that nobody will read."""
    with _starting:  # lets a worker finish starting, and none start afterwards
        workers = list((getattr(pool, "_processes", None) or {}).values())  # from Python 3.14 on: terminate_workers
        manager: threading.Thread | None = getattr(pool, "_executor_manager_thread", None)
        pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    if manager is not None:  # at Python's exit it may close a pipe that the exit writes to: a traceback on the terminal
        manager.join(END_SECONDS)


def _check_that_it_starts(pool: ProcessPoolExecutor) -> None:
    """Raises WorkersFailed if no worker can start, which must not count as a crash of an item."""
    try:
        result_of(_submit(pool, len, ()))
    except BrokenProcessPool as error:
        raise WorkersFailed(
            "The worker processes end while they start (out of memory, or a library that cannot be loaded).",
            "`agebench doctor` checks the installation; `--workers 1` needs the least memory.",
        ) from error


def _pool(workers: int, setup: Callable[..., None] | None, setup_args: tuple[Any, ...]) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return _start(
        lambda: ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(setup, setup_args))
    )


def _begin(setup: Callable[..., None] | None, setup_args: tuple[Any, ...]) -> None:
    """Initialise a worker: one thread per library, and Ctrl-C is left to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for name in THREAD_LIMITS:
        os.environ[name] = "1"
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    keep_freed_memory()
    import cv2

    cv2.setNumThreads(1)
    if setup is not None:
        setup(*setup_args)


def _end_with_parent() -> None:
    """End this worker when its parent is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
