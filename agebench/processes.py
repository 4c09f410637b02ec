"""Processes of this machine, named so that a later process with the same number is not taken for them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def this_process() -> str:
    """A name for this process, to be kept in a file: its number and when it started."""
    return f"{os.getpid()} {_started(os.getpid())}".strip()


def running(name: str) -> int | None:
    """The number of the process that `this_process` named, while it runs; None where it has ended, even if another
    process has its number now. Where the system does not say when a process started, the number alone decides."""
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
    """When a process started, in clock ticks since this boot of Linux, and which boot it was; empty elsewhere."""
    with suppress(OSError, IndexError):
        # the command's name, in parentheses, may hold blanks and parentheses itself; the start is the 22nd field
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return fields[19] + "@" + Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
