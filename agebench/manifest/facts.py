"""Everything of one record, for people who ask why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from agebench.manifest.store import query


@dataclass(frozen=True)
class RecordFacts:
    """One record's rows. checks: check, verdict, predicate, status, reason (NULL where it did not fire); faces: with
    `meant`; estimates: face_no, estimator, age, spread; copies: records of the same bytes or of the same photograph."""

    record_id: int
    verdict: str | None
    evidence: dict[str, Any]
    checks: list[dict[str, Any]]
    faces: list[dict[str, Any]]
    estimates: list[dict[str, Any]]
    copies: list[dict[str, Any]]
    observed: list[dict[str, Any]]


def read_facts(con: duckdb.DuckDBPyConnection, part: str, path: str) -> RecordFacts | None:
    """The record of that name; None where there is none."""
    found = query(con, "SELECT * FROM evidence WHERE part = ? AND path = ? ORDER BY record_id LIMIT 1", [part, path])
    if found.is_empty():
        return None
    evidence = found.to_dicts()[0]
    number, sha256 = evidence["record_id"], evidence["sha256"]

    def rows(sql: str, *values: object) -> list[dict[str, Any]]:
        return query(con, sql, list(values)).to_dicts()

    verdict = rows("SELECT verdict FROM judged WHERE record_id = ?", number)
    return RecordFacts(
        record_id=number,
        verdict=verdict[0]["verdict"] if verdict else None,
        evidence=evidence,
        checks=rows(
            """SELECT c."check", c.verdict, c.predicate, c.status, v.reason
               FROM recipe_check c LEFT JOIN verdict v ON v."check" = c."check" AND v.record_id = ?
               ORDER BY position""",
            number,
        ),
        faces=rows(
            """SELECT f.face_no, f.x, f.y, f.w, f.h, f.score, f.sharpness,
                      coalesce(coalesce(d.face_no, m.face_no) = f.face_no, FALSE) AS meant
               FROM face_in_force f LEFT JOIN meant_face m ON m.record_id = ?
               LEFT JOIN decided_face d ON d.record_id = ? WHERE f.sha256 = ? ORDER BY f.face_no""",
            number, number, sha256,
        ),
        estimates=rows(
            "SELECT face_no, estimator, age, spread FROM age_estimate WHERE sha256 = ? ORDER BY ALL", sha256
        ),
        copies=rows(
            """SELECT part, path, age, CASE WHEN content.sha256 = ? THEN 'same bytes' ELSE 'same photograph' END AS what
               FROM record JOIN content USING (part, path) LEFT JOIN near_copy n USING (record_id)
               WHERE record_id <> ? AND (content.sha256 = ? OR n.near_group =
                   (SELECT near_group FROM near_copy WHERE record_id = ?)) ORDER BY record_id""",
            sha256, number, sha256, number,
        ),
        observed=rows("SELECT observer, version, error FROM observed WHERE sha256 = ? ORDER BY observer", sha256),
    )  # fmt: skip
