"""A finished run as an estimator."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from agebench.errors import RunError
from agebench.estimators import Advance, Estimates, Faces, Training
from agebench.faces.crops import crop_records
from agebench.files import read_file
from agebench.recipes import ModelRecipe
from agebench.training.runs import RECORDS, Run, committed_hashes
from agebench.training.splits import LEFT_OUT

UNKNOWN = "an unknown detector"  # of a run that was trained on a frame of records


@dataclass(frozen=True)
class RunEstimator:
    """See `agebench.estimators.Estimator`."""

    run: Run
    crops = True

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def called(self) -> str:
        return self.run.id

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def recipe(self) -> ModelRecipe:
        return self.run.recipe

    def training(self) -> Training:
        provenance = self.run.card.get("provenance", {})
        path = self.run.path / RECORDS
        try:
            records = pl.read_parquet(io.BytesIO(read_file(path)))
        except (OSError, pl.exceptions.PolarsError) as error:
            raise RunError(
                f"{path} cannot be read: {str(error).splitlines()[0]}.", "Restore it, or train again."
            ) from error
        records = records.filter(pl.col("split") != LEFT_OUT)
        manifests = (Path(provenance["manifest"]),) if provenance.get("manifest") else ()
        return Training(True, provenance.get("dataset"), provenance.get("detector", UNKNOWN), records, manifests)

    def facts(self) -> dict[str, Any]:
        return {"kind": "run", "run": self.run.id, "files": committed_hashes(self.run.path)}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        from agebench.training.inference import predict_ages, spread  # imports torch

        cropped = crop_records(
            faces.records, faces.folders, dataset=faces.dataset, detector=faces.detector, crop=self.recipe.crop,
            workers=faces.workers, on_progress=on_crops,
        )  # fmt: skip
        rows = range(len(cropped.records))
        ages, probabilities = predict_ages(self.run, cropped.pictures, rows, on_progress=on_predict)
        spreads = np.full(len(ages), np.nan) if probabilities is None else spread(probabilities)
        return Estimates(cropped.records, ages.astype(np.float64), probabilities, spreads.astype(np.float64))
