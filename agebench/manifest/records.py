"""Records in: the rows of a release, written whole; and which of their files are known already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import duckdb
import polars as pl

from agebench.manifest.fingerprints import label_fingerprint
from agebench.manifest.plans import outdate_plans
from agebench.manifest.store import get_meta, query, set_meta
from agebench.remote import Folder, as_folder

RECORD_COLUMNS = (
    "part", "path", "subject_id", "name", "gender", "dob", "dob_day", "photo_year", "age",
    "face_score", "second_face_score", "box_x", "box_y", "box_w", "box_h",
)  # fmt: skip


DERIVED = ("near_copy", "identity", "suspicion", "age_offset")  # tables whose rows belong to these very records


def write_records(con: duckdb.DuckDBPyConnection, records: pl.DataFrame, folders: Mapping[str, Folder]) -> bool:
    """Replace all records by those of a release read now; True where they differ from the ones that were there.

    Verdicts of other records are dropped with them; what was observed stays, keyed by content.
    """
    frame = records.select(RECORD_COLUMNS).with_columns(pl.col(pl.Float64).fill_nan(None))  # NaN > 0.4 is true in SQL
    digest = hashlib.sha256(frame.hash_rows(seed=0).to_numpy().tobytes()).hexdigest()
    places = json.dumps({part: str(folder.absolute()) for part, folder in sorted(folders.items())})
    changed = get_meta(con, "records_digest") != digest
    set_meta(con, folders=places)
    if not changed:
        return False
    con.register("incoming", frame.with_row_index("record_id").to_arrow())
    con.execute(f"DELETE FROM record; INSERT INTO record SELECT record_id, {', '.join(RECORD_COLUMNS)} FROM incoming")
    for table in ("verdict", "record_group", "recipe_check", "plan", "decision", *DERIVED):
        con.execute(f"DELETE FROM {table}")
    con.execute("DELETE FROM meta WHERE starts_with(key, 'derived:') AND key <> 'derived:cross-fit'")
    outdate_plans(con)
    con.unregister("incoming")
    set_meta(
        con, records_digest=digest, label_fingerprint=label_fingerprint(frame), judged_at=None,
        picture_fingerprint=None, content_digest=None, decisions_made_of=None,
    )  # fmt: skip
    return True


def folders_of(con: duckdb.DuckDBPyConnection) -> dict[str, Folder]:
    """Part → the folder that the paths of its records are relative to, as `curate` last saw it."""
    return {part: as_folder(folder) for part, folder in json.loads(get_meta(con, "folders") or "{}").items()}


def pictures_known(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether any picture was ever read."""
    return bool(con.execute("SELECT 1 FROM content WHERE sha256 IS NOT NULL LIMIT 1").fetchall())


def record_names(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record's part and path; the row's number is its record_id."""
    return query(con, "SELECT part, path FROM record ORDER BY record_id")


def known_files(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What is known of every record's file: part, path, sha256, bytes, mtime, error (NULLs where nothing is), known,
    and alone (whether its subject has too few records for anybody to be recognised in them)."""
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
