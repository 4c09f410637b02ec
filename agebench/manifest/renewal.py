"""Renewing every derivation whose inputs have changed: one pass over `manifest.derivations`."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from agebench.manifest.derivations import DERIVATIONS, Derivation
from agebench.manifest.store import all_meta, open_manifest, set_meta


@dataclass(frozen=True)
class Derived:
    """The result of a derivation. tables: its rows by table, which replace the earlier ones. meta: values for people.
    result: a key for dependants, if equal results from different inputs should change nothing further. write: anything
    else to do in the same transaction."""

    tables: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    meta: Mapping[str, str | None] = field(default_factory=dict)
    result: str | None = None
    write: Callable[[duckdb.DuckDBPyConnection], None] | None = None


@dataclass(frozen=True)
class DerivationState:
    """A derivation as it was last made. inputs_hash: the hash of its inputs and version; there: False if there was
    nothing to derive; key: what its dependants depend on."""

    inputs_hash: str
    result: str | None
    there: bool
    at: str

    @property
    def key(self) -> str:
        return self.result or self.inputs_hash


def derivations_made(con: duckdb.DuckDBPyConnection) -> dict[str, DerivationState]:
    """Name → how it was last made, for all derivations and outside facts that the manifest remembers."""
    rows = con.execute('SELECT name, inputs_hash, result, there, "at" FROM derivation').fetchall()
    return {name: DerivationState(*rest) for name, *rest in rows}


@dataclass(frozen=True)
class ManifestState:
    """What a manifest remembers, read at one opening. meta: the table `meta`; made: see `derivations_made`; pictures:
    whether any picture was ever read."""

    meta: dict[str, str] = field(default_factory=dict)
    made: dict[str, DerivationState] = field(default_factory=dict)
    pictures: bool = False


def read_state(manifest: Path) -> ManifestState:
    """The state of a manifest. Raises as `open_manifest`."""
    with open_manifest(manifest) as con:
        return state_of(con)


def state_of(con: duckdb.DuckDBPyConnection) -> ManifestState:
    """The state of the open manifest."""
    pictures = bool(con.execute("SELECT 1 FROM content WHERE sha256 IS NOT NULL LIMIT 1").fetchall())
    return ManifestState(all_meta(con), derivations_made(con), pictures)


def made_at(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    """When a derivation was last made (ISO 8601, UTC); None if it does not exist."""
    rows = con.execute('SELECT "at" FROM derivation WHERE name = ? AND there', [name]).fetchall()
    return str(rows[0][0]) if rows else None


def is_judged(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether the records have verdicts."""
    return made_at(con, "verdicts") is not None


def mark_made(
    con: duckdb.DuckDBPyConnection, name: str, inputs_hash: str, *, result: str | None = None, there: bool = True
) -> DerivationState:
    """Remember what a derivation, or a fact from outside, was made from."""
    made = DerivationState(inputs_hash, result, there, datetime.now(UTC).isoformat())
    forget(con, [name])
    con.execute("INSERT INTO derivation VALUES (?, ?, ?, ?, ?)", [name, inputs_hash, result, there, made.at])
    return made


def forget(con: duckdb.DuckDBPyConnection, names: Iterable[str]) -> None:
    """Make the next `renew` compute these derivations again; their rows stay until then."""
    con.execute("DELETE FROM derivation WHERE list_contains(?, name)", [list(names)])


def renew(
    manifest: Path,
    request: Any,
    facts: Mapping[str, str | None],
    *,
    names: Iterable[str] | None = None,
    made: Mapping[str, DerivationState] | None = None,
) -> dict[str, DerivationState]:
    """Renew every derivation whose inputs have changed; returns all derivations of the manifest afterwards.

    facts: the keys of what comes from outside, such as the name of the detector in force; `records` and `observations`
    are the manifest's own. request: what the functions are called with. names: which derivations (None: all); what they
    are made of is taken as it is. made: what `derivations_made` says now, where the caller has just read it. Nobody
    holds the manifest while a function computes, and each derivation is written in a transaction of its own: DuckDB 2.0
    was seen to miss rows (over 122,880 in one insert) that its own open transaction had written. Raises what the
    functions raise and `open_manifest` raises."""
    if made is None:
        with open_manifest(manifest) as con:
            made = derivations_made(con)
    made = dict(made)
    for derivation in DERIVATIONS:
        if names is not None and derivation.name not in names:
            continue
        inputs_hash = _made_of(derivation, made, facts)
        before = made.get(derivation.name)
        if before is not None and before.inputs_hash == inputs_hash:
            continue
        derived = _function(derivation)(manifest, request)
        with open_manifest(manifest, write=True) as con:
            made[derivation.name] = _write(con, derivation, derived, inputs_hash)
    return made


def is_current(name: str, made: Mapping[str, DerivationState], facts: Mapping[str, str | None]) -> bool:
    """Whether a derivation was made of its present inputs; facts: as `renew` takes them."""
    derivation = next(one for one in DERIVATIONS if one.name == name)
    return name in made and made[name].inputs_hash == _made_of(derivation, made, facts)


def _made_of(derivation: Derivation, made: Mapping[str, DerivationState], facts: Mapping[str, str | None]) -> str:
    keys = [facts[name] if name in facts else made[name].key if name in made else None for name in derivation.inputs]
    return hashlib.sha256(repr((derivation.version, keys)).encode()).hexdigest()


def _function(derivation: Derivation) -> Callable[[Path, Any], Derived | None]:
    module, _, name = derivation.function.partition(":")
    function: Callable[[Path, Any], Derived | None] = getattr(importlib.import_module(module), name)
    return function


def _write(
    con: duckdb.DuckDBPyConnection, derivation: Derivation, derived: Derived | None, inputs_hash: str
) -> DerivationState:
    for table in derivation.tables:
        rows = derived.tables.get(table.name) if derived else None
        con.execute(f"DELETE FROM {table.name}")
        if rows is not None and len(rows):
            con.register("incoming_derived", rows.to_arrow())
            con.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM incoming_derived")
            con.unregister("incoming_derived")
    if derived:
        set_meta(con, **derived.meta)
        if derived.write:
            derived.write(con)
    return mark_made(
        con, derivation.name, inputs_hash, result=derived.result if derived else None, there=derived is not None
    )
