"""What a person sees who is asked about one record, read quickly: from the stored evidence, not from the views over
all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import polars as pl

from agebench.manifest.renewal import made_at
from agebench.manifest.store import query

EXAMPLES = 8  # of each check
MOST_RELATIVES = 60  # photographs of the same subject


@dataclass(frozen=True)
class RecordView:
    """One record. evidence: column → value (see `manifest.evidence`); reasons: check, verdict, reason, in words.

    faces: face_no, x, y, w, h (pixels of the upright picture), score, landmarks (10 numbers), meant (by people's
    answer, else as evidence says). estimates of the face that is meant: estimator, age, spread (years), probabilities
    (of ages 0 to 99, or None). relatives (the subject's other records, by year) and duplicates (the same bytes or the
    same photograph): record_id, part, path, photo_year, age (in force), suggested_age, verdict, face (x, y, w, h of the
    face that evidence means, width and height of the picture, all in pixels; None without one). decision: what its
    answers came to when it was judged last.
    """

    record_id: int
    part: str
    path: str
    age: int | None
    verdict: str
    evidence: dict[str, Any]
    reasons: list[dict[str, Any]]
    faces: list[dict[str, Any]]
    estimates: list[dict[str, Any]]
    relatives: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    decision: dict[str, Any] | None


def view_record(con: duckdb.DuckDBPyConnection, record_id: int, *, answered: bool = True) -> RecordView | None:
    """What is known of a record of a judged manifest; None where there is no such record.

    answered=False: without what people have answered about it and its companions.
    """

    def rows(sql: str, *values: object) -> list[dict[str, Any]]:
        return query(con, sql, list(values)).to_dicts()

    found = rows("SELECT * FROM stored_evidence WHERE record_id = ?", record_id)
    if not found:
        return None
    evidence = found[0]
    sha256 = evidence["sha256"]
    decision_of = "SELECT * EXCLUDE (record_id) FROM decision WHERE record_id = ?"
    decisions = rows(decision_of, record_id) if answered else []
    chosen = rows("SELECT face_no FROM decided_face WHERE record_id = ?", record_id) if decisions else []
    meant = chosen[0]["face_no"] if chosen else evidence["face_no"]
    reasons = rows(
        """SELECT v."check", v.verdict, v.reason FROM verdict v JOIN recipe_check c USING ("check")
           WHERE v.record_id = ? ORDER BY c.position""",
        record_id,
    )
    faces = rows(
        "SELECT face_no, x, y, w, h, score, landmarks FROM face_in_force WHERE sha256 = ? ORDER BY face_no", sha256
    )
    estimates = rows(
        """SELECT estimator, age, spread, probabilities FROM age_estimate WHERE sha256 = ? AND face_no = ?
           ORDER BY estimator""",
        sha256, meant,
    )  # fmt: skip
    same_subject = [
        row["record_id"]
        for row in rows(
            "SELECT record_id FROM record WHERE subject_id = ? AND record_id <> ? ORDER BY record_id LIMIT ?",
            evidence["subject_id"], record_id, MOST_RELATIVES,
        )
    ]  # fmt: skip
    alike = []  # each sought only where evidence says that there are any
    if (evidence["copies"] or 0) > 1:
        sql = "SELECT record_id FROM record JOIN content USING (part, path) WHERE sha256 = ? AND record_id <> ?"
        alike += rows(sql, sha256, record_id)
    if (evidence["near_copies"] or 0) > 1:
        sql = """SELECT record_id FROM near_copy WHERE record_id <> ? AND near_group =
                 (SELECT near_group FROM near_copy WHERE record_id = ?)"""
        alike += rows(sql, record_id, record_id)
    same_picture = {row["record_id"] for row in alike}
    companions = _companions(con, sorted({*same_subject, *same_picture}), answered)
    relatives = [row for row in companions if row["record_id"] in set(same_subject)]
    duplicates = [row for row in companions if row["record_id"] in same_picture]
    decision = decisions[0] if decisions else None
    said = {r["verdict"] for r in reasons}
    verdict = "reject" if "reject" in said else "review" if said else "keep"
    age = evidence["age"]
    if decision is not None:
        decided = decision["status"] == "decided"
        verdict = "review" if not decided else "reject" if decision["answer"] == "reject" else "keep"
        age = decision["age"] if decision["age"] is not None else age
    return RecordView(
        record_id, evidence["part"], evidence["path"], age, verdict, evidence, reasons,
        [face | {"meant": face["face_no"] == meant} for face in faces], estimates, relatives, duplicates, decision,
    )  # fmt: skip


def _companions(con: duckdb.DuckDBPyConnection, ids: list[int], answered: bool) -> list[dict[str, Any]]:
    if not ids:
        return []
    numbers = ", ".join(str(int(number)) for number in ids)  # constants, by which DuckDB skips what it need not read
    sql = f"""
        SELECT e.record_id, e.part, e.path, e.photo_year, coalesce(d.age, e.age) AS age, e.suggested_age,
               CASE WHEN e.face_w > 0 THEN [e.face_x, e.face_y, e.face_w, e.face_h, e.width, e.height] END AS face,
               CASE WHEN d.status = 'decided' THEN CASE d.answer WHEN 'reject' THEN 'reject' ELSE 'keep' END
                    WHEN d.status IS NOT NULL THEN 'review' ELSE coalesce(v.verdict, 'keep') END AS verdict
        FROM (SELECT * FROM stored_evidence WHERE record_id IN ({numbers})) AS e
        LEFT JOIN (SELECT * FROM decision WHERE {answered}) AS d USING (record_id)
        LEFT JOIN (SELECT record_id, min(verdict) AS verdict FROM verdict WHERE record_id IN ({numbers})
                   GROUP BY record_id) v USING (record_id)
        ORDER BY e.photo_year NULLS LAST, e.record_id"""
    return query(con, sql).to_dicts()


@dataclass(frozen=True)
class Overview:
    """A curation at one look. meta: as stored (dataset, recipe, judged_at, detector, …); funnel: position, step,
    verdict, records, status; ages: age (claimed), records, kept; checks: check, verdict, predicate, status, records,
    examples (ids of up to `EXAMPLES` records that it fired on, evenly over the release)."""

    meta: dict[str, str]
    funnel: list[dict[str, Any]]
    ages: pl.DataFrame
    checks: list[dict[str, Any]]


def overview(con: duckdb.DuckDBPyConnection) -> Overview:
    """The overview of a judged manifest."""
    ages = query(
        con,
        """SELECT claimed_age AS age, count(*) AS records, count(*) FILTER (verdict = 'keep') AS kept FROM judged
           WHERE claimed_age IS NOT NULL GROUP BY claimed_age ORDER BY claimed_age""",
    )
    checks = query(
        con,
        """SELECT c."check", c.verdict, c.predicate, c.status, count(v.record_id) AS records,
                  coalesce(list(v.record_id ORDER BY hash(v.record_id), v.record_id)
                      FILTER (v.record_id IS NOT NULL), []) AS fired
           FROM recipe_check c LEFT JOIN verdict v USING ("check")
           GROUP BY c."check", c.verdict, c.predicate, c.status, c.position ORDER BY c.position""",
    )
    checks = checks.with_columns(examples=pl.col("fired").list.head(EXAMPLES)).drop("fired")
    meta = dict(con.execute("SELECT key, value FROM meta").fetchall()) | {"judged_at": made_at(con, "verdicts") or ""}
    funnel = query(con, "SELECT * FROM funnel ORDER BY position").to_dicts()
    return Overview(meta, funnel, ages, checks.to_dicts())


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
