"""Made-up estimators with predictions on a made-up test set, in memory and as folders of runs."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from agebench.bench.analysis import Analysis
from agebench.bench.evaluations import Evaluation, measures
from agebench.files import file_hash

SUBJECTS, PICTURES = 60, 480


def people(n: int = PICTURES, seed: int = 1) -> pl.DataFrame:
    """A test set: part, path, subject_id, age (years) and the facts of the faces."""
    rng = np.random.default_rng(seed)
    subject = rng.integers(0, SUBJECTS, n)
    age = np.clip(rng.gamma(2.2, 10, n), 0, 80).astype(np.int32)
    return pl.DataFrame(
        {
            "part": ["fg-net"] * n,
            "path": [f"{s:03d}A{a:02d}_{i}.JPG" for i, (s, a) in enumerate(zip(subject, age, strict=True))],
            "subject_id": [f"{s:03d}" for s in subject],
            "age": age,
            "sha256": [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)],
            "face_no": pl.Series([0] * n, dtype=pl.Int32),
            "leak": pl.Series([None] * n, dtype=pl.Utf8),
            "gender": np.where(subject % 2 == 0, "female", "male"),
            "face_size": rng.uniform(25, 300, n),
            "interocular_distance": rng.uniform(12, 110, n),
            "yaw": rng.normal(0, 22, n),
            "face_sharpness": rng.gamma(2, 50, n),
        }
    )


def analysed(
    label: str, *, id: str = "", off: float = 4.0, bias: float = 0.0, seed: int = 0, distributions: bool = False,
    frame: pl.DataFrame | None = None,
) -> Analysis:  # fmt: skip
    """An estimator whose errors are normal with standard deviation `off` around `bias`, in years."""
    frame = people() if frame is None else frame
    rng = np.random.default_rng(seed)
    age = frame["age"].to_numpy()
    predicted = np.clip(age + bias + rng.normal(0, off, len(age)), 0, 99)
    shares: list[list[float] | None] = [None] * len(age)
    if distributions:
        weights = np.exp(-0.5 * ((np.arange(100) - predicted[:, None]) / off) ** 2)
        shares = (weights / weights.sum(axis=1, keepdims=True)).tolist()
    predictions = frame.with_columns(
        predicted=pl.Series(predicted),
        spread=pl.lit(None, dtype=pl.Float64),
        probabilities=pl.Series(shares, dtype=pl.List(pl.Float32)),
    )
    known = measures(predictions)
    evaluation = Evaluation(
        name="fg-net", dataset="fg-net", manifest="manifests/fg-net.duckdb", **known, unreadable=0, matches_card=None,
        pictures_match=None, records=len(age), expected=1002, detector="yuface", training_detector="yuface",
        predictions_sha256="",
    )  # fmt: skip
    return Analysis(id or label.lower().replace(" ", "-"), label, evaluation, predictions)


def keep(one: Analysis, runs: Path) -> Path:
    """The folder of an estimator that was not trained here, with its predictions, as `agebench evaluate` keeps it."""
    folder = runs / one.id
    (folder / "predictions").mkdir(parents=True)
    one.predictions.write_parquet(buffer := io.BytesIO())
    (folder / "predictions" / "fg-net.parquet").write_bytes(buffer.getvalue())
    facts = asdict(one.evaluation) | {"predictions_sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    (folder / "predictions" / "fg-net.json").write_text(json.dumps(facts))
    recipe = {"name": one.id, "label": one.label, "tables": [2, 3], "published_row": None, "trained_on": None}
    card = {
        "run": one.id, "model": one.id, "recipe": recipe, "estimator": {"kind": "predictions", "called": one.id},
        "versions": {}, "started": "2026-01-01T00:00:00+00:00", "finished": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "COMMITTED").write_text(f"{file_hash(folder / 'card.json')}  card.json\n")
    return folder
