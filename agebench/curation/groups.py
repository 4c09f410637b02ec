"""Groups: the records of one subject, and the records of one photograph. Neither may be split between training and
validation, and they are kept apart: a photograph of two people does not make them one group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import polars as pl

from agebench.manifest.renewal import Derived
from agebench.manifest.store import open_manifest, query


def derive_groups(manifest: Path, request: object) -> Derived:
    """The group and the photograph of every record of a manifest."""
    with open_manifest(manifest) as con:
        keys = group_keys(con)
    return Derived({"record_group": connect_groups(keys)})


def connect_groups(keys: pl.DataFrame) -> pl.DataFrame:
    """Every record's subject and photograph: record_id, group_id, photograph_id. keys: as `group_keys` gives them.

    group_id: the connected component over "same subject" and "same name and birth date". photograph_id: the one over
    "same bytes" and every pair of near copies. Each is named by its smallest `record_id`, so the same release gives
    the same names; a record of which nothing is known stands alone.
    """
    return keys.select(
        "record_id",
        group_id=_components(keys, ("subject_id", "person")),
        photograph_id=_components(keys, ("sha256", "near_photograph")),
    )


def _components(keys: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """The smallest record_id of the connected component of each record; equal values of a column connect."""
    from scipy.sparse import coo_array  # a sixth of a second that judging again does not need
    from scipy.sparse.csgraph import connected_components

    n = len(keys)
    if n == 0:
        return pl.Series([], dtype=pl.Int32)
    row = pl.int_range(n, dtype=pl.Int64)
    edges, size = [], n
    for name in columns:
        codes = keys.select(row, code=pl.col(name).rank("dense")).drop_nulls().to_numpy().astype(np.int64)
        if len(codes):
            edges.append(codes + np.array([0, size - 1]))
            size += int(codes[:, 1].max())
    start, end = np.concatenate([np.zeros((0, 2), np.int64), *edges]).T
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    frame = pl.DataFrame({"record_id": keys["record_id"], "component": component[:n]})
    return frame.select(pl.col("record_id").min().over("component")).to_series()


def group_keys(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What ties records together: record_id, subject_id, person, sha256, near_photograph.

    person: folded name and date of birth, which one subject of both parts of a release has under two numbers.
    """
    return query(
        con,
        r"""SELECT record_id, subject_id, sha256, near_photograph,
                   regexp_replace(lower(strip_accents(trim(name))), '\s+', ' ', 'g') || '|' || dob AS person
            FROM record LEFT JOIN content USING (part, path) LEFT JOIN near_photograph USING (record_id)
            ORDER BY record_id""",
    )
