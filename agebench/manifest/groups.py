"""Group keys out, groups in."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.store import query


def group_keys(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What ties records together: record_id, subject_id, person, sha256, near_group.

    person: folded name and date of birth, which one subject of both parts of a release has under two numbers.
    """
    return query(
        con,
        r"""SELECT record_id, subject_id, sha256, near_group,
                   regexp_replace(lower(strip_accents(trim(name))), '\s+', ' ', 'g') || '|' || dob AS person
            FROM record LEFT JOIN content USING (part, path) LEFT JOIN near_copy USING (record_id)
            ORDER BY record_id""",
    )


def write_groups(con: duckdb.DuckDBPyConnection, groups: pl.DataFrame) -> None:
    """Replace all groups; columns record_id, group_id."""
    con.register("incoming_groups", groups.to_arrow())
    con.execute("DELETE FROM record_group; INSERT INTO record_group SELECT record_id, group_id FROM incoming_groups")
    con.unregister("incoming_groups")
