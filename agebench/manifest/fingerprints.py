"""Fingerprints: short proofs that two sets of records, labels or pictures are the same."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path, PurePosixPath

import duckdb
import polars as pl

from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest


def label_fingerprint(records: pl.DataFrame) -> str:
    """SHA-256 over the sorted (file stem in lower case, age) of `records` (columns `path`, `age`).

    The same for every copy of a dataset, wherever it is, however its folders are named, and whether its file system
    stores accents composed (NFC) or decomposed.
    """
    lines = sorted(
        f"{_stem(path)}\t{'' if age is None else age}"
        for path, age in zip(records["path"].to_list(), records["age"].to_list(), strict=True)
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def picture_fingerprint(con: duckdb.DuckDBPyConnection) -> str:
    """SHA-256 over the sorted (file stem in lower case, SHA-256 of the file) of all records of a manifest."""
    rows = con.execute("SELECT path, sha256 FROM record LEFT JOIN content USING (part, path)").fetchall()
    lines = sorted(f"{_stem(path)}\t{sha256 or ''}" for path, sha256 in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def derive_contents(manifest: Path, request: object) -> Derived:
    """One hash over the contents of all records; it changes only if a content changes."""
    with open_manifest(manifest) as con:
        return Derived(meta={"picture_fingerprint": picture_fingerprint(con)}, result=content_digest(con))


def content_digest(con: duckdb.DuckDBPyConnection) -> str:
    """A hash over the content of every record's file, or why it could not be read: equal if nothing has changed."""
    said = "coalesce(sha256, error, '')"
    rows = f"string_agg(part || '/' || path || '=' || {said}, chr(10) ORDER BY record_id)"
    sql = f"SELECT md5(coalesce({rows}, '')) FROM record LEFT JOIN content USING (part, path)"
    return str(con.execute(sql).fetchall()[0][0])


def _stem(path: str) -> str:
    return unicodedata.normalize("NFC", PurePosixPath(path).stem).lower()
