"""What is derived of many records together: the rows that it is made of, and its tables written whole."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import polars as pl

from agebench.manifest.store import query


def picture_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record whose picture was measured, in order: record_id, part, path, age, sha256, bytes and the
    columns of the table `image`."""
    return query(
        con,
        "SELECT record_id, part, path, age, bytes, image.* FROM record JOIN content USING (part, path) "
        "JOIN image USING (sha256) ORDER BY record_id",
    )


def embedding_rows(con: duckdb.DuckDBPyConnection, model: str) -> pl.DataFrame:
    """Every embedded face of every record that names its subject: subject_id, record_id, sha256, face_no, size
    (pixels), vector."""
    return query(
        con,
        """SELECT subject_id, record_id, sha256, face_no, sqrt(f.w * f.h) AS size, vector
           FROM record JOIN content USING (part, path) JOIN face_in_force f USING (sha256)
           JOIN embedding e USING (sha256, face_no)
           WHERE subject_id IS NOT NULL AND e.model = ? ORDER BY record_id, face_no""",
        [model],
    )


def estimate_rows(con: duckdb.DuckDBPyConnection, estimators: Sequence[str]) -> pl.DataFrame:
    """Estimates of the face that is meant, in order of record and estimator: record_id, group_id, subject_id, sha256,
    age (the claimed one), estimator, estimate, spread (years), probabilities (of the ages 0 to 99, where the estimator
    tells), recognised (whether the face is known to be the subject's by their other pictures), sure (whether nothing
    tells that it may be somebody else's)."""
    return query(
        con,
        """SELECT record_id, group_id, subject_id, m.sha256, record.age, estimator, e.age AS estimate, spread,
                  probabilities, coalesce(i.face_no = m.face_no, FALSE) AS recognised,
                  CASE WHEN i.record_id IS NULL THEN m.face_chosen_by = 'release box' OR f.faces = 1
                       ELSE coalesce(i.face_no = m.face_no, FALSE) END AS sure
           FROM record JOIN meant_face m USING (record_id)
           JOIN age_estimate e ON e.sha256 = m.sha256 AND e.face_no = m.face_no
           JOIN (SELECT sha256, count(*) AS faces FROM face_in_force GROUP BY sha256) f ON f.sha256 = m.sha256
           LEFT JOIN record_group USING (record_id) LEFT JOIN identity i USING (record_id)
           WHERE list_contains($estimators, estimator) AND e.age IS NOT NULL
           ORDER BY record_id, estimator""",
        {"estimators": list(estimators)},
    )


def meant_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record with a readable picture, a face and a claimed age from 0 to 99, in order: record_id, part, path,
    age, subject_id, group_id, sha256, face_no, landmarks."""
    return query(
        con,
        """SELECT record_id, part, path, age, subject_id, group_id, m.sha256, m.face_no, m.landmarks
           FROM record JOIN meant_face m USING (record_id) LEFT JOIN record_group USING (record_id)
           WHERE age BETWEEN 0 AND 99 ORDER BY record_id""",
    )


def unestimated(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, estimator: str, version: str) -> pl.DataFrame:
    """The rows (sha256, face_no, …) whose face this version of an estimator has not seen."""
    seen = query(
        con,
        """SELECT DISTINCT a.sha256, a.face_no FROM age_estimate a JOIN observed o
           ON o.sha256 = a.sha256 AND o.observer = 'age:' || a.estimator WHERE a.estimator = ? AND o.version = ?""",
        [estimator, version],
    )
    return rows.join(seen, on=["sha256", "face_no"], how="anti", maintain_order="left")


def write_estimates(
    con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, estimator: str, version: str, *, whole: bool = False
) -> None:
    """Store an estimator's estimates (sha256, face_no, age, spread, probabilities) in place of what it said of those
    faces before; with `whole`, of any."""
    if whole:
        con.execute("DELETE FROM age_estimate WHERE estimator = ?", [estimator])
        con.execute("DELETE FROM observed WHERE observer = ?", [f"age:{estimator}"])
    con.register("incoming_estimates", rows.unique(["sha256", "face_no"], maintain_order=True).to_arrow())
    observer = f"age:{estimator}"
    con.execute(
        "DELETE FROM age_estimate USING incoming_estimates i WHERE age_estimate.sha256 = i.sha256 "
        "AND age_estimate.face_no = i.face_no AND estimator = ?",
        [estimator],
    )
    con.execute(
        "INSERT INTO age_estimate SELECT sha256, face_no, ?, age, spread, probabilities FROM incoming_estimates",
        [estimator],
    )
    con.execute(
        "DELETE FROM observed USING incoming_estimates i WHERE observed.sha256 = i.sha256 AND observer = ?", [observer]
    )
    con.execute("INSERT INTO observed SELECT DISTINCT sha256, ?, ?, NULL FROM incoming_estimates", [observer, version])
    con.unregister("incoming_estimates")
