"""What downloading and unpacking share about the disk: its room, its faults, sizes in words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from agebench.errors import AgebenchError, StorageError

RESERVE = 64 * 2**20  # bytes that are left free
OnBytes = Callable[[int, int | None], None]  # bytes done, bytes in all where that is known


def in_words(size: float) -> str:
    """`46.0 MB`, `7.0 GB`: thousands, as browsers and the authors' pages count."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.1f} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:.1f} GB"


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written to the disk of `folder`, which need not exist yet."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return max(shutil.disk_usage(folder).free - RESERVE, 0)


def need_space(folder: Path, size: int, what: str) -> None:
    """Raises StorageError where fewer than `size` bytes are free for `what`."""
    free = free_bytes(folder)
    if size > free:
        raise StorageError(
            f"{what} needs about {in_words(size)} on the disk of {folder}, and {in_words(free)} are free.",
            "Free some space, or choose another disk with `--root DIR`; the same command goes on from here.",
        )


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Faults of the disk while something is written to `folder`, as StorageError."""
    try:
        yield
    except AgebenchError:
        raise
    except OSError as error:
        where = error.filename2 or error.filename or folder
        raise StorageError(
            f"Cannot write {where}: {error.strerror or error}.", "Mend it; the same command goes on from here."
        ) from error
