"""The local engine: files over worker processes, results into part files, nothing done twice, nothing lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from agebench.errors import Interrupted
from agebench.manifest.observations import PART_SCHEMA, PartWriter
from agebench.observe import measures
from agebench.observe.detectors import DetectorChoice
from agebench.observe.worker import File, look_at_batch, set_up
from agebench.pictures import Locator
from agebench.pool import Crashed, run_batches

BATCH = 16  # pictures that travel to a worker and back together; a killed run loses at most one of them a worker


@dataclass(frozen=True)
class Progress:
    """How far an observation is: pictures done of all, and seconds since it began."""

    done: int
    total: int
    seconds: float


def pending_files(known: pl.DataFrame, folders: Mapping[str, Path], seen: list[pl.Series]) -> tuple[list[File], int]:
    """(files that must be looked at, records whose file needs no look).

    known: `manifest.records.known_files`. seen: for each observer that should run, the contents that it has seen.
    A file is looked at again when its size or time differs, or when an observer has not seen its content.
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
    complete = pl.col("error").is_not_null()
    if seen:
        complete = complete | pl.all_horizontal(pl.col("sha256").is_in(s.implode()) for s in seen)
    todo = frame.filter(~(same & complete)).unique(["part", "path"], maintain_order=True)
    files = list(todo.select("part", "path", "now_bytes", "now_mtime", "fault").iter_rows())
    return files, int(frame.select((same & complete).sum()).item())


def observe(
    files: list[File],
    folders: Mapping[str, Path],
    manifest: Path,
    *,
    detector: DetectorChoice | None,
    workers: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> int:
    """Look at `files` with all observers and write part files beside the manifest; the number of part rows.

    Raises Interrupted on Ctrl-C, after writing what was finished, and StorageError on a full disk.
    """
    began = time.monotonic()
    done = 0
    writer = PartWriter(manifest)
    hopeless = [file for file in files if file[4]]  # faults known from the file system need no worker
    readable = [file for file in files if not file[4]]
    batches = (readable[i : i + BATCH] for i in range(0, len(readable), BATCH))
    enough = max(1, min(workers, -(-len(readable) // BATCH)))
    results = run_batches(look_at_batch, batches, workers=enough, setup=set_up, setup_args=(dict(folders), detector))
    try:
        if hopeless:
            writer.write(_faulty(hopeless))
            done = len(hopeless)
        if readable:
            for result in results:
                table = _faulty([(*result.item[:4], "crashed")]) if isinstance(result, Crashed) else result
                writer.write(table)
                done += len(table)
                if on_progress:
                    on_progress(Progress(done, len(files), time.monotonic() - began))
    except KeyboardInterrupt as error:
        raise Interrupted(
            f"Stopped after {done:,} of {len(files):,} pictures; what was observed is kept.",
            "The same command goes on from here.",
        ) from error
    finally:
        results.close()
        writer.close()
    return done


def observer_versions(detector: DetectorChoice | None) -> list[tuple[str, str]]:
    """(observer, version) of everything that one look at a picture runs."""
    versions = [("image", measures.VERSION)]
    if detector is not None:
        versions.append((f"faces:{detector.name}", detector.version))
    return versions


def _faulty(files: list[File]) -> pa.Table:
    rows = [
        {"part": part, "path": path, "bytes": size, "mtime": mtime, "error": fault}
        for part, path, size, mtime, fault in files
    ]
    return pa.Table.from_pylist(rows, schema=PART_SCHEMA)
