"""A curation in numbers: how records were judged, and by which checks."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.store import query


def judged_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The verdicts in force: record_id, part, path, age (the claimed one), verdict, reasons."""
    return query(
        con,
        "SELECT record_id, part, path, claimed_age AS age, verdict, coalesce(reasons, '') AS reasons FROM judged "
        "ORDER BY record_id",
    )


def counts(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Records by final verdict: keep, review, reject."""
    found = dict(con.execute("SELECT verdict, count(*) FROM judged GROUP BY verdict").fetchall())
    return {verdict: int(found.get(verdict, 0)) for verdict in ("keep", "review", "reject")}


def unreadable(con: duckdb.DuckDBPyConnection) -> int:
    """Records whose file could not be read as a picture."""
    sql = "SELECT count(*) FROM record JOIN content USING (part, path) WHERE error IS NOT NULL"
    return int(con.execute(sql).fetchall()[0][0])


def funnel(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The funnel: position, step, verdict, records, status."""
    return query(con, "SELECT * FROM funnel ORDER BY position")


def reasons(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Check → number of records on which it fired, in the recipe's order; a record counts for each of its checks."""
    return {
        name: int(n)
        for name, n in con.execute(
            'SELECT c."check", count(v.record_id) FROM recipe_check c LEFT JOIN verdict v USING ("check") '
            "GROUP BY ALL ORDER BY min(c.position)"
        ).fetchall()
    }


def not_run(con: duckdb.DuckDBPyConnection) -> list[str]:
    """Checks of the recipe in force whose observer has not run."""
    sql = """SELECT "check" FROM recipe_check WHERE status = 'not run' ORDER BY position"""
    return [name for (name,) in con.execute(sql).fetchall()]
