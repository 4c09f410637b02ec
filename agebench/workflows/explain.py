"""explain: everything that is known about one record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agebench.curation.checks import expression_columns
from agebench.errors import UsageError
from agebench.manifest.evidence import COLUMNS
from agebench.manifest.record_view import RecordView, find_record, parts_with, view_record
from agebench.manifest.records import folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.manifest.unknown import unknown_record
from agebench.pictures import Locator, Picture, decode, read_bytes
from agebench.remote import Folder, Remote
from agebench.review.decisions import decisions_file, read
from agebench.review.resolution import taken_back


@dataclass(frozen=True)
class CheckSaid:
    """One check on one record. said: `fired`, `did not fire` or `not run`; values: the columns that it reads."""

    name: str
    verdict: str
    predicate: str
    said: str
    reason: str | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """One record. evidence: column → value, of the columns that are not NULL; record: see `manifest.record_view`.

    decision: the result of its answers when it was last judged; answers: every answer to it, ordered by (at, id), with
    `taken_back` (undone) and `settles` (whether it overrides the others).
    """

    dataset: str
    recipe: str | None
    part: str
    path: str
    verdict: str | None
    evidence: dict[str, Any]
    checks: list[CheckSaid]
    record: RecordView
    decision: dict[str, Any] | None
    answers: list[dict[str, Any]]
    picture: Picture | None
    file: Folder | None


def explain(manifest: Path, part: str | None, path: str) -> Explanation:
    """Everything that a manifest knows about a record. part: may be None if only one part has the path.

    Raises UsageError if the part must be named, or if there is no such record (with the nearest paths).
    """
    with open_manifest(manifest) as con:
        if part is None:
            parts = parts_with(con, path)
            if len(parts) > 1:
                raise UsageError(f"{path} is in the parts {' and '.join(parts)}.", f"Name one: {parts[0]} {path}.")
            if not parts:
                raise UsageError(*unknown_record(con, manifest, None, path))
            part = parts[0]
        number = find_record(con, part, path)
        record = view_record(con, number) if number is not None else None
        if record is None:
            raise UsageError(*unknown_record(con, manifest, part, path))
        evidence = {name: value for name, value in record.evidence.items() if value is not None}
        checks = [
            CheckSaid(
                row["check"], row["verdict"], row["predicate"],
                "not run" if row["status"] == "not run" else "fired" if row["reason"] is not None else "did not fire",
                row["reason"],
                {c: record.evidence.get(c) for c in expression_columns(row["predicate"], row["check"])},
            )
            for row in record.checks
        ]  # fmt: skip
        dataset, recipe = get_meta(con, "dataset") or "?", get_meta(con, "recipe")
        folders = folders_of(con)
    locator = Locator(folders)
    place: str | Remote | None = None
    picture = None
    if locator.stat(part, path)[2] is None:
        place, _ = locator.find(part, path)
        data, fault = read_bytes(place or "")
        picture = None if fault else decode(data, at_least=640)[0]
    ordered = {name: evidence[name] for name in COLUMNS if name in evidence}
    file = Path(place) if isinstance(place, str) else place
    return Explanation(
        dataset, recipe, part, path, record.verdict, ordered, checks, record, record.decision,
        _answers(manifest, part, path), picture, file,
    )  # fmt: skip


def copies_of(record: RecordView) -> list[dict[str, Any]]:
    """The records with the same bytes or the same photograph, in order: part, path, age (claimed), what."""
    alike = sorted(record.duplicates, key=lambda row: row["record_id"])
    same = record.evidence["sha256"]
    return [
        {
            "part": row["part"],
            "path": row["path"],
            "age": row["claimed_age"],
            "what": "same bytes" if row["sha256"] == same else "same photograph",
        }
        for row in alike
    ]


def _answers(manifest: Path, part: str, path: str) -> list[dict[str, Any]]:
    lines = [d for d in read(decisions_file(manifest))[0] if (d.part, d.path) == (part, path)]
    undone = taken_back(lines)
    return [
        d.model_dump(exclude={"part", "path", "shown"}) | {"taken_back": d.id in undone, "settles": bool(d.settles)}
        for d in sorted(lines, key=lambda d: d.order)
    ]
