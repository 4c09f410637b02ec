"""Only regular files of a stated size are read: pipes do not hang, and endless devices do not fill the memory.

`cli/test_bad_input.py` shows that every command does so.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agebench.files import file_hash, read_file

ENDLESS = Path("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to(ENDLESS)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: no byte is on the disk


ODD = pytest.mark.parametrize("make", [pipe, endless, huge])


@ODD
def test_odd_files_are_refused_at_once(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "labels.csv")
    with pytest.raises(OSError, match=r"not a regular file|larger than"):
        read_file(tmp_path / "labels.csv")


def test_a_file_may_have_as_many_bytes_as_is_said_and_no_more(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"four")
    assert read_file(file, 4) == b"four"
    with pytest.raises(OSError, match="larger than"):
        read_file(file, 3)


def test_a_pipe_has_no_hash(tmp_path: Path) -> None:
    pipe(tmp_path / "weights")
    with pytest.raises(OSError, match="not a regular file"):
        file_hash(tmp_path / "weights")
