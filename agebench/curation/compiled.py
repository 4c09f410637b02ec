"""A check that is ready to run, and the trial run on empty evidence."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import duckdb

from agebench.manifest.store import CONFIG, schema_sql


@dataclass(frozen=True)
class CompiledCheck:
    """A check that is ready to run: its three parts are validated scalar SQL expressions over `evidence`."""

    name: str
    verdict: str
    predicate: str
    reason_sql: str
    value_sql: str
    observers: frozenset[str]  # whose columns it reads
    runs: bool  # False: one of them has not run, so the check does not run

    # The line breaks keep a comment at the end of an expression from hiding what follows.
    @property
    def condition_sql(self) -> str:
        return f"({self.predicate}\n)"

    @property
    def number_sql(self) -> str:
        return f"try_cast(({self.value_sql}\n) AS DOUBLE)"


def dry_run(check: CompiledCheck) -> str | None:
    """The error that DuckDB finds in a check whose names are valid, such as the square root of a word; else None."""
    sql = f"EXPLAIN SELECT {check.reason_sql}, {check.number_sql} FROM no_evidence WHERE {check.condition_sql}"
    try:
        _no_evidence().execute(sql)
        kind = _no_evidence().sql(f"SELECT {check.condition_sql} FROM no_evidence").types[0]
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    # NULL, such as a comparison with NULL, is a condition that is never true
    return None if str(kind) in ("BOOLEAN", "NULL", '"NULL"') else f"it is not a condition but a value of type {kind}."


@cache
def _no_evidence() -> duckdb.DuckDBPyConnection:
    """An empty manifest in memory, without access to anything, to bind checks against."""
    con = duckdb.connect(config=CONFIG)
    con.execute(schema_sql())
    con.execute("CREATE TABLE no_evidence AS SELECT * FROM evidence")
    return con
