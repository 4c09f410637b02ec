"""Observing: finds the files to look at, spreads them over worker processes, and writes the results to part files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl
import pyarrow as pa

from agebench.curation.observing.observers import File, Observers
from agebench.curation.observing.parts import PART_SCHEMA, PartWriter
from agebench.curation.observing.worker import observe_batch, set_up
from agebench.errors import Interrupted
from agebench.pictures import Locator
from agebench.pool import Crashed, run_batches
from agebench.remote import Folder

BATCH = 16  # pictures sent to a worker at a time; a killed run loses at most one batch per worker


@dataclass(frozen=True)
class Progress:
    """The progress of an observation: pictures done, pictures in all, and seconds since it began."""

    done: int
    total: int
    seconds: float


def pending_files(
    known: pl.DataFrame, folders: Mapping[str, Folder], seen: Mapping[str, pl.Series]
) -> tuple[pl.DataFrame, int]:
    """(files that must be looked at, records whose file needs no look).

    known: `manifest.records.known_files`. seen: for each observer that should run, the contents that it has seen. A
    file is looked at again if its size or time has changed, or if an observer has not seen its content. A record that
    is `alone` (an optional column of `known`) needs no embedding. The files are a frame with the columns of `File`
    except `faces`.
    """
    locator = Locator(folders)
    facts = [locator.stat(p, q) for p, q in zip(known["part"].to_list(), known["path"].to_list(), strict=True)]
    now = pl.DataFrame(facts, schema={"now_bytes": pl.Int64, "now_mtime": pl.Int64, "fault": pl.Utf8}, orient="row")
    frame = pl.concat([known, now], how="horizontal")
    same = (
        pl.col("known")
        & pl.col("bytes").eq_missing(pl.col("now_bytes"))
        & pl.col("mtime").eq_missing(pl.col("now_mtime"))
        & (pl.col("fault").is_null() | pl.col("fault").eq_missing(pl.col("error")))
        & ~(pl.col("fault").is_null() & pl.col("error").is_in(["missing", "no_permission"]).fill_null(False))
    )
    whole = pl.when(pl.col("error").is_null()).then(pl.col("sha256"))  # the content could be decoded
    alone = pl.col("alone") if "alone" in known.columns else pl.lit(False)
    lacking = []
    for observer, contents in seen.items():
        unseen = whole.is_in(contents.implode()).fill_null(False).not_()
        lacking.append(pl.when(unseen & ~alone if observer.startswith("embedding:") else unseen).then(pl.lit(observer)))
    todo = pl.concat_list(lacking).list.drop_nulls() if lacking else pl.lit([], pl.List(pl.Utf8))
    frame = frame.with_columns(todo=todo, same=same, whole=whole, alone=alone)
    needed = ~(pl.col("same") & (pl.col("error").is_not_null() | (pl.col("todo").list.len() == 0)))
    files = (
        frame.filter(needed)
        .sort("alone", maintain_order=True)
        .unique(["part", "path"], keep="first", maintain_order=True)
        .select("part", "path", "now_bytes", "now_mtime", "fault", "whole", "todo", faces=pl.lit(None), alone="alone")
        .rename({"now_bytes": "bytes", "now_mtime": "mtime", "whole": "sha256"})
    )
    return files, int(frame.select((~needed).sum()).item())


class ObserveFiles(Protocol):
    """An engine: looks at files and yields tables of `PART_SCHEMA` as they are done, in any order."""

    def __call__(
        self, files: pl.DataFrame, folders: Mapping[str, Folder], observers: Observers, workers: int | None
    ) -> Generator[pa.Table, None, None]: ...


def observe_here(
    files: pl.DataFrame, folders: Mapping[str, Folder], observers: Observers, workers: int | None
) -> Generator[pa.Table, None, None]:
    """The local engine: worker processes on this machine, one per core if `workers` is None."""
    enough = max(1, min(workers or os.cpu_count() or 1, -(-len(files) // BATCH)))
    with closing(
        run_batches(observe_batch, batches(files), workers=enough, setup=set_up, setup_args=(dict(folders), observers))
    ) as results:
        for result in results:
            yield as_rows(result)


def observe(
    files: pl.DataFrame,
    folders: Mapping[str, Folder],
    manifest: Path,
    *,
    observers: Observers,
    workers: int | None = None,
    observe_files: ObserveFiles = observe_here,
    on_progress: Callable[[Progress], None] | None = None,
) -> int:
    """Look at `files` (from `pending_files`, optionally with `faces`) and write part files beside the manifest; returns
    how many.

    Raises Interrupted on Ctrl-C, after writing what was finished, StorageError on a full disk, and whatever
    `observe_files` raises."""
    began = time.monotonic()
    done = 0
    writer = PartWriter(manifest)
    hopeless = files.filter(pl.col("fault").is_not_null())  # faults known from the file system need no worker
    readable = files.filter(pl.col("fault").is_null())
    results = observe_files(readable, folders, observers, workers)
    try:
        if len(hopeless):
            writer.write(_faulty(hopeless))
            done = len(hopeless)
        if len(readable):
            for table in results:
                writer.write(table)
                done += len(table)
                if on_progress:
                    on_progress(Progress(done, len(files), time.monotonic() - began))
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Stopped after {done:,} of {len(files):,} pictures; what was observed is kept.",
            "The same command continues from here.",
        ) from error
    finally:
        results.close()
        writer.close()
    return done


def batches(files: pl.DataFrame) -> Iterator[list[File]]:
    """The rows of a frame with the columns of `File`, a batch at a time."""
    for start in range(0, len(files), BATCH):
        yield [File(*row) for row in files[start : start + BATCH].iter_rows()]


def as_rows(result: pa.Table | Crashed[File]) -> pa.Table:
    """A worker's result as rows of `PART_SCHEMA`: a picture that ended its process is `crashed`."""
    if isinstance(result, Crashed):
        item = result.item
        crashed = {"part": item.part, "path": item.path, "bytes": item.bytes, "mtime": item.mtime, "fault": "crashed"}
        return _faulty(pl.DataFrame([crashed]))
    return result


def _faulty(files: pl.DataFrame) -> pa.Table:
    """Rows of files that were not looked at, or in vain; a million may be missing."""
    known = files.select("part", "path", "bytes", "mtime", error="fault").to_arrow()
    columns = [
        known[field.name].cast(field.type) if field.name in known.schema.names else pa.nulls(len(known), field.type)
        for field in PART_SCHEMA
    ]
    return pa.table(columns, schema=PART_SCHEMA)
