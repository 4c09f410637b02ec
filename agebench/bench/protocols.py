"""The rows that evaluation reads: the records of a card's protocol."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.plans import AGES
from agebench.manifest.store import query
from agebench.recipes import Protocol


def drawn_rows(con: duckdb.DuckDBPyConnection, protocol: Protocol) -> pl.DataFrame:
    """The records of all draws of a protocol, as `protocol_rows` gives them; with several draws also `draws`, the
    numbers of the draws that a record is in, from 0."""

    def draw(number: int) -> pl.DataFrame:
        return protocol_rows(con, records=protocol.records, seed=protocol.seed + number, ages=protocol.ages)

    first = draw(0)
    if protocol.draws == 1 or protocol.records is None or len(first) < protocol.records:
        return first
    every = pl.concat([draw(number).with_columns(draw=pl.lit(number, pl.Int32)) for number in range(protocol.draws)])
    members = every.group_by("record_id").agg(draws=pl.col("draw"))
    return every.drop("draw").unique("record_id").join(members, on="record_id").sort("record_id")


def first_draw(frame: pl.DataFrame) -> pl.DataFrame:
    """Of records or predictions of several draws those of the first, else all."""
    return frame.filter(pl.col("draws").list.contains(0)) if "draws" in frame.columns else frame


def protocol_rows(
    con: duckdb.DuckDBPyConnection, *, records: int | None = None, seed: int = 0, ages: tuple[int, int] | None = None
) -> pl.DataFrame:
    """The records that a protocol measures, whatever their verdict: every one with a valid age, or a subset.

    A subset takes subjects in turn, to include as many as possible; within and between subjects the order is
    md5(seed, part, path). Columns: record_id, part, path, age, subject_id, name, gender, race, sha256, phash,
    inset_phash, edges (see `leakage`), group_id, photograph_id, error, face_no, x, y, w, h, landmarks, face_sharpness.
    """
    low, high = ages or AGES
    return query(
        con,
        """
        WITH valid AS (
            SELECT record_id, part, path, age, subject_id, name, gender, race,
                   md5($seed || '/' || part || '/' || path) AS draw
            FROM record WHERE age BETWEEN $low AND $high),
        turn AS (
            SELECT *, row_number() OVER (
                PARTITION BY coalesce(subject_id, part || '/' || path) ORDER BY draw, record_id) AS turn
            FROM valid),
        chosen AS (SELECT * FROM turn ORDER BY turn, draw, record_id LIMIT $records)
        SELECT chosen.record_id, chosen.part, chosen.path, chosen.age, chosen.subject_id, chosen.name, chosen.gender,
               chosen.race, group_id, photograph_id, content.sha256, phash, inset_phash, edges,
               coalesce(content.error, CASE WHEN content.sha256 IS NULL THEN 'not looked at' END) AS error,
               m.face_no, m.x, m.y, m.w, m.h, m.landmarks, m.sharpness AS face_sharpness
        FROM chosen
        LEFT JOIN content ON content.part = chosen.part AND content.path = chosen.path
        LEFT JOIN image ON image.sha256 = content.sha256
        LEFT JOIN meant_face AS m ON m.record_id = chosen.record_id
        LEFT JOIN record_group AS g ON g.record_id = chosen.record_id
        ORDER BY chosen.record_id
        """,
        {"seed": str(seed), "low": low, "high": high, "records": records if records is not None else 2**40},
    )
