"""Storing observations: part files are written while a run observes, then merged into the manifest in one transaction.

A part file is an Arrow stream with one row per file that was looked at (`PART_SCHEMA`). After a crash, the next fold
merges the parts that were left. Folding the same part twice changes nothing.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
from filelock import FileLock, Timeout

from agebench.errors import ManifestBusy
from agebench.files import DECLARATION, read_file
from agebench.manifest.renewal import derivations_made, forget, mark_made
from agebench.manifest.store import query, storage_errors
from agebench.processes import running, this_process

IMAGE_FIELDS = [
    ("format", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("channels", pa.int32()),
    ("grayscale", pa.bool_()), ("phash", pa.uint64()), ("sharpness", pa.float64()), ("brightness", pa.float64()),
    ("contrast", pa.float64()), ("inset_phash", pa.list_(pa.uint64())), ("edges", pa.list_(pa.uint64())),
]  # fmt: skip
FACE_FIELDS = [
    ("x", pa.float64()), ("y", pa.float64()), ("w", pa.float64()), ("h", pa.float64()), ("score", pa.float64()),
    ("sharpness", pa.float64()), ("landmarks", pa.list_(pa.float32())),
]  # fmt: skip
OBSERVED_FIELDS = [("observer", pa.string()), ("version", pa.string()), ("error", pa.string())]
AGE_FIELDS = [
    ("face_no", pa.int32()), ("estimator", pa.string()), ("age", pa.float64()), ("spread", pa.float64()),
    ("probabilities", pa.list_(pa.float32())),
]  # fmt: skip
EMBEDDING_FIELDS = [("face_no", pa.int32()), ("model", pa.string()), ("vector", pa.list_(pa.float32()))]
PART_SCHEMA = pa.schema(
    [
        ("part", pa.string()), ("path", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()),
        ("mtime", pa.int64()), ("error", pa.string()),
        ("observed", pa.list_(pa.struct(OBSERVED_FIELDS))),
        ("image", pa.struct(IMAGE_FIELDS)),
        ("detector", pa.string()), ("faces", pa.list_(pa.struct(FACE_FIELDS))),
        ("ages", pa.list_(pa.struct(AGE_FIELDS))), ("embeddings", pa.list_(pa.struct(EMBEDDING_FIELDS))),
    ]
)  # fmt: skip
_number = itertools.count()


# For every observer, the last observation of a content counts and replaces all earlier ones.
FOLD = """
CREATE TEMP TABLE incoming AS SELECT *, row_number() OVER () AS place FROM parts;
CREATE TEMP TABLE latest AS
    SELECT * FROM incoming
    QUALIFY row_number() OVER (PARTITION BY part, path ORDER BY mtime DESC NULLS LAST, place DESC) = 1;
DELETE FROM content USING latest WHERE content.part = latest.part AND content.path = latest.path;
INSERT INTO content SELECT part, path, sha256, bytes, mtime, error FROM latest ORDER BY part, path;

CREATE TEMP TABLE fresh AS
    SELECT sha256, place, o.observer, o.version, o.error
    FROM (SELECT sha256, place, unnest(observed) AS o FROM incoming WHERE sha256 IS NOT NULL AND error IS NULL)
    QUALIFY row_number() OVER (PARTITION BY sha256, o.observer ORDER BY place DESC) = 1;
DELETE FROM observed USING fresh WHERE observed.sha256 = fresh.sha256 AND observed.observer = fresh.observer;
INSERT INTO observed SELECT sha256, observer, version, error FROM fresh ORDER BY sha256, observer;

DELETE FROM image USING fresh WHERE image.sha256 = fresh.sha256 AND fresh.observer = 'image';
INSERT INTO image SELECT sha256, image.* FROM incoming SEMI JOIN (FROM fresh WHERE observer = 'image') USING (place)
    ORDER BY sha256;

DELETE FROM face USING fresh WHERE face.sha256 = fresh.sha256 AND 'faces:' || face.detector = fresh.observer;
INSERT INTO face
    SELECT sha256, detector, face_no, f.x, f.y, f.w, f.h, f.score, f.sharpness, f.landmarks
    FROM (
        SELECT sha256, detector, generate_subscripts(faces, 1) - 1 AS face_no, unnest(faces) AS f
        FROM incoming SEMI JOIN (FROM fresh WHERE starts_with(observer, 'faces:')) USING (place))
    ORDER BY sha256, face_no;

DELETE FROM age_estimate USING fresh
    WHERE age_estimate.sha256 = fresh.sha256 AND 'age:' || age_estimate.estimator = fresh.observer;
INSERT INTO age_estimate
    SELECT seen.sha256, a.face_no, a.estimator, a.age, a.spread, a.probabilities
    FROM (SELECT sha256, place, unnest(ages) AS a FROM incoming) AS seen
    SEMI JOIN fresh ON fresh.place = seen.place AND fresh.observer = 'age:' || a.estimator
    ORDER BY seen.sha256, a.estimator, a.face_no;

DELETE FROM embedding USING fresh
    WHERE embedding.sha256 = fresh.sha256 AND 'embedding:' || embedding.model = fresh.observer;
