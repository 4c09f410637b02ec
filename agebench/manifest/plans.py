"""Reading and writing balance plans, and the fingerprint of the curated records that they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import polars as pl

AGES = (0, 99)  # the age classes, inclusive


@dataclass(frozen=True)
class PlanFacts:
    """How a plan was made."""

    plan: str
    per_class: int
    thin_ages: tuple[int, int]
    seed: int
    made_at: str
    curated: str  # curated_fingerprint at that time


def curated_fingerprint(con: duckdb.DuckDBPyConnection) -> str:
    """Hash over the curated records, their pictures, their ages and the faces that people chose: the input of a plan or
    a run."""
    sql = """
        SELECT md5(coalesce(string_agg(
            kept.part || '/' || kept.path || '=' || age || '#' || coalesce(sha256, '')
            || CASE WHEN box_w IS NULL THEN '' ELSE '@' || concat_ws(' ', box_x, box_y, box_w, box_h) END,
            chr(10) ORDER BY record_id), ''))
        FROM kept LEFT JOIN content ON content.part = kept.part AND content.path = kept.path
        LEFT JOIN (SELECT record_id, box_x, box_y, box_w, box_h FROM decision WHERE box_w IS NOT NULL)
            USING (record_id)
    """
    return str(con.execute(sql).fetchall()[0][0])


def outdate_plans(con: duckdb.DuckDBPyConnection) -> None:
    """Mark all plans as stale. Plans refer to records by number, so none is valid once the numbers change."""
    con.execute("UPDATE plan_made SET curated = ''")


def write_plan(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, facts: PlanFacts) -> None:
    """Store a plan under its name, replacing an older one with that name."""
    for table in ("plan", "plan_made"):
        con.execute(f"DELETE FROM {table} WHERE plan = ?", [facts.plan])
    con.register("incoming_plan", rows.select("record_id", "copies").to_arrow())
    con.execute("INSERT INTO plan SELECT ?, record_id, copies FROM incoming_plan", [facts.plan])
    con.unregister("incoming_plan")
    values = [facts.plan, facts.per_class, *facts.thin_ages, facts.seed, facts.made_at, facts.curated]
    con.execute("INSERT INTO plan_made VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def plans(con: duckdb.DuckDBPyConnection) -> list[PlanFacts]:
    """All plans of a manifest, the newest first."""
    rows = con.execute("SELECT * FROM plan_made ORDER BY made_at DESC").fetchall()
    return [PlanFacts(plan, per, (low, high), seed, at, curated) for plan, per, low, high, seed, at, curated in rows]


def now() -> str:
    return datetime.now(UTC).isoformat()
