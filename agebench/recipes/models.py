"""Model recipes as typed data: a network and its training, or a classical method."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from agebench.recipes.fields import Name, Named, Strict, known


class Network(Named):
    """A network by its name in the registry; see `agebench.training.networks`.

    factory: `package.module:function` instead of a name, which gets the other keys as keyword arguments and returns a
    `torch.nn.Module`. head: `shared` gives the outputs of the last layer the same weights, and each its own bias, as
    CORAL does. mirror and zooms: except during training, scores are the mean of those of the picture, its mirror image,
    and both so much larger (1.15) or smaller (0.87), surrounded by their reflection.
    weights: a file from which the network starts, as far as names and shapes fit (`training.pretrained`), relative to
    the recipe's folder, or `imagenet`, the ImageNet weights of networks that have them; random weights by default.
    """

    name: Annotated[str, AfterValidator(partial(known, "networks"))] = "residual"
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] | None = None
    head: Literal["classes", "shared"] = "classes"
    mirror: bool = False
    zooms: Annotated[list[Annotated[float, Field(ge=0.6, le=1.6)]], Field(max_length=8)] = []
    weights: str | None = None


IMAGENET = "imagenet"  # instead of a file of weights


def weights_path(weights: str, folder: Path) -> str:
    """The file of a network's weights, relative to `folder` unless its path is absolute; `imagenet` stays as it is."""
    return weights if weights == IMAGENET else str(folder.resolve() / Path(weights).expanduser())


Border = Literal["black", "mirror"]  # what a crop shows outside of its picture


class Crop(Strict):
    """How a face becomes the network's input: `size` pixels square, `encoding` on disk.

    zoom: how much larger the face is than in a crop from hairline to chin, which is 1; at 1.5 little is left but
    eyebrows, cheeks and chin. border: what a crop shows outside of its picture, nothing (`black`) or the picture's
    mirror image (`mirror`), so that tight chips look like whole photographs.
    """

    size: Annotated[int, Field(ge=16, le=1024)]
    zoom: Annotated[float, Field(ge=1, le=3)] = 1.0
    border: Border = "black"
    encoding: Literal["raw", "jpeg"] = "jpeg"


class Loss(Named):
    """A loss by its name in the registry; see `agebench.training.losses`.

    age: which statistic of the predicted distribution is given as the age: its `mean`, the expected age of the paper's
    eq. 6, or its `median`, which has the least absolute error and which improbable ages move less.
    """

    name: Annotated[str, AfterValidator(partial(known, "losses"))]
    age: Literal["mean", "median"] = "mean"


class Augment(Strict):
    """Random augmentation of the training pictures; fractions of the size or of the value range."""

    flip: bool = True
    crop: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    stretch: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # the window is 1 − stretch to 1 + stretch as wide as high
    # one border appears up to 1 + perspective times as large as the middle, and the opposite one smaller
    perspective: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    rotate: Annotated[float, Field(ge=0, le=45)] = 0.0  # degrees either way
    colour: Annotated[float, Field(ge=0, le=1)] = 0.0
    gray: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of draws without colours
    coarsen: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half of the draws are seen at 1 − coarsen to 1 of their pixels
    grain: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # noise of a deviation up to this, 1 to 3 pixels wide
    screen: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # lines or dots as of a printed photograph, up to this
    fade: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half keep 1 − fade to 1 of their contrast, half get a cast
    jpeg: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half are seen as JPEG of quality 100 × (1 − jpeg) to 100
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0  # a gray rectangle in half of the draws, its sides up to this
    mixup: Annotated[float, Field(ge=0)] = 0.0  # blend pictures in pairs, their shares from Beta(mixup, mixup)