INSERT INTO embedding
    SELECT seen.sha256, e.face_no, e.model, e.vector
    FROM (SELECT sha256, place, unnest(embeddings) AS e FROM incoming) AS seen
    SEMI JOIN fresh ON fresh.place = seen.place AND fresh.observer = 'embedding:' || e.model
    ORDER BY seen.sha256, e.model, e.face_no;
DROP TABLE incoming;
DROP TABLE latest;
DROP TABLE fresh;
"""


def parts_folder(manifest: Path) -> Path:
    return manifest.with_name(manifest.name + ".parts")


def has_parts(manifest: Path) -> bool:
    """Whether there are observations that have not been merged yet."""
    return any(parts_folder(manifest).glob("*.arrows"))


@contextmanager
def one_at_a_time(manifest: Path) -> Iterator[None]:
    """Hold the lock for observing a manifest: a second process would merge and remove parts that the first still
    writes.

    Raises ManifestBusy if another process holds it, StorageError.
    """
    folder = parts_folder(manifest)
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        holder = _holder(manifest)
        lock = FileLock(folder / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            process = curating(manifest)
            who = "Another process" if process is None else f"Process {process}"
            raise ManifestBusy(f"{who} is curating {manifest}.", "Wait for it, or stop it.") from error
    try:
        holder.write_text(this_process(), encoding="utf-8")
        yield
    finally:
        holder.unlink(missing_ok=True)
        if not has_parts(manifest):
            shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def curating(manifest: Path) -> int | None:
    """The number of the process on this machine that is curating a manifest; its right is not touched by the look."""
    try:
        return running(read_file(_holder(manifest), DECLARATION).decode())
    except (OSError, UnicodeDecodeError):
        return None


def _holder(manifest: Path) -> Path:
    return parts_folder(manifest) / "process"


class PartWriter:
    """One part file beside the manifest, an Arrow stream: rows that were written survive the process."""

    def __init__(self, manifest: Path) -> None:
        self.folder = parts_folder(manifest)
        self.path = self.folder / f"{time.time_ns():020d}-{os.getpid()}-{next(_number):05d}.arrows"
        self.sink: Any = None
        self.writer: Any = None

    def write(self, rows: pa.Table) -> None:
        """Append rows and flush them to the operating system. Raises StorageError."""
        with storage_errors(self.folder):
            if self.writer is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.sink = self.path.open("xb")
                self.writer = pa.ipc.new_stream(self.sink, PART_SCHEMA)
            self.writer.write_table(rows)
            self.sink.flush()

    def close(self) -> None:
        if self.writer is not None:
            with storage_errors(self.folder):
                self.writer.close()
                self.sink.close()


def write_part(manifest: Path, rows: pa.Table) -> Path:
    """Write one part file. Raises StorageError."""
    writer = PartWriter(manifest)
    writer.write(rows)
    writer.close()
    return writer.path


def fold_parts(con: duckdb.DuckDBPyConnection, manifest: Path) -> list[Path]:
    """Merge all part files into the manifest, which is open for writing; verdicts are dropped if there was any. Returns
    the merged files, which are to be removed after the commit.

    From a part file that was cut off, complete rows count; the rest is observed again.
    """
    folded = sorted(parts_folder(manifest).glob("*.arrows"))
    tables = [table for path in folded if (table := _readable(path)) is not None]
    if tables:
        con.register("parts", pa.concat_tables(tables))
        con.execute(FOLD)
        con.unregister("parts")
        before = derivations_made(con).get("observations")
        names = ",".join(path.name for path in folded)
        mark_made(con, "observations", hashlib.sha256(f"{before and before.inputs_hash} {names}".encode()).hexdigest())
        forget(con, ["verdicts"])
    return folded


def names_in_parts(manifest: Path) -> pl.DataFrame:
    """Files whose observations have not been merged yet: part, path."""
    names = ["part", "path"]
    found: list[dict[str, str]] = []
    for path in sorted(parts_folder(manifest).glob("*.arrows")):
        table = _readable(path)
        found += table.select(names).to_pylist() if table is not None else []
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.Utf8))


def _readable(path: Path) -> pa.Table | None:
    batches = []
    with suppress(pa.ArrowException, OSError, StopIteration):
        reader = pa.ipc.open_stream(pa.BufferReader(path.read_bytes()))
        if not reader.schema.equals(PART_SCHEMA):
            return None
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            batches.append(batch)
    return pa.Table.from_batches(batches, PART_SCHEMA) if batches else None


def remove_parts(manifest: Path, folded: list[Path]) -> None:
    """Remove merged part files, and their folder if it is empty."""
    for path in folded:
        path.unlink(missing_ok=True)
    with suppress(OSError):
        parts_folder(manifest).rmdir()


def known_faces(con: duckdb.DuckDBPyConnection, contents: pl.DataFrame) -> pl.DataFrame:
    """The faces that the detector in force found in some contents (column `sha256`): sha256, faces (a list of structs
    face_no, x, y, w, h, landmarks, in pixels of the picture)."""
    con.register("wanted_contents", contents.select("sha256").unique().to_arrow())
    try:
        return query(
            con,
            """SELECT sha256, list({'face_no': face_no, 'x': x, 'y': y, 'w': w, 'h': h, 'landmarks': landmarks}
                                   ORDER BY face_no) AS faces
               FROM face_in_force SEMI JOIN wanted_contents USING (sha256) GROUP BY sha256""",
        )
    finally:
        con.unregister("wanted_contents")
