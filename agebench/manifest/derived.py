"""What is derived of many records together: the rows that it is made of, and its tables written whole."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.store import get_meta, set_meta


def is_current(con: duckdb.DuckDBPyConnection, what: str, made_of: str) -> bool:
    """Whether a derived table was made of exactly this."""
    return get_meta(con, f"derived:{what}") == made_of


def state(con: duckdb.DuckDBPyConnection) -> str:
    """The records and their contents, as one word: equal where both are."""
    return f"{get_meta(con, 'records_digest')}:{get_meta(con, 'content_digest')}"


def write_derived(
    con: duckdb.DuckDBPyConnection, what: str, table: str, rows: pl.DataFrame | None, made_of: str | None
) -> None:
    """Replace a derived table by `rows` (None: nothing was derived)."""
    con.execute(f"DELETE FROM {table}")
    if rows is not None and len(rows):
        con.register("incoming_derived", rows.to_arrow())
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM incoming_derived")
        con.unregister("incoming_derived")
    set_meta(con, **{f"derived:{what}": made_of})
