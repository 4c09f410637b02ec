"""Fingerprints: short proofs that two sets of records, labels or pictures are the same."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

import duckdb
import polars as pl

from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query


def frame_digest(frame: pl.DataFrame) -> str:
    """SHA-256 over the names and values of a frame's columns; the order of rows and columns counts.

    It depends on the values alone, not on a library's memory layout or number formatting, so it stays the same when
    Polars, Arrow or DuckDB are upgraded. Of each column the NULLs are hashed as a mask, then the values: text as UTF-8
    with its lengths, floats as 64-bit IEEE 754, everything else (whole numbers, booleans, dates as days since 1970) as
    64-bit integers; little-endian.
    """
    found = hashlib.sha256()
    for column in frame:
        found.update(f"{column.name}\0{len(column)}\0".encode())
        found.update(column.is_null().to_numpy().tobytes())
        values = column.drop_nulls()
        if values.is_empty():
            continue
        if values.dtype == pl.String:
            found.update(b"text" + values.str.len_bytes().to_numpy().astype("<i8").tobytes())
            found.update("".join(values.to_list()).encode())
        elif values.dtype.is_float():
            found.update(b"float" + values.to_numpy().astype("<f8").tobytes())
        else:
            found.update(b"integer" + values.to_physical().cast(pl.Int64).to_numpy().astype("<i8").tobytes())
    return found.hexdigest()


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
    """A hash over what every record's file holds, or why it could not be read: equal where nothing has changed."""
    return frame_digest(
        query(
            con,
            "SELECT part, path, sha256, error FROM record LEFT JOIN content USING (part, path) ORDER BY record_id",
        )
    )


def _stem(path: str) -> str:
    name = path.rpartition("/")[2]  # a million times, pathlib is slow
    stem = name[: name.rfind(".")] if 0 < name.rfind(".") < len(name) - 1 else name
    return unicodedata.normalize("NFC", stem).lower()
