"""Opening manifests: versions, foreign files, and other processes that hold them.

Every connection has access to other files off and its configuration locked, so neither a recipe nor a view in a
foreign manifest can read anything else. Connections are short: no process holds one while it computes or waits.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import cast

import duckdb
import polars as pl

from agebench.errors import AgebenchError, ManifestBusy, ManifestError, ManifestNotFound, StorageError
from agebench.manifest.derivations import derived_tables_sql, evidence_sql

SCHEMA_VERSION = 9
WAIT_SECONDS = 5.0
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "lock_configuration": "true",
    "storage_compatibility_version": "v1.2.0",  # the oldest with all types used here, for other tools
}


# What DuckDB raises if a full disk stops a write: at once, at the commit, or when it spills to disk.
CANNOT_WRITE = (duckdb.IOException, duckdb.TransactionException, duckdb.FatalException, duckdb.OutOfMemoryException)


@contextmanager
def open_manifest(
    path: Path, *, write: bool = False, wait: float = WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an existing manifest; with `write`, one transaction that is committed if the block succeeds.

    Raises ManifestNotFound, ManifestError (not a manifest, another schema), ManifestBusy if another process
    holds it for longer than `wait` seconds, StorageError.
    """
    if path.is_dir():
        raise ManifestError(f"{path} is a folder, not a manifest.", "Name a file with `--manifest`.")
    if not path.is_file():
        raise ManifestNotFound(f"There is no manifest {path}.", "`agebench curate DATASET` makes it.")
    con = _connect(path, read_only=not write, wait=wait)
    try:
        _check_version(con, path)
        if not write:
            with _damage(path):
                yield con
            return
        con.execute("BEGIN")
        with _damage(path), storage_errors(path):
            yield con
            con.execute("COMMIT")
    finally:
        con.close()


def create(path: Path, dataset: str) -> None:
    """Make an empty manifest for `dataset`. Raises StorageError."""
    beside = path.with_name(path.name + ".new")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
    con = _connect(beside, read_only=False)
    try:
        with storage_errors(path):
            con.execute(schema_sql())
            set_meta(con, schema_version=str(SCHEMA_VERSION), dataset=dataset)
    finally:
        con.close()
    beside.rename(path)


def must_be_of(path: Path, found: str | None, dataset: str) -> None:
    """Raises ManifestError if a manifest belongs to another dataset."""
    if found != dataset:
        raise ManifestError(
            f"{path} is the manifest of '{found}', not of '{dataset}'.", "Name another file with `--manifest`."
        )


def schema_sql() -> str:
    """The tables and views of a manifest."""
    own = resources.files("agebench.manifest").joinpath("schema.sql").read_text(encoding="utf-8")
    return f"{derived_tables_sql()}\n{own}\n{evidence_sql()}"


def query(
    con: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object] | Mapping[str, object] = ()
) -> pl.DataFrame:
    """The rows of a query as a frame."""
    frame = pl.from_arrow(con.sql(sql, params=values if isinstance(values, Mapping) else list(values)).to_arrow_table())
    return cast(pl.DataFrame, frame)


def get_meta(con: duckdb.DuckDBPyConnection, key: str) -> str | None:
    """One value of the table `meta`."""
    rows = con.execute("SELECT value FROM meta WHERE key = ?", [key]).fetchall()
    return str(rows[0][0]) if rows else None


