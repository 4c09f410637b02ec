from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from agebench.bench.evaluations import Evaluation
from agebench.bench.published import Published, load_published
from agebench.bench.tables import Column, Result, RunSummary
from agebench.bench.test_sets import ProtocolSet, keep_evaluation, predicted
from agebench.estimators.keeping import begin, commit
from agebench.faces.alignment import template
from agebench.recipes import EstimatorRecipe, load_card

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
        "evaluated_as": run,
    }  # fmt: skip
    return RunSummary(id=run, results=results or (result(),), **(facts | changed))


def records_of(count: int = 60) -> pl.DataFrame:
    """Records of a test set as a manifest has them, three pictures of a person, with their faces."""
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "part": "FG-NET",
            "path": [f"{n:04d}.jpg" for n in range(count)],
            "sha256": [f"{n:064x}" for n in range(count)],
            "subject_id": [f"s{n // 3}" for n in range(count)],
            "age": rng.integers(0, 60, count),
            "gender": ["female" if n // 3 % 2 else "male" for n in range(count)],
            "face_no": 0,
            "w": 80.0,
            "h": 100.0,
            "landmarks": [template(112).ravel().tolist()] * count,
            "face_sharpness": rng.uniform(0, 1, count),
        },
        schema_overrides={"age": pl.Int64},
    )


def keep_predictions(
    runs: Path,
    run: str,
    off_by: float | np.ndarray,
    *,
    model: str | None = None,
    dataset: str = "fg-net",
    protocol: str = "",
    manifest: str = "",
    leaked: tuple[int, ...] = (),
    distributions: bool = False,
    trained_on: str | None = None,
) -> Evaluation:
    """Keep an estimator that is `off_by` years off in `runs`, as an evaluation does.

    leaked: indices of pictures that leak. trained_on: the dataset that the card names.
    """
    records = records_of()
    name = model or run
    folder = runs / run
    if not folder.exists():
        how = {"kind": "predictions", "file": f"{name}.csv"}
        recipe = EstimatorRecipe.model_validate(
            {"name": name, "title": name, "label": name.capitalize(), "estimator": how}
        )
        known = {"dataset": trained_on} if trained_on else {}
        begin(folder, recipe, {"called": f"{name}.csv", "files": {}} | known)
        commit(folder)
    card = load_card(dataset)
    test_set = ProtocolSet(
        Path(manifest or f"manifests/{dataset}.duckdb"), card, protocol, card.protocols.get(protocol), records,
        {}, "yuface", card.expected.records, card.expected.labels, card.expected.pictures,
    )  # fmt: skip
    ages = records["age"].to_numpy() + np.broadcast_to(np.asarray(off_by, np.float64), len(records))
    shares = np.full((len(records), 100), 0.01, np.float32) if distributions else None
    frame = predicted(records, ages, np.full(len(records), np.nan), shares)
    leaks = ["same file" if row in leaked else None for row in range(len(records))]
    frame = frame.with_columns(leak=pl.Series(leaks, dtype=pl.String))
    return keep_evaluation(folder, test_set, frame, unreadable=0, training_detector="yuface", training_known=True)


@pytest.fixture
def kept(tmp_path: Path) -> Callable[..., Evaluation]:
    """`keep_predictions` in the folder `runs` of the test's folder."""

    def made(run: str, off_by: float | np.ndarray, **how: Any) -> Evaluation:
        return keep_predictions(tmp_path / "runs", run, off_by, **how)

    return made
