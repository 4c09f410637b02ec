"""Recipes of estimators that are not trained here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from agebench.recipes.fields import Strict, known
from agebench.recipes.models import Border, TableRow

FivePoints = Annotated[list[tuple[float, float]], Field(min_length=5, max_length=5)]


class OnnxEstimator(Strict):
    """An ONNX file that takes aligned faces.

    file: relative to the recipe's folder. size: of the faces, pixels square. template: how they are aligned: `agebench`
    (as its own crops), `arcface` (Deng et al. 2019), or the five landmarks' x and y as shares of the side, in the order
    left eye, right eye, nose, left and right corner of the mouth. border: what lies outside of the picture, as in
    `Crop`. The input is (pixel - mean) * scale of values 0 to 255. decoding: `age`, the output is the age in years;
    `expected` and `median`, probabilities of `ages`, of which the mean or the median is the age; `logits`, their
    logarithms but for a constant, of which the mean is. ages: the age of each class, by default 0, 1, 2, …. output: its
    name, if the file has several.
    """

    kind: Literal["onnx"]
    file: str
    size: Annotated[int, Field(ge=16, le=1024)]
    template: Literal["agebench", "arcface"] | FivePoints = "agebench"
    border: Border = "black"
    mean: float | Annotated[list[float], Field(min_length=3, max_length=3)] = 0.0
    scale: float | Annotated[list[float], Field(min_length=3, max_length=3)] = 1.0
    colour: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    decoding: Literal["age", "expected", "median", "logits"]
    ages: list[float] | None = None
    output: str | None = None


class FunctionEstimator(Strict):
    """A Python function that takes a list of pictures, (H, W, 3) uint8 RGB, and returns an age in years for each.

    function: `package.module:function`, or the name of an entry point in the group `agebench.estimators`. input:
    `face`, aligned faces of `size` pixels, or `picture`, whole pictures. batch: pictures per call.
    """

    kind: Literal["function"]
    function: str
    input: Literal["face", "picture"] = "face"
    size: Annotated[int, Field(ge=16, le=1024)] = 224
    batch: Annotated[int, Field(ge=1)] = 32


class PredictionsEstimator(Strict):
    """A CSV or Parquet file of predictions: a column of paths, as in the manifest, and one of ages in years."""

    kind: Literal["predictions"]
    file: str
    path: str = "path"
    age: str = "age"


class ReadyEstimator(Strict):
    """A ready-made age model by its name in the registry; see `agebench.faces.estimators`."""

    kind: Literal["ready"]
    model: Annotated[str, AfterValidator(lambda name: known("estimators", name, "auto"))] = "auto"


class Ensemble(Strict):
    """Several estimators together, by the names that `agebench evaluate` takes: the median of the mean of their
    distributions, or the mean of their ages where one of them gives no distribution."""

    kind: Literal["ensemble"]
    of: Annotated[list[str], Field(min_length=2)]


class EstimatorRecipe(TableRow):
    """An estimator that is not trained here. trained_on: what it was trained on, in words, if that is known."""

    trained_on: str | None = None
    estimator: Annotated[
        OnnxEstimator | FunctionEstimator | PredictionsEstimator | ReadyEstimator | Ensemble,
        Field(discriminator="kind"),
    ]
