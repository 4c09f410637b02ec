"""Rows for other people's tools."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.store import query


def verdict_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row for every record: part, path, age (the one in force), verdict, reasons (joined by `;`), label_suspicion,
    claimed_age, decided_by, details.

    label_suspicion is NULL where nothing estimated the age. decided_by: reviewers, joined by `;`; NULL where no human
    decided. details: what the checks say in words, joined by `; `.
    """
    return query(
        con,
        """SELECT part, path, age, verdict, coalesce(reasons, '') AS reasons, label_suspicion,
                  claimed_age, decided_by, coalesce(details, '') AS details
           FROM judged LEFT JOIN suspicion USING (record_id) LEFT JOIN (
               SELECT record_id, string_agg(reason, '; ' ORDER BY position) AS details
               FROM verdict JOIN recipe_check USING ("check") GROUP BY record_id) USING (record_id)
           ORDER BY record_id""",
    )


def curated_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The view `curated`."""
    return query(con, "SELECT * FROM curated ORDER BY record_id")


def plan_rows(con: duckdb.DuckDBPyConnection, plan: str) -> pl.DataFrame:
    """A balance plan: part, path, age (the one in force), copies."""
    return query(
        con,
        "SELECT part, path, age, copies FROM plan JOIN kept USING (record_id) WHERE plan.plan = ? ORDER BY record_id",
        [plan],
    )


def face_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every face of every record by the detector in force; boxes and landmarks in pixels of the original picture."""
    points = ", ".join(f"landmarks[{2 * i + 1}] AS lx{i}, landmarks[{2 * i + 2}] AS ly{i}" for i in range(5))
    return query(
        con,
        f"""SELECT part, path, detector, face_no, x, y, w, h, score, {points}
            FROM record JOIN content USING (part, path) JOIN face_in_force USING (sha256)
            ORDER BY record_id, face_no""",
    )
