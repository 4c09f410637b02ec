"""Everything about one record, for the page, `explain` and other tools; and the overview of a curation.

For a judged manifest this is fast: it reads the stored evidence instead of the views over all records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import duckdb
import polars as pl

from agebench.manifest.renewal import is_judged, made_at
from agebench.manifest.store import all_meta, query
from agebench.manifest.summary import funnel

EXAMPLES = 8  # of each check
MOST_RELATIVES = 60  # photographs of the same subject


@dataclass(frozen=True)
class RecordView:
    """One record. verdict: None if nothing was judged. evidence: column → value (see `manifest.evidence`). checks:
    every check of the recipe, in order: check, verdict, predicate, status, reason (in words; None if it did not
    fire).

    faces: face_no, x, y, w, h (pixels of the upright picture), score, sharpness, landmarks (10 numbers), meant (by
    people's answer, else as evidence says), suggested_age (years) and label_suspicion: those of evidence for the face
    that it means; for another face, the median of its estimates and None. estimates of all faces: face_no, estimator,
    age, spread (years), probabilities (of ages 0 to 99, or None). relatives (the subject's other records, by year) and
    duplicates (the same bytes or the same photograph): record_id, part, path, photo_year, age (final), claimed_age,
    sha256, suggested_age, verdict, face (x, y, w, h of the face that evidence means, width and height of the picture,
    all in pixels; None without one). decision: what its answers came to when it was last judged. observed: observer,
    version, error."""

    record_id: int
    part: str
    path: str
    age: int | None
    verdict: str | None
    evidence: dict[str, Any]
    checks: list[dict[str, Any]]
    faces: list[dict[str, Any]]
    estimates: list[dict[str, Any]]
    relatives: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]
    decision: dict[str, Any] | None
    observed: list[dict[str, Any]]

    @property
    def reasons(self) -> list[dict[str, Any]]:
        """The checks that fired: check, verdict, reason."""
        fired = [check for check in self.checks if check["reason"] is not None]
        return [{name: check[name] for name in ("check", "verdict", "reason")} for check in fired]

    @property
    def meant_estimates(self) -> list[dict[str, Any]]:
        """The estimates for the chosen face."""
        meant = {face["face_no"] for face in self.faces if face["meant"]}
        return [one for one in self.estimates if one["face_no"] in meant]


def parts_with(con: duckdb.DuckDBPyConnection, path: str) -> list[str]:
    """The parts that have a record of that path."""
    sql = "SELECT DISTINCT part FROM record WHERE path = ? ORDER BY part"
    return [row[0] for row in con.execute(sql, [path]).fetchall()]


def find_record(con: duckdb.DuckDBPyConnection, part: str, path: str) -> int | None:
    """The record_id of the record with that name, the first of several; None if there is none."""
    sql = "SELECT min(record_id) FROM record WHERE part = ? AND path = ?"
    found = con.execute(sql, [part, path]).fetchall()[0][0]
    return None if found is None else int(found)


def view_record(con: duckdb.DuckDBPyConnection, record_id: int, *, answered: bool = True) -> RecordView | None:
    """What is known about a record; None if there is no such record.

    answered=False: without people's answers about it and the related records.
    """

    def rows(sql: str, *values: object) -> list[dict[str, Any]]:
        return query(con, sql, list(values)).to_dicts()

    judged = is_judged(con)
    source = "stored_evidence" if judged else "evidence"
    found = rows(f"SELECT * FROM {source} WHERE record_id = ?", record_id)
    if not found:
        return None
    evidence = found[0]
    sha256 = evidence["sha256"]
    decision_of = "SELECT * EXCLUDE (record_id, said) FROM verdict_of_people WHERE record_id = ?"
    decisions = rows(decision_of, record_id) if answered else []
    said = decisions or rows("SELECT verdict FROM verdict_of_checks WHERE record_id = ?", record_id)
    chosen = rows("SELECT face_no FROM decided_face WHERE record_id = ?", record_id) if decisions else []
    meant = chosen[0]["face_no"] if chosen else evidence["face_no"]
    checks = rows(
        """SELECT c."check", c.verdict, c.predicate, c.status, v.reason
           FROM recipe_check c LEFT JOIN (SELECT * FROM verdict WHERE record_id = ?) v USING ("check")
           ORDER BY c.position""",
        record_id,
    )
    faces = rows(
        """SELECT face_no, x, y, w, h, score, sharpness, landmarks FROM face_in_force WHERE sha256 = ?
           ORDER BY face_no""",
        sha256,
    )
    estimates = rows(
        """SELECT face_no, estimator, age, spread, probabilities FROM age_estimate WHERE sha256 = ?
           ORDER BY face_no, estimator""",
        sha256,
    )
    same_subject = [
        row["record_id"]
        for row in rows(
            "SELECT record_id FROM record WHERE subject_id = ? AND record_id <> ? ORDER BY record_id LIMIT ?",
            evidence["subject_id"], record_id, MOST_RELATIVES,
        )
    ]  # fmt: skip
    alike = []  # looked up only if the evidence says that there are any
    if (evidence["copies"] or 0) > 1:
        sql = "SELECT record_id FROM record JOIN content USING (part, path) WHERE sha256 = ? AND record_id <> ?"
        alike += rows(sql, sha256, record_id)
    if (evidence["near_copies"] or 0) > 1:
        sql = """SELECT record_id FROM near_copy WHERE record_id <> ? AND near_group =
                 (SELECT near_group FROM near_copy WHERE record_id = ?)"""
        alike += rows(sql, record_id, record_id)
    same_picture = {row["record_id"] for row in alike}
    companions = _companions(con, source, sorted({*same_subject, *same_picture}), answered)
    relatives = [row for row in companions if row["record_id"] in set(same_subject)]
    duplicates = [row for row in companions if row["record_id"] in same_picture]
    decision = decisions[0] if decisions else None
    verdict = (said[0]["verdict"] if said else "keep") if judged else None
    age = evidence["age"]
    if decision is not None:
        del decision["verdict"]
        age = decision["age"] if decision["age"] is not None else age
    return RecordView(
        record_id, evidence["part"], evidence["path"], age, verdict, evidence, checks,
        [face | {"meant": face["face_no"] == meant} | _looks(face["face_no"], evidence, estimates) for face in faces],
        estimates, relatives, duplicates, decision,
        rows("SELECT observer, version, error FROM observed WHERE sha256 = ? ORDER BY observer", sha256),
    )  # fmt: skip


def _looks(face_no: int, evidence: dict[str, Any], estimates: list[dict[str, Any]]) -> dict[str, float | None]:
    """suggested_age and label_suspicion of one face. The suspicion is fitted to the face that evidence means only."""
    if face_no == evidence["face_no"]:
        return {name: evidence.get(name) for name in ("suggested_age", "label_suspicion")}
    ages = [one["age"] for one in estimates if one["face_no"] == face_no and one["age"] is not None]
    return {"suggested_age": median(ages) if ages else None, "label_suspicion": None}


def _companions(con: duckdb.DuckDBPyConnection, source: str, ids: list[int], answered: bool) -> list[dict[str, Any]]:
    if not ids:
        return []
    numbers = ", ".join(str(int(number)) for number in ids)  # constants, so that DuckDB can skip row groups
    sql = f"""
        SELECT e.record_id, e.part, e.path, e.photo_year, coalesce(d.age, e.age) AS age, e.age AS claimed_age,
               e.sha256, e.suggested_age,
               CASE WHEN e.face_w > 0 THEN [e.face_x, e.face_y, e.face_w, e.face_h, e.width, e.height] END AS face,
               coalesce(d.verdict, v.verdict, 'keep') AS verdict
        FROM (SELECT * FROM {source} WHERE record_id IN ({numbers})) AS e
        LEFT JOIN (SELECT * FROM verdict_of_people WHERE {answered}) AS d USING (record_id)
        LEFT JOIN (SELECT record_id, verdict FROM verdict_of_checks WHERE record_id IN ({numbers})) v USING (record_id)
        ORDER BY e.photo_year NULLS LAST, e.record_id"""
    return query(con, sql).to_dicts()


def tile_faces(con: duckdb.DuckDBPyConnection, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What a grid marks on its pictures, by record_id: width, height (of the picture, pixels; None if it could not be
    read), faces (face_no, x, y, w, h in pixels) and meant (the position among them of the face that evidence means;
    None without one)."""
    numbers = ", ".join(str(int(number)) for number in ids) or "NULL"
    source = "stored_evidence" if is_judged(con) else "evidence"
    sql = f"""
        SELECT record_id, width, height, face_no, coalesce(faces, []) AS faces
        FROM (SELECT record_id, sha256, width, height, face_no FROM {source} WHERE record_id IN ({numbers}))
        LEFT JOIN (
            SELECT sha256, list({{'face_no': face_no, 'x': x, 'y': y, 'w': w, 'h': h}} ORDER BY face_no) AS faces
            FROM face_in_force GROUP BY sha256) USING (sha256)"""
    found = {}
    for row in query(con, sql).to_dicts():
        meant = [place for place, face in enumerate(row["faces"]) if face["face_no"] == row["face_no"]]
        facts = {name: row[name] for name in ("width", "height", "faces")}
        found[row["record_id"]] = facts | {"meant": meant[0] if meant else None}
    return found


@dataclass(frozen=True)
class Overview:
    """An overview of a curation. meta: as stored (dataset, recipe, judged_at, detector, …); funnel: position, step,
    verdict, records (those that the step took first), status; ages: age (claimed), records, kept; checks: check,
    verdict, predicate, status, records (that it fired on), first (of those, the ones that no other check took before),
    examples (up to `EXAMPLES` of the records that it fired on, evenly over the release: record_id, part, path, age
    (claimed), suggested_age, readable, and face as in `RecordView`)."""

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
    steps = funnel(con).to_dicts()
    first = {row["step"]: row["records"] for row in steps}
    examples = checks["fired"].list.head(EXAMPLES).to_list()
    shown = {row["record_id"]: row for row in _examples(con, sorted({one for some in examples for one in some}))}
    found = [
        check | {"first": first.get(check["check"], 0), "examples": [shown[one] for one in some if one in shown]}
        for check, some in zip(checks.drop("fired").to_dicts(), examples, strict=True)
    ]
    meta = all_meta(con) | {"judged_at": made_at(con, "verdicts") or ""}
    return Overview(meta, steps, ages, found)


def _examples(con: duckdb.DuckDBPyConnection, ids: list[int]) -> list[dict[str, Any]]:
    numbers = ", ".join(str(int(number)) for number in ids) or "NULL"
    sql = f"""
        SELECT record_id, part, path, age, suggested_age, sha256 IS NOT NULL AND file_error IS NULL AS readable,
               CASE WHEN face_w > 0 THEN [face_x, face_y, face_w, face_h, width, height] END AS face
        FROM stored_evidence WHERE record_id IN ({numbers})"""
    return query(con, sql).to_dicts()
