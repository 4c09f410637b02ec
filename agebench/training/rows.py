"""The rows that training reads, with their split and copies."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from agebench.manifest.plans import PlanFacts
from agebench.manifest.store import query
from agebench.training.splits import LEFT_OUT, TRAIN, validation_split

SUBSET = 0  # the stream of random numbers that chooses the records of `most`


def training_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Curated records of ages 0 to 99, in order: record_id, part, path, age, subject_id, name, group_id, photograph_id,
    sha256, face_no, landmarks, label_suspicion (0 where a person confirmed or corrected the age; NULL if unknown), and
    the picture's hashes phash, inset_phash, edges."""
    return query(
        con,
        """SELECT record_id, part, path, age, subject_id, name, group_id, photograph_id, sha256, face_no, landmarks,
                  CASE WHEN record_id IN (SELECT record_id FROM decision WHERE status = 'decided') THEN 0.0
                       ELSE label_suspicion END AS label_suspicion,
                  phash, inset_phash, edges
           FROM curated LEFT JOIN image USING (sha256) LEFT JOIN suspicion USING (record_id)
           WHERE age BETWEEN 0 AND 99 ORDER BY record_id""",
    )


def with_draws(
    rows: pl.DataFrame, plan: PlanFacts | None, *, validation: float, seed: int, most: int | None = None
) -> pl.DataFrame:
    """The rows with `split` (see `splits.validation_split`) and `copies`, how often each is drawn per epoch.

    most: train on so many records only, drawn at random before the plan's rule is applied; with the same seed, a
    smaller number chooses a subset of a larger one's records.

    The plan's rule is applied to the training records after the split, so every class is complete. Validation records
    have one copy, as have training records without a plan; records that are left out have none. The records that `most`
    leaves out are not returned.
    """
    split = validation_split(rows, validation, seed)
    if most is not None:
        random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(SUBSET,)))
        trained = random.permutation((split == TRAIN).arg_true().to_numpy())
        kept = pl.Series(np.setdiff1d(np.arange(len(rows)), trained[most:]))
        rows, split = rows[kept], split[kept]
    trains = rows.filter(split == TRAIN)
    drawn = plan.copies(trains) if plan else pl.Series("copies", [1] * len(trains), dtype=pl.Int32)
    copies = (split != LEFT_OUT).cast(pl.Int32).scatter((split == TRAIN).arg_true(), drawn)
    return rows.with_columns(split, copies.alias("copies"))
