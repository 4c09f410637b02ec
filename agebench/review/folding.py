"""Fold reviewers' answers into a manifest when its records are judged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

import polars as pl

from agebench.manifest.renewal import Derived, ManifestState, is_current
from agebench.manifest.store import open_manifest
from agebench.review.audit import foremost, samples_of
from agebench.review.decisions import decisions_file, parse, read_bytes
from agebench.review.resolution import OPEN, latest_answers, resolve, without_records
from agebench.review.rows import answered_records, lines_folded, lines_in, must_be_there, present_pictures


class TakesNotes(Protocol):
    """Something that collects notes, which are sentences for people."""

    @property
    def notes(self) -> list[str]: ...


def answers_key(manifest: Path) -> str:
    """A hash of all answers about a manifest: of the decisions file and, if that has audit readings, of the audit
    samples. Raises DecisionError."""
    data = read_bytes(decisions_file(manifest), repair=False)[0]
    samples = samples_of(manifest) if b'"audit"' in data else []
    return hashlib.sha256(data + repr(samples).encode()).hexdigest()


def check_answers(manifest: Path, state: ManifestState, key: str) -> None:
    """Raises DecisionError if answers that are to be folded in are damaged or missing, so that hours
    of observing are not wasted. key: see `answers_key`."""
    file = decisions_file(manifest)
    must_be_there(file, lines_in(state.meta.get("decisions")), manifest)
    if not is_current("decisions", state.made, {"answers": key}):
        parse(read_bytes(file, repair=False)[0], str(file))


def answers_wait(manifest: Path, state: ManifestState) -> bool:
    """Whether there are answers that came after a manifest was judged."""
    key = answers_key(manifest)
    some = "decisions" in state.meta or decisions_file(manifest).exists()
    return some and not is_current("decisions", state.made, {"answers": key})


def derive_decisions(manifest: Path, request: TakesNotes) -> Derived:
    """The decisions about a manifest, resolved against its records, and the estimate of the audit with the most records
    read.

    Raises DecisionError if the file is damaged, or missing although answers were folded in from it before; then nothing
    is changed. If lines have disappeared from it, a note says how many.
    """
    file = decisions_file(manifest)
    data, notes = read_bytes(file)
    samples = samples_of(manifest)
    decisions = parse(data, str(file))
    latest = latest_answers(decisions)
    with open_manifest(manifest) as con:
        folded = lines_folded(con)
        must_be_there(file, folded, manifest)
        records = answered_records(con, latest.select("part", "path").unique())
        pictures = [present_pictures(con, ((r["part"], r["path"]) for r in sample.records)) for sample in samples]
    rows = resolve(decisions, records)
    named = len(latest.join(records, on=["part", "path"], how="semi"))
    facts = {"answers": named} | {status: int((rows["status"] == status).sum()) for status in ("decided", *OPEN)}
    facts |= {"gone": without_records(decisions, records), "lines": len(decisions)}
    if folded > len(decisions):
        notes.append(
            f"{folded - len(decisions):,} of the {folded:,} lines that were folded in from {file} are gone from it: "
            "what they answered is undecided again. If nobody removed them on purpose, restore the file."
        )
    request.notes.extend(notes)
    best = foremost(samples, decisions, pictures)
    box = [pl.col("box").arr.get(i).alias(f"box_{side}") for i, side in enumerate("xywh")]
    return Derived(
        {"decision": rows.with_columns(box).drop("box")},
        {"decisions": json.dumps(facts), "audit": json.dumps(asdict(best)) if best else None},
    )


def describe_answers(facts: dict[str, int], file: Path) -> list[str]:
    """Notes about the answers that were folded in."""
    notes = []
    if facts.get("answers"):
        waiting = [
            f"{facts[status]:,} {what}"
            for status, what in (
                ("conflict", "on which reviewers disagree"),
                ("unfit", "whose answer does not fit the record"),
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
            f"{file} has answers about {facts['gone']:,} records that are not in this release; they stay in the file."
        )
    return notes
