"""The rows that training reads."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.store import query


def training_rows(con: duckdb.DuckDBPyConnection, plan: str | None) -> pl.DataFrame:
    """Curated records of ages 0 to 99 with their copies in a plan (1 each where there is none), in order.

    Columns: record_id, part, path, age, subject_id, group_id, sha256, face_no, landmarks, copies.
    """
    copies = "1" if plan is None else "plan.copies"
    join = "" if plan is None else "JOIN plan ON plan.record_id = curated.record_id AND plan.plan = $plan"
    return query(
        con,
        f"""SELECT curated.record_id, part, path, age, subject_id, group_id, sha256, face_no, landmarks,
                   CAST({copies} AS INTEGER) AS copies
            FROM curated {join} WHERE age BETWEEN 0 AND 99 ORDER BY curated.record_id""",
        {} if plan is None else {"plan": plan},
    )
