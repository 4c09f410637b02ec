"""Files that appear whole or not at all, and what they hold."""

from __future__ import annotations

import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

from agebench.errors import StorageError


def write_whole(
    path: Path, content: bytes | memoryview, next_step: str = "Free some space and run the command again."
) -> None:
    """Write beside `path`, flush to disk, and rename: a crash or a full disk never leaves half a file.

    Missing folders are made. next_step: what to do where that fails. Raises StorageError.
    """
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")  # several processes may write one name
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


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """The hash of a file's content, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
