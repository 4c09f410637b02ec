from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agebench.bench.published import Published, load_published
from agebench.bench.tables import Column, Result, RunSummary

COLUMNS = [Column("MORPH", "morph"), Column("FG-NET", "fg-net"), Column("CACD", "cacd", curated=False)]
Make = Callable[..., Any]


@pytest.fixture(scope="session")
def published() -> Published:
    return load_published()


def result(column: str = "FG-NET", **changed: Any) -> Result:
    facts = {
        "n": 1002,
        "mae": 7.0,
        "ci95": (6.7, 7.3),
        "cs5": 0.5,
        "matches_card": True,
        "records": 1002,
        "expected": 1002,
    }
    return Result(column, **(facts | changed))


def summary(run: str = "r1", *results: Result, **changed: Any) -> RunSummary:
    facts = {
        "model": "neighborhood-quick", "label": "Neighborhood loss (quick)", "tables": [2, 3], "seed": 0,
        "trained_on": "Trained on 1,274 records of imdb-wiki", "finished": "2025-01-01T00:00:00", "data": "a",
    }  # fmt: skip
    return RunSummary(id=run, results=results or (result(),), **(facts | changed))
