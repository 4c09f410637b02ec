"""What runs keep of their evaluations, read back without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from agebench.bench.metrics import cumulative_score, mae, mae_interval
from agebench.errors import RunError
from agebench.files import read_file


@dataclass(frozen=True)
class Evaluation:
    """A run's errors on one test set.

    Attributes:
        name: Name of the predictions' file.
        dataset: Name of the card.
        manifest: The file that the records were read from.
        n: Pictures that were predicted.
        undetected: Those of them without a face, predicted whole.
        unreadable: Records of the protocol whose picture cannot be read.
        mae: Mean absolute error, years.
        ci95: Its 95 % interval, years; subjects are drawn, not pictures.
        cs5: Cumulative score: share of pictures whose error is at most 5 years, 0 to 1.
        matches_card: Whether count and labels are those of the card; None where the card has no fingerprint.
        pictures_match: Whether the pictures are the card's, byte for byte; None where it has no fingerprint of them.
        records: Records in the manifest, before the protocol drew its subset.
        expected: Records that the card says the set has.
        overlap: Pictures that the run was trained on too.
        detector: The detector whose faces were cropped.
        predictions_sha256: Hash of the predictions' file.
    """

    name: str
    dataset: str
    manifest: str
    n: int
    undetected: int
    unreadable: int
    mae: float | None
    ci95: tuple[float, float] | None
    cs5: float | None
    matches_card: bool | None
    pictures_match: bool | None
    records: int
    expected: int
    overlap: int
    detector: str | None
    predictions_sha256: str


def measures(predictions: pl.DataFrame) -> dict[str, Any]:
    """What an evaluation counts and computes of kept predictions (age, predicted, subject_id, face_no, trained_on)."""
    errors = (predictions["predicted"] - predictions["age"]).abs().to_numpy()
    return {
        "n": len(predictions),
        "undetected": int(predictions["face_no"].null_count()),
        "overlap": int(predictions["trained_on"].sum()),
        "mae": mae(errors),
        "ci95": mae_interval(errors, predictions["subject_id"].to_list()),
        "cs5": cumulative_score(errors, 5),
    }


def own_manifest_first(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Of several on one set the one that a table shows comes first: of the dataset's own manifest."""
    return sorted(evaluations, key=lambda e: e.name != e.dataset)


def stored_evaluations(run_path: Path) -> list[Evaluation]:
    """What a run was evaluated on, from the files beside its predictions.

    Raises RunError for a file that is damaged or of another version of agebench.
    """
    found = []
    for path in sorted((run_path / "predictions").glob("*.json")):
        try:
            facts: dict[str, Any] = json.loads(read_file(path))
            interval = facts.pop("ci95")
            found.append(Evaluation(**facts, ci95=tuple(interval) if interval else None))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is no evaluation that this agebench wrote.", f"`agebench evaluate {run_path.name}` renews it."
            ) from error
    return found