def all_meta(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The table `meta`."""
    return dict(con.execute("SELECT key, value FROM meta").fetchall())


def set_meta(con: duckdb.DuckDBPyConnection, **values: str | None) -> None:
    """Write values into the table `meta`; None removes a key. What is there already is not written: a transaction that
    changes nothing is closed without touching the file."""
    before = all_meta(con)
    for key, value in values.items():
        if before.get(key) == value:
            continue
        con.execute("DELETE FROM meta WHERE key = ?", [key])
        if value is not None:
            con.execute("INSERT INTO meta VALUES (?, ?)", [key, value])


def peek(path: Path) -> dict[str, str]:
    """All of `meta`, for listings. Raises as `open_manifest`."""
    with open_manifest(path) as con:
        return all_meta(con)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn a full disk or an unwritable folder into a sentence."""
    try:
        yield
    except AgebenchError:
        raise
    except (OSError, *CANNOT_WRITE) as error:
        raise StorageError(
            f"Cannot write {path}: {str(error).splitlines()[0]}.",
            "Free some space or correct the permissions, and run the command again: finished work is kept.",
        ) from error


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn DuckDB's error about a damaged file, or about a foreign view of other files, into a sentence."""
    try:
        yield
    except (duckdb.IOException, duckdb.InternalException, duckdb.SerializationException) as error:
        raise ManifestError(
            f"{path} is damaged: {str(error).splitlines()[0]}", "Move it away and run `agebench curate` again."
        ) from error
    except duckdb.PermissionException as error:
        raise ManifestError(
            f"{path} was changed by another program: {str(error).splitlines()[0]}",
            "Do not trust it; move it away and curate again.",
        ) from error


def _connect(path: Path, *, read_only: bool, wait: float = WAIT_SECONDS) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=CONFIG)
        except duckdb.SerializationException as error:
            raise ManifestError(f"{path} was written by a newer DuckDB.", "Upgrade the package `duckdb`.") from error
        except duckdb.PermissionException as error:  # a SQLite file and the like, for which DuckDB wants an extension
            raise ManifestError(f"{path} is not a manifest.", "Name another with `--manifest`.") from error
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            text = str(error)
            if "lock" not in text and "different configuration" not in text:
                if "not a valid DuckDB" in text or "newer" in text or "storage version" in text.lower():
                    raise ManifestError(
                        f"{path} is not a manifest: {text.splitlines()[0]}",
                        "Move it away, or name another with `--manifest`.",
                    ) from error
                if "Could not read enough bytes" in text:
                    raise ManifestError(
                        f"{path} is damaged or cut off: {text.splitlines()[0]}",
                        "Move it away and run `agebench curate` again.",
                    ) from error
                raise StorageError(
                    f"Cannot open {path}: {text.splitlines()[0]}",
                    "Correct the permissions, or work on a copy of the file.",
                ) from error
            if time.monotonic() > deadline:
                raise ManifestBusy(
                    f"{path} is in use by {_holder(text)}.",
                    "Wait for it, or close the file there: a notebook holds it until `con.close()`, which `with "
                    "duckdb.connect(FILE, read_only=True) as con:` does by itself. A copy of the file can be read.",
                ) from error
            time.sleep(0.05)


def _holder(text: str) -> str:
    """Process and command behind DuckDB's message about a lock."""
    match = re.search(r"PID (\d+)", text)
    if match is None:
        return "another connection of this process"
    command = ""
    with suppress(OSError):  # no /proc here, or the process has gone
        words = Path(f"/proc/{match[1]}/cmdline").read_bytes().decode(errors="replace").split("\0")
        command = " (" + " ".join(Path(w).name if i < 2 else w for i, w in enumerate(words) if w)[:60] + ")"
    return f"process {match[1]}{command}"


def _check_version(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    try:
        con.execute("SELECT 1 FROM record LIMIT 0")
        version = get_meta(con, "schema_version") or "0"
    except duckdb.Error:  # no such table, or one from another program
        version = None
    if version is None:
        raise ManifestError(f"{path} is a DuckDB file but not a manifest.", "Name another with `--manifest`.")
    if version.isdigit() and int(version) < SCHEMA_VERSION:
        raise ManifestError(
            f"{path} has schema version {version}, from an unreleased agebench.",
            "Move it away and run `agebench curate` again; the decisions file beside it is kept.",
        )
    if version != str(SCHEMA_VERSION):
        raise ManifestError(
            f"{path} has schema version {version}; this agebench reads up to {SCHEMA_VERSION}.", "Upgrade agebench."
        )
