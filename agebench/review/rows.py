"""What review reads from a manifest: the records that have answers, the queue, the kept records, tasks for other
tools."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from agebench.errors import DecisionError
from agebench.manifest.store import get_meta, open_manifest, query
from agebench.review.decisions import Decision, decisions_file, read

QUEUE = """
    WITH per AS (SELECT arg_max(per_class, made_at) AS per_class FROM plan_made),
    class AS (SELECT age, count(*) AS in_class FROM kept GROUP BY age),
    asked AS (
        SELECT record_id, part, path, age, reasons FROM judged WHERE verdict = 'review'
        UNION ALL
        SELECT record_id, part, path, claimed_age, fired.reasons
        FROM judged SEMI JOIN incoming_also USING (part, path) JOIN (
            SELECT record_id, string_agg("check", ';' ORDER BY position) AS reasons
            FROM verdict JOIN recipe_check USING ("check") GROUP BY record_id) AS fired USING (record_id)
        WHERE judged.verdict <> 'review')
    SELECT j.record_id, j.part, j.path, j.age, r.subject_id, g.group_id, n.near_group, c.sha256, c.error, j.reasons,
           len(string_split(j.reasons, ';')) AS checks, s.label_suspicion, s.suggested_age,
           coalesce(class.in_class, 0) AS in_class, (SELECT max(in_class) FROM class) AS largest_class,
           (SELECT per_class FROM per) AS per_class, i.width, i.height, coalesce(f.faces, 0) AS faces
    FROM asked j JOIN record r USING (record_id)
    LEFT JOIN record_group g USING (record_id) LEFT JOIN near_copy n USING (record_id)
    LEFT JOIN suspicion s USING (record_id) LEFT JOIN content c ON c.part = j.part AND c.path = j.path
    LEFT JOIN image i ON i.sha256 = c.sha256 LEFT JOIN class ON class.age = j.age
    LEFT JOIN (SELECT sha256, count(*) AS faces FROM face_in_force GROUP BY sha256) f ON f.sha256 = c.sha256
    ORDER BY j.record_id
"""


@dataclass(frozen=True)
class AnsweredRecord:
    """The record that is answered. age: the claimed one, years; width, height: of the upright picture, pixels; error:
    why the picture cannot be read (see `pictures.FAULTS`), None if it can; name: the subject's."""

    record_id: int
    part: str
    path: str
    age: int | None
    sha256: str | None
    verdict: str | None
    width: int | None
    height: int | None
    error: str | None = None
    name: str | None = None


def answered_record(con: duckdb.DuckDBPyConnection, part: str, path: str) -> AnsweredRecord | None:
    """The record with that name; None if there is none."""
    rows = con.execute(
        """SELECT r.record_id, r.part, r.path, r.age, c.sha256, j.verdict, i.width, i.height, c.error, r.name
           FROM (SELECT * FROM record WHERE part = ? AND path = ? ORDER BY record_id LIMIT 1) r
           LEFT JOIN content c ON c.part = r.part AND c.path = r.path LEFT JOIN image i ON i.sha256 = c.sha256
           LEFT JOIN (SELECT record_id, verdict FROM judged WHERE part = ? AND path = ?) j
               ON j.record_id = r.record_id""",
        [part, path, part, path],
    ).fetchall()
    return AnsweredRecord(*rows[0]) if rows else None


def answered_records(con: duckdb.DuckDBPyConnection, names: pl.DataFrame) -> pl.DataFrame:
    """The records with these names, in order: record_id, part, path, age (the claimed one), sha256, looked (whether the
    file was read), error (why it could not be read), width, height (pixels). names: part, path, each once."""
    con.register("incoming_names", names.select("part", "path").to_arrow())
    try:
        return query(
            con,
            """SELECT record_id, part, path, age, sha256, content.part IS NOT NULL AS looked, error, width, height
               FROM record SEMI JOIN incoming_names USING (part, path) LEFT JOIN content USING (part, path)
               LEFT JOIN image USING (sha256)
               ORDER BY record_id""",
        )
    finally:
        con.unregister("incoming_names")


def name_frame(names: Iterable[tuple[str, str]]) -> pl.DataFrame:
    """Names of records as a frame: part, path."""
    return pl.DataFrame(list(names), schema={"part": pl.Utf8, "path": pl.Utf8}, orient="row")


def present_pictures(
    con: duckdb.DuckDBPyConnection, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], str | None]:
    """The sha256 of some records' pictures in the manifest, by part and path (None: not read yet, or unreadable); of
    several records with the same name, the first one's. Records that are not in the release are left out."""
    rows = answered_records(con, name_frame(names).unique()).reverse().select("part", "path", "sha256")
    return {(part, path): sha256 for part, path, sha256 in rows.iter_rows()}


def lines_folded(con: duckdb.DuckDBPyConnection) -> int:
    """How many lines of the decisions file were folded into the open manifest."""
    return lines_in(get_meta(con, "decisions"))


