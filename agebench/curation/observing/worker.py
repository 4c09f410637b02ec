"""What a worker process does with a batch of files."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pyarrow as pa

from agebench.curation.observing.observers import File, Observers, PictureObserver
from agebench.curation.observing.parts import PART_SCHEMA
from agebench.remote import Folder

_watch: PictureObserver | None = None


def set_up(folders: dict[str, Folder], observers: Observers) -> None:
    """Runs once in every worker process."""
    global _watch
    _watch = PictureObserver(folders, observers)


def observe_batch(files: Sequence[File]) -> pa.Table:
    """Rows of `PART_SCHEMA` for a batch of files."""
    if _watch is None:
        raise RuntimeError("set_up has not run in this process")
    return as_table(list(_watch.observe(files)))


def as_table(rows: list[dict[str, object]]) -> pa.Table:
    """Looks as a table of `PART_SCHEMA`."""
    return pa.Table.from_pylist(rows, schema=PART_SCHEMA)


def seconds_per_picture(files: Sequence[File]) -> float:
    """How long one picture takes in a worker, after a first one for warming up."""
    if _watch is None:
        raise RuntimeError("set_up has not run in this process")
    list(_watch.observe(files[:1]))
    began = time.monotonic()
    list(_watch.observe(files))
    return (time.monotonic() - began) / len(files)