class Training(Strict):
    """The optimiser and its schedule; one step is one batch."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    # share of a batch, furthest from its claimed ages, that is not learned from once the warmup is over
    small_loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    # a record's draws are multiplied by 1 − distrust × p, where p is its label suspicion
    distrust: Annotated[float, Field(ge=0, le=1)] = 0.0
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0  # 0: every record as often; 1: every group of five ages
    accumulate: Annotated[int, Field(ge=1)] = 1  # parts that a batch is computed in, for less memory
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    rate: Annotated[float, Field(gt=0)]
    pretrained_rate: Annotated[float, Field(gt=0)] = 1.0  # of weights taken from a file, as a share of `rate`
    first_layer_rate: Annotated[float, Field(gt=0)] = 1.0  # of the first pretrained layer, as a share of the last one's
    clip: Annotated[float, Field(gt=0)] | None = None  # greatest norm of the gradient of all weights together
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["steps", "cosine", "one-cycle"] = "steps"
    milestones: list[int] = []
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.1
    warmup: Annotated[int, Field(ge=0)] = 0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0  # decay of the weights' moving average; 0 is off
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.05  # share of the records
    records: Annotated[int, Field(ge=1)] | None = None  # train on so many of them only, drawn at random
    validate_every: Annotated[int, Field(ge=1)] = 1000
    patience: Annotated[int, Field(ge=1)] | None = None  # stop after so many validations without a lower MAE
    checkpoint_every: Annotated[int, Field(ge=1)] = 1000
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    workers: Annotated[int, Field(ge=0)] = 0  # reader processes

    @model_validator(mode="after")
    def settings_fit_together(self) -> Training:
        if self.accumulate > 1 and self.batch < 2 * self.accumulate:
            raise ValueError("accumulate: expected at most half of batch, as normalisation needs two pictures a part")
        if self.accumulate > 1 and self.small_loss:
            raise ValueError("small_loss: expected 0 with accumulate: it selects from a whole batch")
        if self.patience and not self.validation:
            raise ValueError("patience: expected validation above 0: early stopping needs a validation MAE")
        return self


class TableRow(Strict):
    """What has a row in the tables.

    label: the row's name. tables: the numbers of the tables that it stands in. published_row: the method of the
    published row beneath which it stands.
    """

    name: Name
    title: str
    label: str
    tables: list[Literal[2, 3]] = [2, 3]
    published_row: str | None = None


class ModelRecipe(TableRow):
    """Something to train: a `NetworkRecipe` or a `MethodRecipe`. crop: what the model sees of a face."""

    crop: Crop

    @property
    def validation(self) -> float:
        """The share of the records that is held back for validation."""
        return 0.0

    @property
    def most_records(self) -> int | None:
        """The number of records to train on; None: all."""
        return None

    @property
    def balance(self) -> float:
        """How far the draws of groups of ages are evened out, 0 to 1."""
        return 0.0

    @property
    def distrust(self) -> float:
        """How strongly label suspicion reduces a record's draws, 0 (not at all) to 1."""
        return 0.0


class NetworkRecipe(ModelRecipe):
    """A network and its training."""

    network: Network
    loss: Loss
    augment: Augment = Augment()
    train: Training

    @model_validator(mode="after")
    def blends_have_no_age(self) -> NetworkRecipe:
        if self.augment.mixup and self.train.small_loss:
            raise ValueError("train.small_loss: expected 0 with augment.mixup: a blend of two faces has no claimed age")
        return self

    @model_validator(mode="after")
    def oval_is_that_of_the_crop(self) -> NetworkRecipe:
        if self.crop.zoom != 1 and self.network.settings.get("oval"):
            raise ValueError(
                "network.oval: expected false unless crop.zoom is 1: the oval reaches from hairline to chin"
            )
        return self

    @property
    def validation(self) -> float:
        return self.train.validation

    @property
    def most_records(self) -> int | None:
        return self.train.records

    @property
    def balance(self) -> float:
        return self.train.balance

    @property
    def distrust(self) -> float:
        return self.train.distrust


class Method(Named):
    """A classical method by its name in the registry; see `agebench.training.methods`."""

    name: Annotated[str, AfterValidator(partial(known, "methods"))]


class MethodRecipe(ModelRecipe):
    """A classical method, fitted to all records at once."""

    method: Method

    @model_validator(mode="after")
    def features_know_the_crop(self) -> MethodRecipe:
        if self.crop.zoom != 1:
            raise ValueError("crop.zoom: expected 1: a method's features assume a crop from hairline to chin")
        return self


# The tables of a model recipe that name something in the registry: table, kind of extension, name by default.
NAMED_TABLES = (("network", "networks", "residual"), ("loss", "losses", ""), ("method", "methods", ""))
