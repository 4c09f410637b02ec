"""Groups: records that must not be split between training and validation."""

from __future__ import annotations

import duckdb
import numpy as np
import polars as pl

from agebench.manifest.store import query


def connect_groups(con: duckdb.DuckDBPyConnection) -> int:
    """Give every record its group, the connected component over "same subject", "same name and birth date" and
    "same bytes or photograph"; their number.

    A group is named by its smallest `record_id`, so the same release gives the same groups.
    """
    from scipy.sparse import coo_array  # a sixth of a second that judging again does not need
    from scipy.sparse.csgraph import connected_components

    keys = group_keys(con)
    n = len(keys)
    if n == 0:
        write_groups(con, pl.DataFrame(schema={"record_id": pl.Int32, "group_id": pl.Int32}))
        return 0
    edges, size = [], n
    for name in ("subject_id", "person", "sha256", "near_group"):
        codes = keys.select("record_id", code=pl.col(name).rank("dense")).drop_nulls().to_numpy().astype(np.int64)
        if len(codes):
            edges.append(codes + np.array([0, size - 1]))
            size += int(codes[:, 1].max())
    row, column = np.concatenate([np.zeros((0, 2), np.int64), *edges]).T
    graph = coo_array((np.ones(len(row), np.int8), (row, column)), shape=(size, size))
    _, component = connected_components(graph, directed=False)
    frame = pl.DataFrame({"record_id": keys["record_id"], "component": component[:n]})
    grouped = frame.with_columns(group_id=pl.col("record_id").min().over("component"))
    write_groups(con, grouped.select("record_id", "group_id"))
    return int(grouped["group_id"].n_unique())


def group_keys(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """What ties records together: record_id, subject_id, person, sha256, near_group.

    person: folded name and date of birth, which one subject of both parts of a release has under two numbers.
    """
    return query(
        con,
        r"""SELECT record_id, subject_id, sha256, near_group,
                   regexp_replace(lower(strip_accents(trim(name))), '\s+', ' ', 'g') || '|' || dob AS person
            FROM record LEFT JOIN content USING (part, path) LEFT JOIN near_copy USING (record_id)
            ORDER BY record_id""",
    )


def write_groups(con: duckdb.DuckDBPyConnection, groups: pl.DataFrame) -> None:
    """Replace all groups; columns record_id, group_id."""
    con.register("incoming_groups", groups.to_arrow())
    con.execute("DELETE FROM record_group; INSERT INTO record_group SELECT record_id, group_id FROM incoming_groups")
    con.unregister("incoming_groups")
