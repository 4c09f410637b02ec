"""evaluate: a run's predictions on test sets, kept with the run, and their errors."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from agebench.bench.evaluations import UNKNOWN, Evaluation, measures
from agebench.bench.leakage import COLUMNS, find_leaks, unsearched_leaks, with_all_columns
from agebench.bench.protocols import protocol_rows
from agebench.errors import Missing, RunError, UsageError
from agebench.faces.crops import Advance, crop_records
from agebench.files import read_file, write_whole
from agebench.manifest.places import existing_manifests, find_manifest, manifest_of
from agebench.manifest.records import count_records, folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import Card, load_card
from agebench.training.inference import predict_ages
from agebench.training.run_cards import RUNS, matches_card
from agebench.training.runs import RECORDS, Run, find_run
from agebench.training.splits import LEFT_OUT


def manifests_for_testing(exclude: str = "") -> list[Path]:
    """Manifests in `manifests/` whose card has the role *test*, except those of one dataset."""
    return [path for path, card in existing_manifests() if "test" in card.roles and card.name != exclude]


def evaluate(
    run: str | Path | Run,
    on: Sequence[str | Path] | str | Path = (),
    *,
    runs: str | Path = RUNS,
    on_crops: Advance | None = None,
    on_predict: Advance | None = None,
) -> list[Evaluation]:
    """Predict every record of each test set's protocol, and keep the predictions in the run.

    Args:
        run: A finished run, or its id, the start of its id, its model's name, or its folder.
        on: Datasets' names or manifest files; every test manifest by default.
        runs: Folder of runs.
        on_crops: Called with the progress of cropping.
        on_predict: Called with the progress of predicting.

    Returns:
        One evaluation per test set, in the order of `on`.

    Raises:
        UsageError: A set has no protocol, or a name is unknown.
        Missing: There is no such run, or no test manifest.
        ManifestNotFound: There is no such manifest.
        RunError: The run is damaged or unfinished.
        StorageError: The predictions or the crops cannot be written.
    """
    found = run if isinstance(run, Run) else find_run(str(run), Path(runs))
    named = [on] if isinstance(on, str | Path) else on
    manifests = [find_manifest(name) for name in named] or manifests_for_testing()
    if not manifests:
        raise Missing("There is no test manifest.", "`agebench curate fg-net` (or morph, cacd) makes one.")
    return [_evaluate(found, path, on_crops, on_predict) for path in manifests]


def _evaluate(run: Run, path: Path, on_crops: Advance | None, on_predict: Advance | None) -> Evaluation:
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
    cropped = crop_records(
        readable, folders, dataset=card.name, detector=detector, crop=run.recipe.crop, on_progress=on_crops
    )
    ages, _ = predict_ages(run, cropped.pictures, range(len(cropped.records)), on_progress=on_predict)
    provenance = run.card.get("provenance", {})
    trained, one_dataset = _trained_on(run), provenance.get("dataset") == card.name
    leaks = find_leaks(cropped.records, trained, one_dataset=one_dataset)
    predictions = cropped.records.select(
        "part", "path", "subject_id", "age", pl.Series("predicted", ages.astype(np.float64)), "sha256", "face_no", leaks
    )
    name = _name(card, path)
    digest = _keep(run, name, predictions)
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
        training_detector=provenance.get("detector", UNKNOWN),
        predictions_sha256=digest,
        unsearched=list(unsearched_leaks(cropped.records, trained, one_dataset=one_dataset)),
    )
    write_whole(run.path / "predictions" / f"{name}.json", json.dumps(asdict(result), indent=2).encode())
    return result


def _trained_on(run: Run) -> pl.DataFrame:
    """The run's training and validation records, with NULL where they lack what leaks are found by.

    Raises RunError if their file is damaged.
    """
    path = run.path / RECORDS
    try:
        records = pl.read_parquet(io.BytesIO(read_file(path)))
        known = with_all_columns(records.select("split", *(name for name in COLUMNS if name in records.columns)))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{path} cannot be read: {str(error).splitlines()[0]}.", "Restore it, or train again."
        ) from error
    return known.filter(pl.col("split") != LEFT_OUT)


def _name(card: Card, path: Path) -> str:
    """The name of the predictions' files: the dataset for its default manifest, else unique to the file."""
    place = path.resolve()
    if place == manifest_of(card.name).resolve():
        return card.name
    return f"{path.stem}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"


def _keep(run: Run, name: str, predictions: pl.DataFrame) -> str:
    """Write `predictions/<name>.parquet` atomically; returns its SHA-256."""
    predictions.write_parquet(buffer := io.BytesIO())
    data = buffer.getvalue()
    write_whole(run.path / "predictions" / f"{name}.parquet", data)
    return hashlib.sha256(data).hexdigest()
