"""A small manifest whose records are made up: nothing is observed unless a test does it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench.datasets.records import SCHEMA
from agebench.manifest.records import write_records
from agebench.manifest.store import create, open_manifest

Build = Callable[..., Path]


def records(n: int, **columns: Any) -> pl.DataFrame:
    given = {"part": ["p"] * n, "path": [f"{i:05d}.jpg" for i in range(n)], "age": [i % 100 for i in range(n)]}
    frame = pl.DataFrame(given | columns, strict=False)
    return frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in SCHEMA.items()
    )


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Write a manifest of n records; the file."""

    def made(n: int = 5, name: str = "a.duckdb", dataset: str = "fg-net", **columns: Any) -> Path:
        path = tmp_path / name
        if not path.exists():
            create(path, dataset)
        with open_manifest(path, write=True) as con:
            write_records(con, records(n, **columns), {"p": tmp_path})
        return path

    return made
