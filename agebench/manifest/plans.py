"""Reading and writing balance plans, and the fingerprint of the curated records that they were made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import duckdb
import polars as pl

from agebench.manifest.fingerprints import frame_digest
from agebench.manifest.store import query

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

    def copies(self, rows: pl.DataFrame) -> pl.Series:
        """How often the plan's rule draws each of these records (part, path, age) an epoch: over them alone, every
        class is complete again."""
        return copies_by_rule(rows, per_class=self.per_class, thin_ages=self.thin_ages, seed=self.seed)


def copies_by_rule(rows: pl.DataFrame, *, per_class: int, thin_ages: tuple[int, int], seed: int) -> pl.Series:
    """How often the 5000 rule draws each record an epoch: `copies`, in the order of `rows` (part, path, age).

    A class with fewer than `per_class` records is filled to exactly it, spread evenly; a larger one is thinned at
    random to it where its age lies in `thin_ages` (inclusive), else kept whole. The order within a class is
    md5(seed, part, path): the same seed gives the same plan on any machine.
    """
    with duckdb.connect() as con:
        con.register("rows", rows.select("part", "path", "age", n=pl.int_range(pl.len())).to_arrow())
        found = con.execute(
            """
            WITH drawn AS (
                SELECT n, age, count(*) OVER (PARTITION BY age) AS size,
                       row_number() OVER (
                           PARTITION BY age ORDER BY md5($seed || '/' || part || '/' || path), n) AS place
                FROM rows)
            SELECT CAST(CASE
                WHEN size < $per THEN $per // size + CAST(place <= $per % size AS INTEGER)
                WHEN size > $per AND age BETWEEN $low AND $high THEN CAST(place <= $per AS INTEGER)
                ELSE 1 END AS INTEGER) AS copies
            FROM drawn ORDER BY n
            """,
            {"seed": str(seed), "per": per_class, "low": thin_ages[0], "high": thin_ages[1]},
        ).fetchnumpy()
    return pl.Series("copies", found["copies"], dtype=pl.Int32)


def curated_fingerprint(con: duckdb.DuckDBPyConnection) -> str:
    """Hash over the curated records, their pictures, ages and the faces that people chose: what a plan or a run was
    made from."""
    return frame_digest(
        query(
            con,
            """SELECT kept.part, kept.path, age, sha256, box_x, box_y, box_w, box_h
               FROM kept LEFT JOIN content ON content.part = kept.part AND content.path = kept.path
               LEFT JOIN (SELECT record_id, box_x, box_y, box_w, box_h FROM decision WHERE box_w IS NOT NULL)
                   USING (record_id)
               ORDER BY record_id""",
        )
    )


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
