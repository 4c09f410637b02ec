"""Observations in: part files written while a run observes, folded into the manifest in one short transaction.

A part file is Arrow IPC with one row a file that was looked at (`PART_SCHEMA`). A crash leaves parts; the next fold
takes them. Folding the same part twice changes nothing.
"""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

import duckdb
import pyarrow as pa

from agebench.manifest.store import storage_errors

IMAGE_FIELDS = [
    ("format", pa.string()), ("width", pa.int32()), ("height", pa.int32()), ("channels", pa.int32()),
    ("grayscale", pa.bool_()), ("phash", pa.uint64()), ("sharpness", pa.float64()), ("brightness", pa.float64()),
    ("contrast", pa.float64()),
]  # fmt: skip
FACE_FIELDS = [
    ("x", pa.float64()), ("y", pa.float64()), ("w", pa.float64()), ("h", pa.float64()), ("score", pa.float64()),
    ("sharpness", pa.float64()), ("landmarks", pa.list_(pa.float32())),
]  # fmt: skip
PART_SCHEMA = pa.schema(
    [
        ("part", pa.string()), ("path", pa.string()), ("sha256", pa.string()), ("bytes", pa.int64()),
        ("mtime_ns", pa.int64()), ("error", pa.string()),
        ("image_version", pa.string()), ("image", pa.struct(IMAGE_FIELDS)),
        ("detector", pa.string()), ("detector_version", pa.string()), ("detector_error", pa.string()),
        ("faces", pa.list_(pa.struct(FACE_FIELDS))),
    ]
)  # fmt: skip
_number = itertools.count()

FOLD = """
CREATE TEMP TABLE incoming AS
    SELECT * FROM parts QUALIFY row_number() OVER (PARTITION BY part, path ORDER BY mtime_ns DESC NULLS LAST) = 1;
DELETE FROM content USING incoming WHERE content.part = incoming.part AND content.path = incoming.path;
INSERT INTO content SELECT part, path, sha256, bytes, mtime_ns, error FROM incoming ORDER BY part, path;

CREATE TEMP TABLE fresh AS
    SELECT * FROM incoming WHERE sha256 IS NOT NULL AND error IS NULL
    QUALIFY row_number() OVER (PARTITION BY sha256 ORDER BY part, path) = 1;
DELETE FROM image USING fresh WHERE image.sha256 = fresh.sha256 AND fresh.image IS NOT NULL;
INSERT INTO image SELECT sha256, image.* FROM fresh WHERE image IS NOT NULL ORDER BY sha256;
DELETE FROM observed USING fresh WHERE observed.sha256 = fresh.sha256
    AND (observed.observer = 'image' OR observed.observer = 'faces:' || fresh.detector);
INSERT INTO observed SELECT sha256, 'image', image_version, NULL FROM fresh ORDER BY sha256;
INSERT INTO observed SELECT sha256, 'faces:' || detector, detector_version, detector_error FROM fresh
    WHERE detector IS NOT NULL ORDER BY sha256;
DELETE FROM face USING fresh WHERE face.sha256 = fresh.sha256 AND face.detector = fresh.detector;
INSERT INTO face
    SELECT sha256, detector, face_no, f.x, f.y, f.w, f.h, f.score, f.sharpness, f.landmarks
    FROM (SELECT sha256, detector, generate_subscripts(faces, 1) - 1 AS face_no, unnest(faces) AS f FROM fresh)
    ORDER BY sha256, face_no;
DROP TABLE incoming;
DROP TABLE fresh;
"""


def parts_folder(manifest: Path) -> Path:
    return manifest.with_name(manifest.name + ".parts")


def write_part(manifest: Path, rows: pa.Table) -> Path:
    """Write one part file beside the manifest, complete or not at all. Raises StorageError."""
    folder = parts_folder(manifest)
    path = folder / f"{time.time_ns():020d}-{os.getpid()}-{next(_number):05d}.arrow"
    beside = path.with_suffix(".tmp")
    with storage_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
            writer.write_table(rows)
        beside.rename(path)
    return path


def fold_parts(con: duckdb.DuckDBPyConnection, manifest: Path) -> list[Path]:
    """Fold all part files into the open (writing) manifest; the files that were folded, to be removed after commit.

    A part file that cannot be read is left out: its pictures are observed again.
    """
    folded, tables = [], []
    for path in sorted(parts_folder(manifest).glob("*.arrow")):
        try:
            table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
            table.validate(full=True)
        except (pa.ArrowException, OSError):
            folded.append(path)
            continue
        folded.append(path)
        if table.schema.equals(PART_SCHEMA):
            tables.append(table)
    if tables:
        con.register("parts", pa.concat_tables(tables))
        con.execute(FOLD)
        con.unregister("parts")
    return folded


def remove_parts(manifest: Path, folded: list[Path]) -> None:
    """Remove folded part files, and their folder when nothing is left in it."""
    for path in folded:
        path.unlink(missing_ok=True)
    folder = parts_folder(manifest)
    if folder.is_dir():
        for path in folder.glob("*.tmp"):
            path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
