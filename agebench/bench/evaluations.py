"""Stored evaluations of runs, read without importing torch."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.bench.leakage import LEAKS
from agebench.bench.metrics import cumulative_score, mae, mae_interval, within_sampling_error
from agebench.bench.protocols import first_draw
from agebench.errors import RunError
from agebench.files import read_file

LEAK_COUNTS = ("overlap", "near_copies", "shared_subjects", "matching_faces")


@dataclass(frozen=True)
class Evaluation:
    """An estimator's errors on one test set.

    Attributes:
        name: Name of the predictions' file.
        dataset: Name of the card.
        protocol: Its protocol; empty for the usual one, which tests models trained on other sets.
        manifest: The file that the records were read from.
        n: Pictures that were predicted.
        undetected: Those without a detected face, predicted from the whole picture.
        unreadable: Records of the protocol whose picture cannot be read.
        mae: Mean absolute error, years.
        ci95: Its 95 % interval, years; the bootstrap draws subjects, not pictures.
        cs5: Cumulative score: share of pictures whose error is at most 5 years, 0 to 1.
        matches_card: Whether count and labels match the card; None if the card has no fingerprint.
        pictures_match: Whether the pictures are the card's, byte for byte; None if it has no fingerprint of them.
        records: Records in the manifest, before the protocol drew its subset.
        expected: Records that the set has according to the card.
        overlap: Pictures whose file the run was also trained on.
        near_copies: Other pictures that are near copies of training pictures.
        shared_subjects: Other pictures of people it was trained on.
        matching_faces: Other pictures whose faces match training faces.
        detector: The detector whose faces were cropped.
        training_detector: The detector whose faces it was trained on; equal to `detector` if the estimator crops faces
            itself, or if its training data are not known.
        training_known: Whether it is known what it was trained on.
        unsearched: Kinds of leak that could not be looked for, as the training or the test records lack what shows
            them: `same file`, `near copy`, `same subject` (neither names nor embedded faces).
        predictions_sha256: Hash of the predictions' file.
        draws: The MAE of each draw of the protocol's subset, years, of which the first is reported; empty for one draw.
        labels: Fingerprint of the paths and ages in the manifest; None in evaluations that have none.
        versions: Of numpy and scipy, which drew the interval's samples.
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
    near_copies: int
    shared_subjects: int
    detector: str | None
    training_detector: str | None
    predictions_sha256: str
    versions: dict[str, str]
    unsearched: list[str] = field(default_factory=list)
    protocol: str = ""
    training_known: bool = True
    draws: list[float] = field(default_factory=list)
    labels: str | None = None
    matching_faces: int = 0


def measures(predictions: pl.DataFrame) -> dict[str, Any]:
    """Counts and errors computed from stored predictions (age, predicted, subject_id, face_no, leak): those of the
    first draw, and the MAE of every draw if there are several."""
    every, predictions = predictions, first_draw(predictions)
    errors = _errors(predictions)
    return {
        "draws": draw_errors(every),
        "n": len(predictions),
        "undetected": int(predictions["face_no"].null_count()),
        **{count: int((predictions["leak"] == leak).sum()) for count, leak in zip(LEAK_COUNTS, LEAKS, strict=True)},
        "mae": mae(errors),
        "ci95": mae_interval(errors, predictions["subject_id"].to_list()),
        "cs5": cumulative_score(errors, 5),
        "versions": interval_versions(),
    }


def draw_errors(predictions: pl.DataFrame) -> list[float]:
    """The MAE of each draw in years; empty if there is only one."""
    if "draws" not in predictions.columns:
        return []
    draws = predictions.select("age", "predicted", draw="draws").explode("draw")
    found = [
        mae(_errors(part)) for _, part in draws.sort("draw", maintain_order=True).group_by("draw", maintain_order=True)
    ]
    return [one for one in found if one is not None]


def leaked(evaluation: Evaluation) -> int:
    """How many of the pictures leaked into training."""
    return sum(getattr(evaluation, count) for count in LEAK_COUNTS)


def leak_free(evaluation: Evaluation, predictions: pl.DataFrame) -> Evaluation:
    """The evaluation of the pictures that did not leak into training. predictions: all of them, as stored."""
    return replace(evaluation, **measures(predictions.filter(pl.col("leak").is_null())))


def stored_predictions(folder: Path, evaluation: Evaluation) -> pl.DataFrame:
    """The predictions of an evaluation that is kept in the folder of a run or estimator. Raises RunError if they are
    missing or damaged."""
    path = folder / "predictions" / f"{evaluation.name}.parquet"
    try:
        return pl.read_parquet(io.BytesIO(read_file(path)))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RunError(
            f"{path} cannot be read: {str(error).splitlines()[0]}.", "`agebench evaluate` makes it again."
        ) from error


def interval_versions() -> dict[str, str]:
    """The versions of the packages that draw an interval's samples here."""
    return {name: version(name) for name in ("numpy", "scipy")}


def differences(kept: Evaluation, predictions: pl.DataFrame) -> list[str]:
    """What the stored predictions do not reproduce, one phrase each. Counts, MAE and CS(5) are compared exactly; the
    interval to nine decimals if numpy and scipy are the same versions, else within its sampling error (other versions
    may draw other samples)."""
    again = measures(predictions)
    predictions = first_draw(predictions)
    same = {key: value == getattr(kept, key) for key, value in again.items() if key not in ("ci95", "versions")}
    if kept.ci95 is None or again["ci95"] is None:
        same["ci95"] = kept.ci95 is again["ci95"]
    elif kept.versions == again["versions"]:
        same["ci95"] = bool(np.allclose(again["ci95"], kept.ci95, rtol=0, atol=1e-9))
    else:
        same["ci95"] = within_sampling_error(kept.ci95, _errors(predictions), predictions["subject_id"].to_list())
    return [f"{key} {again[key]}, not {getattr(kept, key)} as stored" for key, equal in same.items() if not equal]


def _errors(predictions: pl.DataFrame) -> NDArray[np.float64]:
    """(N,) years, without sign."""
    return (predictions["predicted"] - predictions["age"]).abs().to_numpy()


def own_manifest_first(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Evaluations with those of the dataset's default manifest first, which tables show."""
    return sorted(evaluations, key=lambda e: (e.protocol != "", e.name != e.dataset))


def stored_evaluations(run_path: Path) -> list[Evaluation]:
    """A run's evaluations, from the files beside its predictions.

    Raises RunError for a file that is damaged or from another version of agebench.
    """
    found = []
    for path in sorted((run_path / "predictions").glob("*.json")):
        try:
            facts: dict[str, Any] = json.loads(read_file(path))
            interval = facts.pop("ci95")
            found.append(Evaluation(**facts, ci95=tuple(interval) if interval else None))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise RunError(
                f"{path} is damaged or from another version of agebench.",
                f"`agebench evaluate {run_path.name}` replaces it.",
            ) from error
    return found
