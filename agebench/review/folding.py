"""Folding people's answers into a manifest, when it is judged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import polars as pl

from agebench.manifest.derived import state
from agebench.manifest.store import get_meta, open_manifest, set_meta
from agebench.review.audit import Sample, foremost, samples_of
from agebench.review.decisions import decisions_file, parse, read_bytes
from agebench.review.resolution import OPEN, latest_answers, resolve, without_records
from agebench.review.rows import (
    answered_records,
    decision_facts,
    lines_folded,
    must_be_there,
    present_pictures,
    write_decisions,
)

RESOLVING = 3  # raise when answers are resolved otherwise: they are folded in anew then


@dataclass(frozen=True)
class Folded:
    """Resolved answers, ready to be written; rows is None where the manifest has them already."""

    rows: pl.DataFrame | None
    made_of: str
    facts: dict[str, int]
    audit: str | None  # the estimate of the audit that was read most, as JSON
    notes: list[str]


def gather(manifest: Path) -> Folded:
    """Read the decisions of a manifest and resolve them against its records. Nobody holds the manifest meanwhile.

    Raises DecisionError where the file is damaged, or not there although answers were folded in from it before: nothing
    is changed then. Where lines have gone from it, a note says how many.
    """
    file = decisions_file(manifest)
    data, notes = read_bytes(file)
    samples = samples_of(manifest)
    with open_manifest(manifest) as con:
        folded = lines_folded(con)
        must_be_there(file, folded, manifest)
        made_of = _made_of(data, con, samples)
        if get_meta(con, "decisions_made_of") == made_of:
            facts = decision_facts(con)
            return Folded(None, made_of, facts, get_meta(con, "audit"), notes + told(facts, file))
    decisions = parse(data, str(file))
    latest = latest_answers(decisions)
    names = latest.select("part", "path").unique()
    with open_manifest(manifest) as con:
        records = answered_records(con, names)
        pictures = [present_pictures(con, ((r["part"], r["path"]) for r in sample.records)) for sample in samples]
    rows = resolve(decisions, records)
    named = len(latest.join(records, on=["part", "path"], how="semi"))
    facts = {"answers": named} | {status: int((rows["status"] == status).sum()) for status in ("decided", *OPEN)}
    facts |= {"gone": without_records(decisions, records), "lines": len(decisions)}
    if folded > len(decisions):
        notes.append(
            f"{folded - len(decisions):,} of the {folded:,} lines that were folded in from {file} are gone from it: "
            "what they answered is undecided again. If nobody took them out on purpose, put the file back."
        )
    best = foremost(samples, decisions, pictures)
    return Folded(rows, made_of, facts, json.dumps(asdict(best)) if best else None, notes + told(facts, file))


def check(manifest: Path) -> None:
    """Raises DecisionError where answers that are to be folded in are damaged or gone: before hours of observing, not
    after them."""
    file = decisions_file(manifest)
    data, samples = read_bytes(file, repair=False)[0], samples_of(manifest)
    with open_manifest(manifest) as con:
        must_be_there(file, lines_folded(con), manifest)
        known = get_meta(con, "decisions_made_of") == _made_of(data, con, samples)
    if not known:
        parse(data, str(file))


def wait(con: duckdb.DuckDBPyConnection, manifest: Path) -> bool:
    """Whether answers have come since the open manifest was judged."""
    data, samples = read_bytes(decisions_file(manifest), repair=False)[0], samples_of(manifest)
    return bool(data or get_meta(con, "decisions")) and get_meta(con, "decisions_made_of") != _made_of(
        data, con, samples
    )


def _made_of(data: bytes, con: duckdb.DuckDBPyConnection, samples: list[Sample]) -> str:
    read = samples if b'"audit"' in data else []
    return hashlib.sha256(data + repr((RESOLVING, state(con), read)).encode()).hexdigest()


def write(con: duckdb.DuckDBPyConnection, folded: Folded) -> None:
    """Store what `gather` found, in the transaction that judges."""
    if folded.rows is not None:
        write_decisions(con, folded.rows, folded.made_of, folded.facts)
        set_meta(con, audit=folded.audit)


def told(facts: dict[str, int], file: Path) -> list[str]:
    """What people should know of the answers that were folded in."""
    notes = []
    if facts.get("answers"):
        waiting = [
            f"{facts[status]:,} {what}"
            for status, what in (
                ("conflict", "on which reviewers disagree"),
                ("unfit", "whose answer cannot be meant so"),
                ("claim_changed", "whose claimed age has changed"),
                ("changed", "whose picture has changed"),
            )
            if facts.get(status)
        ]
        rest = f" ({', '.join(waiting)}: in review)" if waiting else ""
        records = sum(facts.get(status, 0) for status in ("decided", *OPEN))
        notes.append(f"Answers folded in from {file}: {facts['answers']:,} (records: {records:,}){rest}.")
    if facts.get("gone"):
        notes.append(
            f"{file} has answers about {facts['gone']:,} records that are not in this release; they are kept there."
        )
    return notes
