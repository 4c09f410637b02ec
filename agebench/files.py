"""Files that are written atomically, and read only if they are regular files of a sensible size."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from agebench.errors import StorageError

DECLARATION = 2**20  # bytes of the largest card or recipe that is read
LABELS = 2**30  # of the largest file of labels, answers or metadata


def write_whole(
    path: Path, content: bytes | memoryview, next_step: str = "Free some space and run the command again."
) -> None:
    """Write beside `path`, flush to disk, and rename: a crash or a full disk never leaves half a file.

    Missing folders are made. next_step: what the user should do if that fails. Raises StorageError.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")  # several processes may write the same name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise StorageError(f"Cannot write {path}: {error.strerror or error}.", next_step) from error


def read_file(path: Path, largest: int = LABELS) -> bytes:
    """The content of a regular file of at most `largest` bytes.

    A pipe or device is refused without waiting for it. Raises OSError, whose `strerror` completes the sentence
    "FILE cannot be read: …".
    """
    with open_regular(path) as file:
        must_fit(os.fstat(file.fileno()).st_size, largest)
        content = file.read(largest + 1)
        must_fit(len(content), largest)  # it may have grown
    return content


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open for reading. Raises OSError as `read_file` does."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            must_be_regular(file.fileno())
            yield file
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def must_be_regular(handle: int, largest: int | None = None) -> None:
    """Raises OSError if an open file is a pipe, a device or the like, or has more than `largest` bytes."""
    facts = os.fstat(handle)
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file but a pipe, a device or the like")
    if largest is not None:
        must_fit(facts.st_size, largest)


def must_fit(size: int, largest: int) -> None:
    """Raises OSError if a size is more than `largest` bytes."""
    if size > largest:
        raise OSError(errno.EFBIG, f"it is larger than {largest >> 20:,} MiB, the most that agebench reads")


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
