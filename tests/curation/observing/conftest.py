"""What two ways of observing must agree on."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from agebench.manifest.export import curated_rows, face_rows, verdict_rows
from agebench.manifest.store import open_manifest, query


def judged(path: Path, evidence: str = "*") -> dict[str, pl.DataFrame]:
    """What a manifest says of its records. evidence: the columns of evidence."""
    with open_manifest(path) as con:
        return {
            "curated": curated_rows(con),
            "faces": face_rows(con),
            "verdicts": verdict_rows(con),
            "evidence": query(con, f"SELECT {evidence} FROM evidence ORDER BY record_id"),
        }


def same(one: dict[str, pl.DataFrame], two: dict[str, pl.DataFrame]) -> bool:
    return all(one[name].equals(two[name], null_equal=True) for name in one)
