"""Writing the records of a release, all at once; and which of their files are known already."""

from __future__ import annotations

import json
from collections.abc import Mapping

import duckdb
import polars as pl

from agebench.manifest.derivations import DERIVATIONS
from agebench.manifest.fingerprints import frame_digest, label_fingerprint
from agebench.manifest.plans import outdate_plans
from agebench.manifest.renewal import derivations_made, forget, mark_made
from agebench.manifest.store import get_meta, query, set_meta
from agebench.remote import Folder, as_folder

RECORD_COLUMNS = (
    "part", "path", "subject_id", "name", "gender", "race", "dob", "dob_day", "photo_year", "age",
    "face_score", "second_face_score", "box_x", "box_y", "box_w", "box_h",
)  # fmt: skip


def write_records(con: duckdb.DuckDBPyConnection, records: pl.DataFrame, folders: Mapping[str, Folder]) -> bool:
    """Replace all records with those of a release just read; True if they differ from the earlier ones.

    The verdicts of earlier records are dropped; observations stay, keyed by content.
    """
    frame = records.select(RECORD_COLUMNS).with_columns(pl.col(pl.Float64).fill_nan(None))  # NaN > 0.4 is true in SQL
    places = json.dumps({part: str(folder.absolute()) for part, folder in sorted(folders.items())})
    set_meta(con, folders=places)
    digest = frame_digest(frame)
    known = derivations_made(con).get("records")
    if known is not None and known.inputs_hash == digest:
        return False
    con.register("incoming", frame.with_row_index("record_id").to_arrow())
    con.execute(f"DELETE FROM record; INSERT INTO record SELECT record_id, {', '.join(RECORD_COLUMNS)} FROM incoming")
    con.unregister("incoming")
    derived = [table.name for derivation in DERIVATIONS for table in derivation.tables]
    for table in ("verdict", "recipe_check", "plan", *derived):
        con.execute(f"DELETE FROM {table}")
    forget(con, [derivation.name for derivation in DERIVATIONS])
    outdate_plans(con)
    mark_made(con, "records", digest)
    set_meta(con, label_fingerprint=label_fingerprint(frame), picture_fingerprint=None)
    return True


def folders_of(con: duckdb.DuckDBPyConnection) -> dict[str, Folder]:
    """Part → the folder that the paths of its records are relative to, as `curate` last saw it."""
    return {part: as_folder(folder) for part, folder in json.loads(get_meta(con, "folders") or "{}").items()}


def count_records(con: duckdb.DuckDBPyConnection) -> int:
    """The records of the release."""
    return int(con.execute("SELECT count(*) FROM record").fetchall()[0][0])


def record_names(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record's part and path; the row's number is its record_id."""
    return query(con, "SELECT part, path FROM record ORDER BY record_id")


def known_files(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What is known of every record's file: part, path, sha256, bytes, mtime, error (NULL if nothing is known),
    known, and alone (whether its subject has too few records to be recognised across them)."""
    return query(
        con,
        "SELECT record.part, record.path, content.* EXCLUDE (part, path), content.part IS NOT NULL AS known, "
        "subject_id IS NULL OR count(*) OVER (PARTITION BY subject_id) < 3 AS alone "
        "FROM record LEFT JOIN content USING (part, path) ORDER BY record_id",
    )


def seen_content(con: duckdb.DuckDBPyConnection, observer: str, version: str) -> pl.Series:
    """SHA-256 of every picture content that this version of an observer has seen."""
    sql = "SELECT DISTINCT sha256 FROM observed WHERE observer = ? AND version = ?"
    return query(con, sql, [observer, version])["sha256"].cast(pl.Utf8)
