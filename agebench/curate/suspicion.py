import polars as pl


def label_suspicion(rows: pl.DataFrame) -> pl.DataFrame:
    return (
        rows.group_by("record_id")
        .agg(estimates=pl.len().cast(pl.Int32), estimated_age=pl.col("estimate").mean(), age=pl.col("age").first())
        .with_columns(age_gap=pl.col("estimated_age") - pl.col("age"))
        .with_columns(label_suspicion=1 - (-pl.col("age_gap").abs() / 10).exp())
        .drop("age")
        .sort("record_id")
    )
