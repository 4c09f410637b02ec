"""A Python function as an estimator: pictures in, ages out."""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench import registry
from agebench.errors import EstimatorError, Missing, described
from agebench.estimators import Advance, Estimates, Faces
from agebench.estimators.external import External
from agebench.estimators.reading import Box, checked_ages, prepared
from agebench.faces.alignment import face_crop
from agebench.files import file_hash
from agebench.recipes import EstimatorRecipe, FunctionEstimator

GROUP = "agebench.estimators"  # entry points; those that are functions are estimators, the others age models
Function = Callable[[list[NDArray[np.uint8]]], Sequence[float]]


class FromFunction(External):
    """`package.module:function`, or an entry point. It is called in this process, with lists of pictures."""

    def __init__(self, recipe: EstimatorRecipe, folder: Path, called: str) -> None:
        assert isinstance(recipe.estimator, FunctionEstimator)
        super().__init__(recipe, folder, called)
        self.how = recipe.estimator
        self.function = find_function(self.how.function)

    @property
    def crops(self) -> bool:  # type: ignore[override]
        return self.how.input == "face"

    def files(self) -> dict[str, str]:
        """The function's source file, and that of its package's metadata: what else it loads is not known."""
        found = {}
        with suppress(TypeError, OSError):
            file = Path(inspect.getsourcefile(self.function) or "")
            found[str(file)] = file_hash(file)
        return found

    def facts(self) -> dict[str, Any]:
        package = (getattr(self.function, "__module__", "") or "").partition(".")[0]
        version = None
        with suppress(importlib.metadata.PackageNotFoundError):
            version = importlib.metadata.version(package)
        return {**super().facts(), "version": version}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        size = self.how.size

        def picture(
            rgb: NDArray[np.uint8], box: Box | None, landmarks: NDArray[np.float64] | None
        ) -> NDArray[np.uint8]:
            if self.how.input == "picture":
                return rgb
            return face_crop(rgb, landmarks, size)

        records, ages = [faces.records.clear()], [np.empty(0)]
        for rows, pictures in prepared(faces, picture, self.how.batch, on_predict):
            names = rows["path"].to_list()
            try:
                found = self.function(pictures)
            except (Exception, SystemExit) as error:  # somebody else's code
                raise EstimatorError(
                    f"{self.how.function} failed on {names[0]} and the {len(rows) - 1} pictures after it: "
                    f"{described(error)}.",
                    "Nothing was kept. Correct the function; `--debug` shows where it failed.",
                ) from error
            ages.append(checked_ages(found, len(rows), self.how.function, names))
            records.append(rows)
        kept = pl.concat(records)
        return Estimates(kept, np.concatenate(ages), None, np.full(len(kept), np.nan))


def find_function(name: str) -> Function:
    """The function `package.module:function`, looked for in the working directory too, or that of an entry point.

    Raises Missing if there is none, or if its module cannot be imported.
    """
    if ":" in name:
        return registry.function_at(name)
    points = {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        raise Missing(f"There is no entry point '{name}' in the group {GROUP}.", "Name `module:function`.")
    try:
        found: Any = points[name].load()
    except (Exception, SystemExit) as error:  # somebody else's module may raise anything
        raise Missing(f"{name} cannot be imported: {described(error)}.", "Fix or upgrade its package.") from error
    if not callable(found):
        raise Missing(f"{name} is {type(found).__name__}, not a function.")
    function: Function = found
    return function
