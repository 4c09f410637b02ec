"""The rows that training reads, with their split and copies."""

from __future__ import annotations

import duckdb
import polars as pl

from agebench.manifest.plans import PlanFacts
from agebench.manifest.store import query
from agebench.training.splits import LEFT_OUT, TRAIN, validation_split


def training_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Curated records of ages 0 to 99, in order: record_id, part, path, age, subject_id, name, group_id, photograph_id,
    sha256, face_no, landmarks, and the picture's hashes phash, inset_phash, edges."""
    return query(
        con,
        """SELECT record_id, part, path, age, subject_id, name, group_id, photograph_id, sha256, face_no, landmarks,
                  phash, inset_phash, edges
           FROM curated LEFT JOIN image USING (sha256) WHERE age BETWEEN 0 AND 99 ORDER BY record_id""",
    )


def with_draws(rows: pl.DataFrame, plan: PlanFacts | None, *, validation: float, seed: int) -> pl.DataFrame:
    """The rows with `split` (see `splits.validation_split`) and `copies`, how often each is drawn per epoch.

    The plan's rule is applied to the training records after the split, so every class is complete. Validation records
    have one copy, as have training records without a plan; records that are left out have none.
    """
    split = validation_split(rows, validation, seed)
    trains = rows.filter(split == TRAIN)
    drawn = plan.copies(trains) if plan else pl.Series("copies", [1] * len(trains), dtype=pl.Int32)
    copies = (split != LEFT_OUT).cast(pl.Int32).scatter((split == TRAIN).arg_true(), drawn)
    return rows.with_columns(split, copies.alias("copies"))
