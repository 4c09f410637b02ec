"""Verdicts: running the checks of a recipe over the evidence, and storing the results."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import polars as pl

from agebench.curation.checks import compile_recipe
from agebench.curation.compiled import CompiledCheck
from agebench.curation.settings import Request
from agebench.errors import RecipeError
from agebench.manifest.evidence import observers_run
from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query, set_meta
from agebench.recipes import digest

JUDGING_SECONDS = 120.0


def derive_copy_answers(manifest: Path, request: object) -> Derived:
    """One hash over the decisions that affect the ranks of copies."""
    sql = """SELECT md5(string_agg(concat_ws(' ', record_id, status, answer, decision.age), chr(10)
                                       ORDER BY record_id))
             FROM decision JOIN record USING (record_id) LEFT JOIN content USING (part, path)
             WHERE record_id IN (SELECT record_id FROM near_copy)
                OR sha256 IN (SELECT sha256 FROM record JOIN content USING (part, path) GROUP BY sha256
                              HAVING count(*) > 1)"""
    with open_manifest(manifest) as con:
        any_decision = con.execute("SELECT 1 FROM decision LIMIT 1").fetchall()
        found = con.execute(sql).fetchall()[0][0] if any_decision else None
    return Derived(result=str(found))


def derive_evidence(manifest: Path, request: object) -> Derived:
    """The view `evidence` as a table, so that judging again is cheap."""
    return Derived(write=store_evidence)


def store_evidence(con: duckdb.DuckDBPyConnection) -> None:
    """Store the evidence as it is now."""
    con.execute("CREATE OR REPLACE TABLE stored_evidence AS SELECT * FROM evidence ORDER BY record_id")


def derive_verdicts(manifest: Path, request: Request) -> Derived:
    """The verdicts of the recipe's checks. Raises RecipeError."""

    def write(con: duckdb.DuckDBPyConnection) -> None:
        checks = compile_recipe(request.recipe, str(request.recipe_file), observers_run(con))
        judge(con, checks, recipe=request.recipe.name, recipe_digest=digest(request.recipe))

    return Derived(write=write)


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
def _as_recipe_error(recipe: str, check: str) -> Iterator[None]:
    """Turn DuckDB's error about a check on the data into a RecipeError."""
    try:
        yield
    except duckdb.InterruptException as error:
        raise RecipeError(
            f"{recipe}, check '{check}': took more than {JUDGING_SECONDS:.0f} s.", "Simplify its predicate."
        ) from error
    except duckdb.Error as error:
        raise RecipeError(
            f"{recipe}, check '{check}': {str(error).splitlines()[0]}",
            "Its predicate fails on the values of some record; `try_cast` gives NULL if a cast fails.",
        ) from error


def judge(con: duckdb.DuckDBPyConnection, checks: list[CompiledCheck], *, recipe: str, recipe_digest: str) -> None:
    """Replace all verdicts with those of `checks`, evaluated on the stored evidence. Decisions are in another table.

    Raises RecipeError if a predicate fails on the data or takes longer than two minutes.
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
            with _as_recipe_error(recipe, check.name):
                con.execute(
                    f"INSERT INTO verdict SELECT record_id, ?, ?, {check.reason_sql}, {check.number_sql} "
                    f"FROM stored_evidence WHERE {check.condition_sql} ORDER BY record_id",
                    [check.name, check.verdict],
                )
        set_meta(con, recipe=recipe, recipe_digest=recipe_digest)


def judge_apart(con: duckdb.DuckDBPyConnection, checks: list[CompiledCheck], *, recipe: str) -> pl.DataFrame:
    """The verdicts of `checks` without storing them: record_id, verdict, reasons (checks joined by `;`), for every
    record. People's decisions stay in force.

    Raises RecipeError as `judge` does.
    """
    con.execute(
        "CREATE OR REPLACE TEMP TABLE fired (record_id INTEGER, position INTEGER, name VARCHAR, verdict VARCHAR)"
    )
    with _in_time(con):
        for position, check in enumerate(checks):
            if not check.runs:
                continue
            with _as_recipe_error(recipe, check.name):
                con.execute(
                    f"INSERT INTO fired SELECT record_id, ?, ?, ? FROM stored_evidence WHERE {check.condition_sql}",
                    [position, check.name, check.verdict],
                )
    return query(
        con,
        """SELECT record_id,
                  coalesce(d.verdict, v.verdict, 'keep') AS verdict,
                  CASE WHEN d.status IS NULL THEN coalesce(v.reasons, '')
                       WHEN d.verdict = 'keep' THEN ''
                       ELSE concat_ws(';', judged.first_check, v.reasons) END AS reasons
           FROM judged LEFT JOIN verdict_of_people AS d USING (record_id) LEFT JOIN (
               SELECT record_id, string_agg(name, ';' ORDER BY position) AS reasons,
                      strictest(verdict) AS verdict
               FROM fired GROUP BY record_id) AS v USING (record_id)
           ORDER BY record_id""",
    )
