"""How a curation judged the known faults."""

from __future__ import annotations

import polars as pl

VERDICTS = ("reject", "review", "keep")


def caught(truth: pl.DataFrame, verdicts: pl.DataFrame) -> pl.DataFrame:
    """By fault: `fault`, `records`, and how many of them have each verdict (`reject`, `review`, `keep`, `no_verdict`).

    truth: columns part, full_path, fault, as in truth.csv. verdicts: part, path, verdict, one row per record. Faultless
    records are the last row, 'none'; the faults come most frequent first.
    """
    both = truth.select("part", pl.col("full_path").alias("path"), pl.col("fault").cast(pl.Utf8)).join(
        verdicts.select("part", "path", "verdict"), on=["part", "path"], how="left"
    )
    faultless = pl.col("fault").is_null() | (pl.col("fault") == "")
    counts = [(pl.col("verdict") == verdict).sum().alias(verdict) for verdict in VERDICTS]
    return (
        both.with_columns(pl.when(faultless).then(pl.lit("none")).otherwise("fault").alias("fault"))
        .group_by("fault")
        .agg(pl.len().alias("records"), *counts, pl.col("verdict").is_null().sum().alias("no_verdict"))
        .sort(pl.col("fault") == "none", -pl.col("records").cast(pl.Int64), "fault")
    )
