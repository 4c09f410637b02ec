"""Processes on this machine: names that a later one with the same number does not share, and starts that Ctrl-C does
not interrupt."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")
WAKE_SECONDS = 0.2  # a library's handler of Ctrl-C (Polars has one) does not end waits: wake up now and then


def this_process() -> str:
    """A name for this process, to store in a file: its number and its start time."""
    return f"{os.getpid()} {_started(os.getpid())}".strip()


def running(name: str) -> int | None:
    """The number of the process that `this_process` named, while it runs; None if it has ended, even if another process
    has its number now. If the system does not tell start times, only the number is compared."""
    number, _, started = name.partition(" ")
    try:
        process = int(number)
        os.kill(process, 0)
    except PermissionError:  # another user's
        pass
    except (ValueError, OSError, OverflowError):
        return None
    now = _started(process)
    return None if started and now and now != started else process


def _started(process: int) -> str:
    """A process's start, in clock ticks since boot, and the boot's id; empty on systems other than Linux."""
    with suppress(OSError, IndexError):
        # the command's name, in parentheses, may hold blanks and parentheses itself; the start is the 22nd field
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[19] + "@" + Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def undisturbed(call: Callable[[], Result]) -> Result:
    """Run `call()`, which may start processes, in a thread of its own, so that Ctrl-C cannot interrupt it. A started
    process inherits the blocked Ctrl-C.

    Blocking the signal in the main thread is not enough: another thread (numpy's, say) receives it, Python raises it in
    the main thread, and a started worker would never get its work. The thread ends with the call: Python's exit would
    wait forever for a permanent one if Ctrl-C interrupted its start and nothing refers to it.
    """
    called: Future[Result] = Future()

    def run() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            called.set_exception(error)
        else:
            called.set_result(result)

    threading.Thread(target=run).start()
    return result_of(called)


def result_of(future: Future[Result]) -> Result:
    """The result of a future; Ctrl-C is noticed meanwhile."""
    while not wait([future], WAKE_SECONDS).done:
        pass
    return future.result()
