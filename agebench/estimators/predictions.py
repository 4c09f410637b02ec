"""A file of somebody's predictions as an estimator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from agebench.errors import EstimatorError
from agebench.estimators import Advance, Estimates, Faces
from agebench.estimators.external import External
from agebench.estimators.reading import YEARS, checked_ages
from agebench.files import file_hash
from agebench.recipes import EstimatorRecipe, PredictionsEstimator

SHOWN = 3  # paths named in a message


class FromFile(External):
    """CSV or Parquet with a row per picture. It must hold every picture that it is asked for, once."""

    crops = False

    def __init__(self, recipe: EstimatorRecipe, folder: Path, called: str) -> None:
        assert isinstance(recipe.estimator, PredictionsEstimator)
        super().__init__(recipe, folder, called)
        self.how = recipe.estimator

    def files(self) -> dict[str, str]:
        path = self.file(self.how.file)
        return {str(path): file_hash(path)}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        path, table = self.file(self.how.file), self._table()
        asked = faces.records.with_columns(
            file=pl.when(pl.col("path").is_in(table["path"].implode()))
            .then("path")
            .otherwise(pl.concat_str("part", pl.lit("/"), "path"))
        )
        unknown = table.filter(~pl.col("path").is_in(asked["file"].implode()))
        if len(unknown) == len(table):
            raise EstimatorError(
                f"None of the {len(table):,} paths of {path} is a picture of {faces.dataset}: the first is "
                f"'{table['path'][0]}', the manifest's first is '{faces.records['path'][0]}'.",
                "Paths are relative to the release's folder, as in the manifest.",
            )
        joined = asked.join(table, left_on="file", right_on="path", how="left", maintain_order="left")
        missing = joined.filter(pl.col("predicted").is_null())
        if len(missing):
            raise EstimatorError(
                f"{path} has no prediction for {len(missing):,} of {len(asked):,} pictures: {_some(missing['path'])}.",
                "Every picture of the protocol needs one.",
            )
        if on_predict:
            on_predict(len(joined), len(joined))
        names = joined["path"].to_list()
        ages = checked_ages(joined["predicted"].to_numpy(), len(joined), str(path), names)
        return Estimates(faces.records, ages, None, np.full(len(joined), np.nan))

    def _table(self) -> pl.DataFrame:
        """path, predicted (years). Raises EstimatorError if the file is not such a table, or names a picture twice."""
        path = self.file(self.how.file)
        try:
            table = (
                pl.read_parquet(path)
                if path.suffix.lower() == ".parquet"
                else pl.read_csv(path, infer_schema=False, try_parse_dates=False)
            )
        except (OSError, pl.exceptions.PolarsError) as error:
            raise EstimatorError(
                f"{path} cannot be read as {'Parquet' if path.suffix.lower() == '.parquet' else 'CSV'}: "
                f"{str(error).splitlines()[0]}.",
                "Expected columns for paths and ages.",
            ) from error
        for column in (self.how.path, self.how.age):
            if column not in table.columns:
                raise EstimatorError(
                    f"{path} has no column '{column}'; it has {', '.join(table.columns)}.",
                    "Expected `path` and `age`, separated by commas in CSV, and named in its first line; a recipe can "
                    "name other columns under [estimator].",
                )
        if table.is_empty():
            raise EstimatorError(f"{path} has no predictions.", "Expected a row for every picture.")
        table = table.select(
            path=pl.col(self.how.path).cast(pl.String), given=pl.col(self.how.age).cast(pl.String),
            predicted=pl.col(self.how.age).cast(pl.Float64, strict=False),
        )  # fmt: skip
        wrong = table.with_row_index("row", offset=1).filter(
            ~pl.col("predicted").fill_null(float("nan")).is_between(*YEARS, closed="none") | pl.col("path").is_null()
        )
        if len(wrong):
            first = wrong.row(0, named=True)
            raise EstimatorError(
                f"{path}, row {first['row']}: '{first['given'] or ''}' for '{first['path'] or ''}' is not an age in "
                f"years; {len(wrong):,} such row(s) in all.",
                "Expected a path and a number of years in every row.",
            )
        twice = table.filter(pl.col("path").is_duplicated())["path"].unique(maintain_order=True)
        if len(twice):
            raise EstimatorError(
                f"{path} names {len(twice):,} picture(s) more than once: {_some(twice)}.",
                "Keep one row for each picture.",
            )
        return table.select("path", "predicted")


def _some(paths: pl.Series) -> str:
    shown = ", ".join(f"'{path}'" for path in paths.head(SHOWN))
    return shown + (", …" if len(paths) > SHOWN else "")
