"""Names for processes on this machine that a later process with the same number does not share."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


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
