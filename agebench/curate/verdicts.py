"""Verdicts in and out: the checks of a recipe over the evidence, set by set."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import duckdb
import polars as pl

from agebench.errors import RecipeError
from agebench.manifest.store import CONFIG, get_meta, query, schema_sql, set_meta

JUDGING_SECONDS = 120.0


EVIDENCE = 2  # raise when the view `evidence` says something else


@dataclass(frozen=True)
class CompiledCheck:
    """A check ready to run: all three are scalar SQL expressions over `evidence`, validated before."""

    name: str
    verdict: str
    predicate: str
    reason_sql: str
    value_sql: str
    observers: frozenset[str]  # whose facts it reads
    runs: bool  # False: one of them has not run, so it says nothing

    # The line breaks keep a comment at an expression's end from swallowing what follows it.
    @property
    def condition_sql(self) -> str:
        return f"({self.predicate}\n)"

    @property
    def number_sql(self) -> str:
        return f"try_cast(({self.value_sql}\n) AS DOUBLE)"


def dry_run(check: CompiledCheck) -> str | None:
    """What DuckDB finds wrong with a check whose names are valid, such as the square root of a word; else None."""
    sql = f"EXPLAIN SELECT {check.reason_sql}, {check.number_sql} FROM no_evidence WHERE {check.condition_sql}"
    try:
        _no_evidence().execute(sql)
        kind = _no_evidence().sql(f"SELECT {check.condition_sql} FROM no_evidence").types[0]
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    # NULL, such as a comparison with nothing, is a condition that never holds
    return None if str(kind) in ("BOOLEAN", "NULL", '"NULL"') else f"it is no condition but a value of type {kind}."


@cache
def _no_evidence() -> duckdb.DuckDBPyConnection:
    """An empty manifest in memory that can reach nothing, to bind checks against."""
    con = duckdb.connect(config=CONFIG)
    con.execute(schema_sql())
    con.execute("CREATE TABLE no_evidence AS SELECT * FROM evidence")
    return con


def keep_evidence(con: duckdb.DuckDBPyConnection) -> None:
    """Store the evidence as it is now, where what it is made of has changed, so that judging again is cheap."""
    parts = con.execute(
        "SELECT key, value FROM meta WHERE key IN ('records_digest', 'content_digest', 'detector', 'embedder') "
        "OR (starts_with(key, 'derived:') AND key <> 'derived:evidence') ORDER BY key"
    ).fetchall()
    made_of = hashlib.sha256(repr((EVIDENCE, parts, _answers_about_copies(con))).encode()).hexdigest()
    stored = con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'kept_evidence'").fetchall()
    if get_meta(con, "picture_fingerprint") is None or get_meta(con, "derived:evidence") != made_of or not stored:
        con.execute("CREATE OR REPLACE TABLE kept_evidence AS SELECT * FROM evidence ORDER BY record_id")
        set_meta(con, **{"derived:evidence": made_of})


def _answers_about_copies(con: duckdb.DuckDBPyConnection) -> str | None:
    """A hash over the decisions on which the ranks of copies depend; None where there is none."""
    if not con.execute("SELECT 1 FROM decision LIMIT 1").fetchall():
        return None
    sql = """SELECT md5(string_agg(concat_ws(' ', record_id, status, answer, decision.age), chr(10)
                                       ORDER BY record_id))
             FROM decision JOIN record USING (record_id) LEFT JOIN content USING (part, path)
             WHERE record_id IN (SELECT record_id FROM near_copy)
                OR sha256 IN (SELECT sha256 FROM record JOIN content USING (part, path) GROUP BY sha256
                              HAVING count(*) > 1)"""
    found = con.execute(sql).fetchall()[0][0]
    return None if found is None else str(found)


@contextmanager
def _in_time(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    timer = threading.Timer(JUDGING_SECONDS, con.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _told(recipe: str, check: str) -> Iterator[None]:
    """What DuckDB finds wrong with a check on the data becomes a RecipeError."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise RecipeError(
            f"{recipe}, check '{check}': took more than {JUDGING_SECONDS:.0f} s.", "Simplify its predicate."
        ) from error
    except duckdb.Error as error:
        raise RecipeError(
            f"{recipe}, check '{check}': {str(error).splitlines()[0]}",
            "Its predicate fails on the values of some record; `try_cast` is NULL where a cast does not fit.",
        ) from error


def judge(con: duckdb.DuckDBPyConnection, checks: list[CompiledCheck], *, recipe: str, recipe_digest: str) -> None:
    """Replace all verdicts by those of `checks`, read from what `keep_evidence` stored. Decisions are another table.

    Raises RecipeError where a predicate fails on the data or takes longer than two minutes.
    """
    with _in_time(con):
        con.execute("DELETE FROM verdict; DELETE FROM recipe_check")
        for position, check in enumerate(checks):
            status = "ran" if check.runs else "not run"
            con.execute(
                "INSERT INTO recipe_check VALUES (?, ?, ?, ?, ?)",
                [position, check.name, check.verdict, check.predicate, status],
            )
            if not check.runs:
                continue
            with _told(recipe, check.name):
                con.execute(
                    f"INSERT INTO verdict SELECT record_id, ?, ?, {check.reason_sql}, {check.number_sql} "
                    f"FROM kept_evidence WHERE {check.condition_sql} ORDER BY record_id",
                    [check.name, check.verdict],
                )
        set_meta(con, recipe=recipe, recipe_digest=recipe_digest, judged_at=datetime.now(UTC).isoformat())


def judge_apart(con: duckdb.DuckDBPyConnection, checks: list[CompiledCheck], *, recipe: str) -> pl.DataFrame:
    """What `checks` would say, stored nowhere: record_id, verdict, reasons (checks joined by `;`), for every record.
    What people decided stays decided.

    Raises RecipeError as `judge` does.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE fired (record_id INTEGER, position INTEGER, name VARCHAR, verdict VARCHAR)"
    )
    with _in_time(con):
        for position, check in enumerate(checks):
            if not check.runs:
                continue
            with _told(recipe, check.name):
                con.execute(
                    f"INSERT INTO fired SELECT record_id, ?, ?, ? FROM kept_evidence WHERE {check.condition_sql}",
                    [position, check.name, check.verdict],
                )
    return query(
        con,
        """SELECT record_id,
                  CASE WHEN d.status IS NULL THEN coalesce(v.verdict, 'keep') ELSE judged.verdict END AS verdict,
                  CASE WHEN d.status IS NULL THEN coalesce(v.reasons, '')
                       WHEN judged.verdict = 'keep' THEN ''
                       ELSE concat_ws(';', judged.first_check, v.reasons) END AS reasons
           FROM judged LEFT JOIN decision AS d USING (record_id) LEFT JOIN (
               SELECT record_id, string_agg(name, ';' ORDER BY position) AS reasons,
                      CASE WHEN bool_or(verdict = 'reject') THEN 'reject' ELSE 'review' END AS verdict
               FROM fired GROUP BY record_id) AS v USING (record_id)
           ORDER BY record_id""",
    )