def lines_in(facts: str | None) -> int:
    """The same, from the value of `decisions` in the table `meta`; None if there is no such value."""
    return int(json.loads(facts or "{}").get("lines", 0))


def must_be_there(file: Path, folded: int, manifest: Path) -> None:
    """Raises DecisionError if the decisions file is missing although lines of it were folded in: a new one in its place
    would look like all the answers there are."""
    if folded and not file.exists():
        raise DecisionError(
            f"{file} is missing, but {folded:,} lines of it are folded into {manifest}.",
            f"Put it back; or, to go on without those answers, create an empty one: `touch {shlex.quote(str(file))}`.",
        )


def queue_rows(con: duckdb.DuckDBPyConnection, also: Iterable[tuple[str, str]] = ()) -> pl.DataFrame:
    """Every record in review, by record_id: record_id, part, path, age (in force), subject_id, group_id, near_group,
    sha256, error (why it cannot be read), reasons (joined by `;`), checks (how many fired), label_suspicion,
    suggested_age, in_class (curated records of that age), largest_class, per_class (what the newest plan wants of a
    class; NULL without a plan), width, height (of the picture, pixels), faces (how many were found).

    also: (part, path) of further records that an answer has decided; they are included if a check has fired on them,
    with the claimed age instead of the answer's.
    """
    con.register("incoming_also", name_frame(also).unique().to_arrow())
    try:
        return query(con, QUEUE)
    finally:
        con.unregister("incoming_also")


def auditable_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The kept records with ages from 0 to 99, in order: record_id, part, path, age (final), sha256."""
    return query(
        con,
        """SELECT record_id, kept.part, kept.path, age, sha256
           FROM kept LEFT JOIN content ON content.part = kept.part AND content.path = kept.path
           WHERE age BETWEEN 0 AND 99 ORDER BY record_id""",
    )


def task_rows(con: duckdb.DuckDBPyConnection, ids: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """What another tool shows about records, as three frames: the records (record_id, part, path, age, sha256, width,
    height (pixels), reasons, details, label_suspicion, suggested_age), their faces (record_id, x, y, w, h (pixels),
    score, meant), and the estimates for the chosen face (record_id, estimator, age)."""
    con.register("incoming_ids", pl.DataFrame({"record_id": ids}).to_arrow())
    try:
        rows = query(
            con,
            """SELECT record_id, part, path, claimed_age AS age, sha256, width, height, reasons,
                      coalesce(details, '') AS details, label_suspicion, suggested_age
               FROM judged SEMI JOIN incoming_ids USING (record_id) LEFT JOIN content USING (part, path)
               LEFT JOIN image USING (sha256) LEFT JOIN suspicion USING (record_id) LEFT JOIN (
                   SELECT record_id, string_agg(reason, '; ' ORDER BY position) AS details
                   FROM verdict JOIN recipe_check USING ("check") GROUP BY record_id) USING (record_id)
               ORDER BY record_id""",
        )
        faces = query(
            con,
            """SELECT r.record_id, f.x, f.y, f.w, f.h, f.score, coalesce(m.face_no = f.face_no, FALSE) AS meant
               FROM record r SEMI JOIN incoming_ids USING (record_id) JOIN content USING (part, path)
               JOIN face_in_force f USING (sha256) LEFT JOIN meant_face m ON m.record_id = r.record_id
               ORDER BY r.record_id, f.face_no""",
        )
        estimates = query(
            con,
            """SELECT m.record_id, e.estimator, e.age
               FROM meant_face m SEMI JOIN incoming_ids USING (record_id)
               JOIN age_estimate e ON e.sha256 = m.sha256 AND e.face_no = m.face_no
               ORDER BY m.record_id, e.estimator""",
        )
    finally:
        con.unregister("incoming_ids")
    return rows, faces, estimates


def ages_of_faces(con: duckdb.DuckDBPyConnection, ids: Iterable[int]) -> dict[tuple[int, int], float]:
    """How old each face of some records looks, by record_id and face_no: the median of its estimates, years. A face
    without an estimate is left out."""
    con.register("incoming_ids", pl.DataFrame({"record_id": list(ids)}, schema={"record_id": pl.Int32}).to_arrow())
    try:
        rows = con.execute(
            """SELECT record_id, face_no, median(e.age)
               FROM record SEMI JOIN incoming_ids USING (record_id) JOIN content USING (part, path)
               JOIN face_in_force USING (sha256) JOIN age_estimate e USING (sha256, face_no)
               WHERE e.age IS NOT NULL GROUP BY record_id, face_no"""
        ).fetchall()
    finally:
        con.unregister("incoming_ids")
    return {(record_id, face_no): float(age) for record_id, face_no, age in rows}


def lines_of(manifest: Path) -> tuple[list[Decision], list[str]]:
    """All answers about a manifest, as from `decisions.read`. Raises DecisionError also if the file is missing."""
    file = decisions_file(manifest)
    with open_manifest(manifest) as con:
        must_be_there(file, lines_folded(con), manifest)
    return read(file)
