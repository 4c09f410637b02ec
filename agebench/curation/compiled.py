"""A check that is ready to run, and the trial run on empty evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import duckdb

from agebench.manifest.evidence import COLUMNS


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


def dry_run(checks: Sequence[CompiledCheck]) -> list[str | None]:
    """For each check the error that DuckDB finds in it although its names are valid, such as the square root of a word;
    else None."""
    if not checks or _error_in(checks) is None:  # all at once: ten times faster than one by one
        return [None] * len(checks)
    return [_error_in([check]) for check in checks]


def _error_in(checks: Sequence[CompiledCheck]) -> str | None:
    """The first error in these checks; else None."""
    conditions = ", ".join(check.condition_sql for check in checks)
    told = ", ".join(f"{check.reason_sql}, {check.number_sql}" for check in checks)
    try:
        sandbox().execute(f"EXPLAIN SELECT {conditions}, {told} FROM no_evidence")
        kinds = {str(kind) for kind in sandbox().sql(f"SELECT {conditions} FROM no_evidence").types}
    except duckdb.Error as error:
        return str(error).splitlines()[0]
    # NULL, such as a comparison with NULL, is a condition that is never true
    others = sorted(kinds - {"BOOLEAN", "NULL", '"NULL"'})
    return f"it is not a condition but a value of type {others[0]}." if others else None


@cache
def sandbox() -> duckdb.DuckDBPyConnection:
    """An in-memory database without access to files. Checks are parsed in it and bound against `no_evidence`, an empty
    table with the columns of `evidence`."""
    con = duckdb.connect(config={"enable_external_access": "false", "lock_configuration": "true"})
    columns = ", ".join(f"{name} {column.type}" for name, column in COLUMNS.items())
    con.execute(f"CREATE TABLE no_evidence ({columns})")
    return con
