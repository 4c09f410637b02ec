"""Rows for other tools."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import polars as pl

from agebench.errors import NothingCurated
from agebench.manifest.places import choose_plan, must_be_judged
from agebench.manifest.store import open_manifest, query
from agebench.manifest.summary import funnel


def verdict_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """One row for every record: part, path, age (the final one), verdict, reasons (joined by `;`), label_suspicion,
    claimed_age, decided_by, details.

    label_suspicion is NULL if nothing estimated the age. decided_by: reviewers, joined by `;`; NULL if no person
    decided. details: the checks' reasons in words, joined by `; `.
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
    """A balance plan: part, path, age (the final one), copies."""
    return query(
        con,
        "SELECT part, path, age, copies FROM plan JOIN kept USING (record_id) WHERE plan.plan = ? ORDER BY record_id",
        [plan],
    )


def chosen_plan_rows(con: duckdb.DuckDBPyConnection, manifest: Path, plan: str | None) -> pl.DataFrame:
    """`plan_rows` of the plan with that name, or of the newest.

    Raises UsageError for an unknown plan, StalePlan for one older than the curated rows, NothingCurated if there is
    none.
    """
    facts = choose_plan(con, manifest, plan)
    if facts is None:
        raise NothingCurated(f"{manifest} has no balance plan.", "`agebench balance` makes one.")
    return plan_rows(con, facts.plan)


def face_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every face of every record by the detector in force; boxes and landmarks in pixels of the original picture."""
    points = ", ".join(f"landmarks[{2 * i + 1}] AS lx{i}, landmarks[{2 * i + 2}] AS ly{i}" for i in range(5))
    return query(
        con,
        f"""SELECT part, path, detector, face_no, x, y, w, h, score, {points}
            FROM record JOIN content USING (part, path) JOIN face_in_force USING (sha256)
            ORDER BY record_id, face_no""",
    )


def exported(manifest: Path, rows: str, kind: str, plan: str | None = None) -> tuple[bytes, int]:
    """`rows` (verdicts, curated, plan, funnel, faces) as csv, parquet or jsonl, and their number.

    Raises UsageError for an unknown plan, StalePlan for one older than the curated rows, NothingCurated if there is
    none or the curation was not finished.
    """
    with open_manifest(manifest) as con:
        if rows != "faces":
            must_be_judged(con, manifest)
        if rows == "plan":
            frame = chosen_plan_rows(con, manifest, plan)
        else:
            read = {"verdicts": verdict_rows, "curated": curated_rows, "funnel": funnel, "faces": face_rows}[rows]
            frame = read(con)
    return _encoded(frame, kind), len(frame)


def _encoded(frame: pl.DataFrame, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(buffer)
    elif kind == "jsonl":
        frame.write_ndjson(buffer)
    else:
        lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List | pl.Array)]
        frame = frame.with_columns(pl.col(name).cast(pl.List(pl.Utf8)).list.join(" ") for name in lists)
        frame.write_csv(buffer)
    return buffer.getvalue()
