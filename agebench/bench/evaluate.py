"""evaluate: an estimator's predictions on test sets, kept with it, and their errors."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from agebench.bench.evaluations import Evaluation, measures
from agebench.bench.leakage import COLUMNS, find_leaks
from agebench.bench.protocols import protocol_rows
from agebench.errors import Missing, UsageError
from agebench.estimators import Advance, Estimator, Faces
from agebench.estimators.finding import find_estimator
from agebench.estimators.keeping import keep
from agebench.files import write_whole
from agebench.manifest.places import existing_manifests, find_manifest, manifest_of
from agebench.manifest.records import count_records, folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import Card, load_card
from agebench.training.run_cards import RUNS, matches_card
from agebench.training.runs import Run


def manifests_for_testing(exclude: str = "") -> list[Path]:
    """Manifests in `manifests/` whose card has the role *test*, except those of one dataset."""
    return [path for path, card in existing_manifests() if "test" in card.roles and card.name != exclude]


def evaluate(
    estimator: str | Path | Run | Estimator,
    on: Sequence[str | Path] | str | Path = (),
    *,
    runs: str | Path = RUNS,
    on_crops: Advance | None = None,
    on_predict: Advance | None = None,
) -> list[Evaluation]:
    """Predict every record of each test set's protocol, and keep the predictions in the run's folder, or in one of the
    estimator's own beside the runs.

    Args:
        estimator: A finished run, or its id, the start of its id, its model's name, or its folder; or any other
            estimator by the name that `agebench evaluate` takes (see `agebench.estimators.finding`).
        on: Datasets' names or manifest files; every test manifest by default.
        runs: Folder of runs.
        on_crops: Called with the progress of cropping.
        on_predict: Called with the progress of predicting.

    Returns:
        One evaluation per test set, in the order of `on`.

    Raises:
        UsageError: A set has no protocol, or a name is unknown.
        Missing: There is no such run, file or function, or no test manifest.
        ManifestNotFound: There is no such manifest.
        RunError: The run is damaged or unfinished.
        EstimatorError: The estimator fails, or gives something else than an age for every face; nothing is kept.
        StorageError: The predictions or the crops cannot be written.
    """
    found = find_estimator(estimator, Path(runs)) if isinstance(estimator, str | Path | Run) else estimator
    named = [on] if isinstance(on, str | Path) else on
    manifests = [find_manifest(name) for name in named] or manifests_for_testing()
    if not manifests:
        raise Missing("There is no test manifest.", "`agebench curate fg-net` (or morph, cacd) makes one.")
    return [_evaluate(found, path, Path(runs), on_crops, on_predict) for path in manifests]


def _evaluate(
    estimator: Estimator, path: Path, runs_dir: Path, on_crops: Advance | None, on_predict: Advance | None
) -> Evaluation:
    with open_manifest(path) as con:
        card = load_card(get_meta(con, "dataset") or "")
        if card.protocol is None:
            raise UsageError(
                f"{path} is of {card.name}, whose card has no [protocol]: it is not a test set.",
                f"`agebench cp {card.name}` copies the card; a [protocol] table makes it one.",
            )
        rows = protocol_rows(con, records=card.protocol.records, seed=card.protocol.seed, ages=card.protocol.ages)
        records = count_records(con)
        labels, detector = get_meta(con, "label_fingerprint"), get_meta(con, "detector")
        pictures = get_meta(con, "picture_fingerprint")
        folders = folders_of(con)
    readable = rows.filter(pl.col("error").is_null())
    found = estimator.estimate(Faces(readable, folders, card.name, detector), on_crops, on_predict)
    training = estimator.training()
    leaks = pl.Series("leak", [None] * len(found.records), dtype=pl.String)
    if training.records is not None:
        trained = training.records.select(COLUMNS)
        leaks = find_leaks(found.records, trained, one_dataset=training.dataset == card.name)
    predictions = found.records.select(
        "part", "path", "subject_id", "age", pl.Series("predicted", found.ages), "sha256", "face_no", leaks,
        spread=pl.Series(found.spreads, dtype=pl.Float64).fill_nan(None),
        probabilities=pl.Series(
            [None] * len(found.ages) if found.probabilities is None else found.probabilities.tolist(),
            dtype=pl.List(pl.Float32),
        ),
    )  # fmt: skip
    folder, name = keep(estimator, runs_dir), _name(card, path)
    digest = _keep(folder, name, predictions)
    result = Evaluation(
        name=name,
        dataset=card.name,
        manifest=str(path),
        **measures(predictions),
        unreadable=len(rows) - len(predictions),
        matches_card=matches_card(card, records, labels),
        pictures_match=None if card.expected.pictures is None else pictures == card.expected.pictures,
        records=records,
        expected=card.expected.records,
        detector=detector,
        training_detector=training.detector if training.known and estimator.crops else detector,
        training_known=training.known,
        predictions_sha256=digest,
    )
    write_whole(folder / "predictions" / f"{name}.json", json.dumps(asdict(result), indent=2).encode())
    return result


def _name(card: Card, path: Path) -> str:
    """The name of the predictions' files: the dataset for its default manifest, else unique to the file."""
    place = path.resolve()
    if place == manifest_of(card.name).resolve():
        return card.name
    return f"{path.stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"


def _keep(folder: Path, name: str, predictions: pl.DataFrame) -> str:
    """Write `predictions/<name>.parquet` atomically; returns its SHA-256."""
    predictions.write_parquet(buffer := io.BytesIO())
    data = buffer.getvalue()
    write_whole(folder / "predictions" / f"{name}.parquet", data)
    return hashlib.sha256(data).hexdigest()
