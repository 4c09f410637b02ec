"""Balance plans in and out, and the rows that training and evaluation read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

import duckdb
import polars as pl

from agebench.manifest.store import query, set_meta

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
    """Hash over the curated records, their pictures, ages and the faces that people chose: what a plan or a run was
    made from."""
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


def draw_plan(con: duckdb.DuckDBPyConnection, *, per_class: int, thin_ages: tuple[int, int], seed: int) -> pl.DataFrame:
    """The 5000 rule as rows: record_id, age, copies; curated records of ages 0 to 99 only.

    A class with fewer than `per_class` records is filled to exactly it, spread evenly; a larger one is thinned at
    random to it where its age lies in `thin_ages` (inclusive), else kept whole. The order within a class is
    md5(seed, part, path): the same seed gives the same plan on any machine.
    """
    return query(
        con,
        """
        WITH drawn AS (
            SELECT record_id, age, count(*) OVER (PARTITION BY age) AS n,
                   row_number() OVER (
                       PARTITION BY age ORDER BY md5($seed || '/' || part || '/' || path), record_id) AS place
            FROM kept WHERE age BETWEEN 0 AND 99)
        SELECT record_id, age, CAST(CASE
            WHEN n < $per THEN $per // n + CAST(place <= $per % n AS INTEGER)
            WHEN n > $per AND age BETWEEN $low AND $high THEN CAST(place <= $per AS INTEGER)
            ELSE 1 END AS INTEGER) AS copies
        FROM drawn ORDER BY record_id
        """,
        {"seed": str(seed), "per": per_class, "low": thin_ages[0], "high": thin_ages[1]},
    )


def outdate_plans(con: duckdb.DuckDBPyConnection) -> None:
    """Plans name records by number: once these are others, no plan fits them, whatever is kept."""
    for facts in plans(con):
        set_meta(con, **{f"plan:{facts.plan}": json.dumps(asdict(replace(facts, curated="")))})


def write_plan(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, facts: PlanFacts) -> None:
    """Store a plan under its name, in place of an older one of that name."""
    con.execute("DELETE FROM plan WHERE plan = ?", [facts.plan])
    con.register("incoming_plan", rows.select("record_id", "copies").to_arrow())
    con.execute("INSERT INTO plan SELECT ?, record_id, copies FROM incoming_plan", [facts.plan])
    con.unregister("incoming_plan")
    set_meta(con, **{f"plan:{facts.plan}": json.dumps(asdict(facts))})


def plans(con: duckdb.DuckDBPyConnection) -> list[PlanFacts]:
    """All plans of a manifest, the newest first."""
    rows = con.execute("SELECT value FROM meta WHERE starts_with(key, 'plan:')").fetchall()
    found = [json.loads(value) for (value,) in rows]
    facts = [PlanFacts(**(f | {"thin_ages": tuple(f["thin_ages"])})) for f in found]
    return sorted(facts, key=lambda f: f.made_at, reverse=True)


def now() -> str:
    return datetime.now(UTC).isoformat()


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


def protocol_rows(
    con: duckdb.DuckDBPyConnection, *, records: int | None, seed: int, ages: tuple[int, int] | None
) -> pl.DataFrame:
    """The records that a protocol measures, whatever their verdict: every one with a valid age, or a subset.

    A subset takes subjects in turn, so that it holds as many as it can; within a subject and between subjects the order
    is md5(seed, part, path). Columns: record_id, part, path, age, subject_id, sha256, error, face_no, landmarks.
    """
    low, high = ages or AGES
    return query(
        con,
        """
        WITH valid AS (
            SELECT record_id, part, path, age, subject_id, md5($seed || '/' || part || '/' || path) AS draw
            FROM record WHERE age BETWEEN $low AND $high),
        turn AS (
            SELECT *, row_number() OVER (
                PARTITION BY coalesce(subject_id, part || '/' || path) ORDER BY draw, record_id) AS turn
            FROM valid),
        chosen AS (SELECT * FROM turn ORDER BY turn, draw, record_id LIMIT $records)
        SELECT chosen.record_id, chosen.part, chosen.path, chosen.age, chosen.subject_id, content.sha256,
               coalesce(content.error, CASE WHEN content.sha256 IS NULL THEN 'not looked at' END) AS error,
               m.face_no, m.landmarks
        FROM chosen
        LEFT JOIN content ON content.part = chosen.part AND content.path = chosen.path
        LEFT JOIN meant_face AS m ON m.record_id = chosen.record_id
        ORDER BY chosen.record_id
        """,
        {"seed": str(seed), "low": low, "high": high, "records": records if records is not None else 2**40},
    )
