"""Cards and recipes as typed data: read from TOML and validated, with every mistake reported at once.

A card describes a dataset, a curation recipe a pipeline, a model recipe a network and its training.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agebench import registry, resources
from agebench.errors import RecipeError, UsageError, nearest
from agebench.files import DECLARATION, read_file


class Strict(BaseModel):
    """A table of a recipe: unknown keys are mistakes, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


def known(kind: str, name: str, *more: str) -> str:
    """The name, if the registry has it or it is one of `more`. Raises ValueError with the nearest names."""
    names = [*registry.names(kind), *more]
    if name not in names:
        raise ValueError(f"there is no {registry.KINDS[kind].what} of this name. {nearest(name, names)}")
    return name


NAME = "[a-z0-9][a-z0-9-]*"
Name = Annotated[str, Field(pattern=f"^{NAME}$")]


def name_from(stem: str) -> str:
    """A file's name without its ending as the name of a recipe: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "estimator"


CheckName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


# --- cards -----------------------------------------------------------------------------------------------------


class Expected(Strict):
    """What the release should contain. For fingerprints see `manifest.fingerprints`."""

    records: int
    records_stated: int | None = None  # if the authors' number differs from the files in circulation
    subjects: int | None = None
    ages: tuple[int, int] | None = None
    parts: dict[str, int] = {}
    labels: str | None = None
    pictures: str | None = None


class Protocol(Strict):
    """Which records a test set is measured on, and the column of its table.

    draws: so many subsets are predicted, of the seeds `seed`, `seed` + 1, …; the first is what is reported, the others
    show how much the draw alone moves the number.
    """

    column: str
    records: int | None = None  # size of a subset, drawn by hash(seed, part, path), subjects in turn
    seed: int = 0
    draws: Annotated[int, Field(ge=1)] = 1
    ages: tuple[int, int] | None = None


class Partition(Strict):
    """How a dataset is divided into training and test records, so that a recipe is trained and tested on the same one.

    kind:
        `leave-one-subject-out`: a fold per subject; the subject is predicted by a model trained on all others.
        `folds`: so many `folds`, each predicted by a model trained on the others.
        `holdout`: one fold, a `share` of the records, predicted by a model trained on the rest.
        `crossed`: two sets of `records` each and the rest; trained on the first set, tested on the second and the rest,
        then trained on the second, tested on the first and the rest (MORPH's S1, S2, S3).
        `parts`: trained on the parts `train`, tested on the parts `test`.
        `file`: a CSV `file` in the release's folder or the working directory, with the columns path and `column`, whose
        values are the folds, or `train` and `test` (others, such as `val`, are left out).
    by: what is kept together, a `subject` or only a `record`. seed: of the draw. ages: the only ages that take part.
    source: where the protocol is described.
    """

    kind: Literal["leave-one-subject-out", "folds", "holdout", "crossed", "parts", "file"]
    by: Literal["subject", "record"] = "subject"
    folds: Annotated[int, Field(ge=2)] | None = None
    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    records: Annotated[int, Field(ge=1)] | None = None
    train: list[str] = []
    test: list[str] = []
    file: str | None = None
    column: str = "folder"
    seed: int = 0
    ages: tuple[int, int] | None = None
    source: str | None = None

    @model_validator(mode="after")
    def has_what_its_kind_needs(self) -> Partition:
        needs = {"folds": ["folds"], "holdout": ["share"], "crossed": ["records"], "parts": ["train", "test"]}
        needs["file"] = ["file"]
        for name in needs.get(self.kind, []):
            if not getattr(self, name):
                raise ValueError(f"kind = '{self.kind}' needs `{name}`")
        return self


class Download(Strict):
    """One file on the authors' site. Exact sizes and hashes are given only if the authors publish them."""

    part: Name | None = None  # as in the records; None: the release has no parts
    url: Annotated[str, Field(pattern=r"^(https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/])")]
    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    bytes: Annotated[int, Field(gt=0)] | None = None
    about_bytes: Annotated[int, Field(gt=0)] | None = None  # the approximate size, if the exact one is not published
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    md5: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    unpack: bool = True
    below: Annotated[str, Field(pattern=r"^[^/\\.][^/\\]*$")] | None = (
        None  # the archive's folder that becomes the root
    )
    unpacked_bytes: Annotated[int, Field(gt=0)] | None = None


FIELD = r"\{(\w*)\}"  # of a template such as `{age}_{gender}_{rest}.jpg`


def fields_of(template: str) -> list[str]:
    """The names in braces of a template, in order."""
    return re.findall(FIELD, template)


class Columns(Strict):
    """The columns of a table that do not have a usual name (`datasets.layouts.table.USUAL`).

    path: the picture, relative to the root: a column, or a template of columns such as `{split}/{file_name}.jpg`.
    born, taken: dates or years, for tables without ages. split: becomes the record's part. box: x, y, width, height of
    the face in pixels, in four columns or in one; corners: its left, top, right, bottom instead.
    """

    path: str | None = None
    age: str | None = None
    subject: str | None = None
    name: str | None = None
    gender: str | None = None
    born: str | None = None
    taken: str | None = None
    split: str | None = None
    box: list[str] = []
    corners: list[str] = []

    @model_validator(mode="after")
    def one_box_of_four_numbers(self) -> Columns:
        if self.box and self.corners:
            raise ValueError("`box` and `corners` say the same thing: give only one")
        if len(self.box or self.corners) not in (0, 1, 4):
            raise ValueError("a box is in four columns, or in one that holds four numbers")
        return self


class Table(Strict):
    """Labels of a release of the layout `table`: in a file, or in the names of the pictures.

    file: CSV, JSON Lines or Parquet, relative to the root or to the working directory; `gt_{split}.csv` takes every
    matching file of the root, and `split` becomes a column. pattern: how pictures are named, such as
    `{age}_{gender}_{rest}.jpg` or `{age}/{gender}/{rest}.jpg`: every name in braces becomes a column. male, female:
    the table's values for them, besides the usual words. unlabelled: ages that mean that a row has no label.
    """

    file: str | None = None
    pattern: str | None = None
    columns: Columns = Columns()
    male: list[str] = []
    female: list[str] = []
    unlabelled: list[str] = []

    @model_validator(mode="after")
    def labels_are_in_one_place(self) -> Table:
        if (self.file is None) == (self.pattern is None):
            raise ValueError("a table needs exactly one of `file` and `pattern`")
        names = fields_of(self.pattern if self.pattern is not None else self.file or "")
        if self.pattern is not None and not names:
            raise ValueError(f"`pattern` '{self.pattern}' has no name in braces, as in {{age}}_{{rest}}.jpg")
        if "" in names or len(set(names)) < len(names):
            raise ValueError("every name in braces must be unique and not empty, as in {age}_{rest}.jpg")
        if odd := [name for name in names if not name.isidentifier()]:
            raise ValueError(
                f"'{{{odd[0]}}}' is not a valid name; a name in braces begins with a letter, as in {{age}}"
            )
        return self


class Card(Strict):
    """One dataset: what it is, where to get it, its layout, and its expected contents."""

    name: Name
    title: str
    roles: list[Literal["train", "test"]]
    layout: Annotated[str, AfterValidator(partial(known, "layouts"))]
    root: str
    recipe: Name
    age_rule: str
    files: str  # the layout in words, shown if a folder is not recognised
    source: str
    licence: str
    citation: str
    by_hand: str | None = None  # how to get a release that cannot be downloaded automatically: on request, in a browser
    download: list[Download] = []
    table: Table | None = None
    expected: Expected
    protocol: Protocol | None = None
    protocols: dict[Name, Partition] = {}  # for training and testing on the set itself, by name

    @model_validator(mode="after")
    def files_are_unique(self) -> Card:
        names = [item.file.lower() for item in self.download]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two [[download]] tables have the file '{twice[0]}'")
        return self

    @model_validator(mode="after")
    def table_layout_has_a_table(self) -> Card:
        if (self.layout == "table") != (self.table is not None):
            raise ValueError('layout = "table" and a [table] table go together')
        return self

    @model_validator(mode="after")
    def test_sets_have_a_protocol(self) -> Card:
        if "test" in self.roles and self.protocol is None:
            raise ValueError("a card with the role 'test' needs a [protocol] table")
        return self


# --- curation recipes ------------------------------------------------------------------------------------------


# Reasons besides those of checks.
DECISIONS = ("decision", "reviewers_disagree", "picture_changed", "claim_changed", "answer_does_not_fit")


class Check(Strict):
    """One rule: an SQL predicate over `evidence`, its verdict, and the reason in words."""

    name: CheckName
    reject: str | None = None
    review: str | None = None
    reason: str
    value: str | None = None  # the column or expression whose number is stored with the verdict

    @model_validator(mode="after")
    def its_name_is_its_own(self) -> Check:
        if self.name in DECISIONS:
            raise ValueError(f"the name '{self.name}' is reserved for people's decisions")
        return self

    @model_validator(mode="after")
    def one_verdict(self) -> Check:
        if (self.reject is None) == (self.review is None):
            raise ValueError("a check needs exactly one of `reject` and `review`")
        return self

    @property
    def verdict(self) -> Literal["reject", "review"]:
        return "reject" if self.reject is not None else "review"

    @property
    def predicate(self) -> str:
        return self.reject if self.reject is not None else (self.review or "")


class Observe(Strict):
    """What a curation recipe observes besides hashes, quality and faces.

    estimators: `ready` (a pretrained age model, if one is installed), the name of one in the registry, `cross-fit`
    (networks trained on this release, each estimating the records held out from it), or a finished run.
    identities: `auto` or an embedder in the registry, whose embeddings show which face is the subject's.
    second_detector: is run if the first found no face or only doubtful ones.
    """

    estimators: list[str] = []
    identities: Annotated[str, AfterValidator(lambda name: known("embedders", name, "none", "auto"))] = "none"
    second_detector: Annotated[str, AfterValidator(lambda name: known("detectors", name, "none"))] = "none"


class CurationRecipe(Strict):
    """A documented set of checks, in the order in which the funnel counts them: of one dataset, or of `any`."""

    name: Name
    dataset: Name
    title: str
    observe: Observe = Observe()
    check: list[Check]

    @model_validator(mode="after")
    def names_are_unique(self) -> CurationRecipe:
        seen: set[str] = set()
        for check in self.check:
            if check.name in seen:
                raise ValueError(f"the check '{check.name}' appears twice")
            seen.add(check.name)
        return self


# --- model recipes ---------------------------------------------------------------------------------------------


class Named(BaseModel):
    """A name in the registry and its settings: the other keys of the table. `training.resolve` checks them, as that
    loads torch."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Network(Named):
    """A network by its name in the registry; see `agebench.training.networks`.

    factory: `package.module:function` instead of a name, which gets the other keys as keyword arguments and returns a
    `torch.nn.Module`. head: `shared` gives the outputs of the last layer the same weights, and each its own bias, as
    CORAL does. mirror: except during training, scores are the mean of a picture's and its mirror image's.
    weights: a file from which the network starts, as far as names and shapes fit (`training.pretrained`), relative to
    the recipe's folder, or `imagenet`, the ImageNet weights of networks that have them; random weights by default.
    """

    name: Annotated[str, AfterValidator(partial(known, "networks"))] = "residual"
    factory: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$")] | None = None
    head: Literal["classes", "shared"] = "classes"
    mirror: bool = False
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
    rotate: Annotated[float, Field(ge=0, le=45)] = 0.0  # degrees either way
    colour: Annotated[float, Field(ge=0, le=1)] = 0.0
    gray: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of draws without colours
    coarsen: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half of the draws are seen at 1 − coarsen to 1 of their pixels
    grain: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # noise of a deviation up to this, 1 to 3 pixels wide
    screen: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # lines or dots as of a printed photograph, up to this
    fade: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half keep 1 − fade to 1 of their contrast, half get a cast
    jpeg: Annotated[float, Field(ge=0, lt=1)] = 0.0  # half are seen as JPEG of quality 100 × (1 − jpeg) to 100
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0  # a gray rectangle in half of the draws, its sides up to this


class Training(Strict):
    """The optimiser and its schedule; one step is one batch."""

    steps: Annotated[int, Field(ge=1)]
    batch: Annotated[int, Field(ge=1)]
    # share of a batch, furthest from its claimed ages, that is not learned from once the warmup is over
    small_loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0  # 0: every record as often; 1: every group of five ages
    accumulate: Annotated[int, Field(ge=1)] = 1  # parts that a batch is computed in, for less memory
    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    rate: Annotated[float, Field(gt=0)]
    pretrained_rate: Annotated[float, Field(gt=0)] = 1.0  # of weights taken from a file, as a share of `rate`
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


class NetworkRecipe(ModelRecipe):
    """A network and its training."""

    network: Network
    loss: Loss
    augment: Augment = Augment()
    train: Training

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
    """The mean of several estimators, by the names that `agebench evaluate` takes."""

    kind: Literal["ensemble"]
    of: Annotated[list[str], Field(min_length=2)]


class EstimatorRecipe(TableRow):
    """An estimator that is not trained here. trained_on: what it was trained on, in words, if that is known."""

    trained_on: str | None = None
    estimator: Annotated[
        OnnxEstimator | FunctionEstimator | PredictionsEstimator | ReadyEstimator | Ensemble,
        Field(discriminator="kind"),
    ]


class Arm(Strict):
    """One of the trainings that a study compares: the model with some dotted keys set."""

    label: str
    set: dict[str, Any] = {}


class StudyRecipe(Strict):
    """Trainings that differ in a few keys, compared on equal terms: `agebench study`.

    model: the model recipe that every arm changes. seeds: how many trainings each arm has, with the seeds 0, 1, …. arm:
    the first is what the others are compared with.
    """

    name: Name
    title: str
    model: Name
    seeds: Annotated[int, Field(ge=1)] = 3
    arm: Annotated[list[Arm], Field(min_length=2)]

    @model_validator(mode="after")
    def labels_are_unique(self) -> StudyRecipe:
        labels = [arm.label for arm in self.arm]
        if twice := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"two arms have the label '{twice[0]}'")
        return self


def model_recipe_kind(path: Path, data: dict[str, Any]) -> type[ModelRecipe]:
    """Which kind of model recipe a file's keys make. Raises UsageError if they are an estimator's, which is not
    trained."""
    if "arm" in data:
        raise UsageError(f"{path.stem} is a study of several trainings.", f"`agebench study {path.stem}` runs it.")
    if "estimator" in data:
        raise UsageError(
            f"{path.stem} is not trained: its recipe has an [estimator] table.",
            f"`agebench evaluate {path.stem}` measures it.",
        )
    return MethodRecipe if "method" in data else NetworkRecipe


# The tables of a model recipe that name something in the registry: table, kind of extension, name by default.
NAMED_TABLES = (("network", "networks", "residual"), ("loss", "losses", ""), ("method", "methods", ""))


# --- reading ---------------------------------------------------------------------------------------------------

T = TypeVar("T", bound=Strict)


def load_card(name: str, cwd: Path | None = None) -> Card:
    """The card of a dataset, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("manifests", name, cwd), Card)


def load_curation_recipe(name: str, cwd: Path | None = None) -> CurationRecipe:
    """A curation recipe, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("pipelines", name, cwd), CurationRecipe)


def load_model_recipe(name: str, cwd: Path | None = None, changes: dict[str, Any] | None = None) -> ModelRecipe:
    """A model recipe, by name or file, with dotted keys changed (`train.steps`).

    Raises UsageError or RecipeError (exit 2).
    """
    path = resources.find("models", name, cwd)
    return _load(path, model_recipe_kind(path, model_keys(path)), changes)


def load_table_row(name: str, cwd: Path | None = None) -> TableRow:
    """Any recipe in `models/`, by name or file: something to train, or an estimator. Raises UsageError or RecipeError
    (exit 2)."""
    path = resources.find("models", name, cwd)
    data = model_keys(path)
    return _load(path, EstimatorRecipe if "estimator" in data else model_recipe_kind(path, data))


def load_study(name: str, cwd: Path | None = None) -> StudyRecipe:
    """A study, by name or file. Raises UsageError or RecipeError (exit 2)."""
    path = resources.find("models", name, cwd)
    if "arm" not in read_toml(path):
        raise UsageError(f"{path.stem} is not a study: it has no [[arm]].", f"`agebench train {path.stem}` trains it.")
    return _load(path, StudyRecipe)


def load_from_models(name: str, cwd: Path | None = None) -> TableRow | StudyRecipe:
    """Whatever a file in `models/` declares. Raises UsageError or RecipeError (exit 2)."""
    is_study = "arm" in read_toml(resources.find("models", name, cwd))
    return load_study(name, cwd) if is_study else load_table_row(name, cwd)


def load_estimator_recipe(path: Path) -> EstimatorRecipe:
    """The recipe of an estimator, by file. Raises RecipeError (exit 2)."""
    return _load(path, EstimatorRecipe)


def load_network_recipe(name: str, cwd: Path | None = None) -> NetworkRecipe:
    """The recipe of a network, by name or file. Raises UsageError or RecipeError (exit 2)."""
    return _load(resources.find("models", name, cwd), NetworkRecipe)


def read_curation_recipe(path: Path) -> tuple[CurationRecipe | None, list[Check], list[str]]:
    """(recipe, its checks, mistakes). If there are mistakes, the recipe is None and only the valid checks are given.

    Raises RecipeError if the file is not TOML.
    """
    data = read_toml(path)
    recipe, mistakes = _validated(path, data, CurationRecipe)
    if recipe is not None:
        return recipe, recipe.check, []
    checks = []
    for table in data.get("check", []) if isinstance(data.get("check"), list) else []:
        with suppress(ValidationError):
            checks.append(Check.model_validate(table))
    return None, checks, mistakes


def digest(recipe: Strict) -> str:
    """SHA-256 of a recipe's content, independent of its formatting and of where a release is downloaded from.

    Keys with their default value are left out, so that a version with more keys gives the same recipes the same digest.
    """
    content = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"download", "by_hand"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_model_recipe(
    path: Path, changes: dict[str, Any] | None = None
) -> tuple[ModelRecipe | None, dict[str, Any], list[str]]:
    """(recipe, its keys and values, mistakes); the recipe is None if there are mistakes. Raises RecipeError if the file
    is not TOML, or a change names a key inside something that is not a table."""
    data = _changed(path, model_keys(path), changes)
    recipe, mistakes = _validated(path, data, model_recipe_kind(path, data))
    return recipe, data, mistakes


def _load(path: Path, kind: type[T], changes: dict[str, Any] | None = None) -> T:
    data = model_keys(path) if issubclass(kind, TableRow) else read_toml(path)
    recipe, mistakes = _validated(path, _changed(path, data, changes), kind)
    if recipe is None:
        if changes:
            _load(path, kind)  # raises if the file itself has mistakes
            raise wrong_changes(path, mistakes)
        raise mistaken(path, mistakes)
    return recipe


def model_keys(path: Path) -> dict[str, Any]:
    """The keys and values of a file in `models/`, with those that it takes from its `base`.

    A recipe that names another as its `base` takes every key which it does not give itself, but for name, title, label
    and published_row, which are its own. A table that names another network, loss or method takes nothing from that of
    the base. Raises RecipeError if there is no such base, or a recipe is its own base.
    """
    return _based(path, (path.resolve(),))


OWN_KEYS = ("name", "title", "label", "published_row")


def _based(path: Path, taken: tuple[Path, ...]) -> dict[str, Any]:
    data = read_toml(path)
    if "base" not in data:
        return data
    base = data.pop("base")
    beside = path.parent / f"{base}.toml"
    try:
        source = beside if beside.is_file() else resources.find("models", str(base))
    except UsageError as error:
        raise RecipeError(f"{path}: base: {error.message}", error.next_step) from error
    if source.resolve() in taken:
        raise RecipeError(f"{path}: base: '{base}' is built on {path.stem} itself.", "Name another recipe.")
    under = _based(source, (*taken, source.resolve()))
    network = under.get("network")
    if isinstance(network, dict) and isinstance(network.get("weights"), str):
        network["weights"] = weights_path(network["weights"], source.parent)
    for key, value in under.items():
        if key in OWN_KEYS:
            continue
        if isinstance(value, dict) and isinstance(data.get(key), dict):
            same = all(data[key].get(what, value.get(what)) == value.get(what) for what in ("name", "factory", "kind"))
            data[key] = value | data[key] if same else data[key]
        else:
            data.setdefault(key, value)
    return data


def _changed(path: Path, data: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    """A file's keys and values with some dotted keys changed. Another network, loss or method takes nothing of the
    settings that the file gives its own."""
    for table, _, default in NAMED_TABLES:
        given, wanted = data.get(table), (changes or {}).get(f"{table}.name")
        if isinstance(given, dict) and wanted is not None and wanted != given.get("name", default):
            data[table] = {}
    for key, value in (changes or {}).items():
        *tables, last = key.split(".")
        place = data
        for table in tables:
            place = place.setdefault(table, {})
            if not isinstance(place, dict):
                raise RecipeError(f"`--set {key}`: '{table}' is not a table of {path.name}.")
        place[last] = value
    return data


def mistaken(path: Path, mistakes: list[str]) -> RecipeError:
    """The error that lists a file's mistakes."""
    return RecipeError(f"{path} has {len(mistakes)} mistake(s):\n  " + "\n  ".join(mistakes) + "\n")


def wrong_changes(path: Path, mistakes: list[str]) -> RecipeError:
    """The error that lists mistakes in `--set` changes to a valid file."""
    return RecipeError(
        f"`--set` does not fit {path.stem}:\n  " + "\n  ".join(mistakes) + "\n",
        f"`agebench show {path.stem}` prints its keys.",
    )


def read_declaration(path: Path) -> str:
    """The text of a card or recipe. Raises RecipeError if it is not a text file of at most 1 MiB."""
    try:
        return read_file(path, DECLARATION).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise RecipeError(
            f"{path} cannot be read: {why or error}.", "Fix the file, or `agebench cp` a fresh copy."
        ) from error


def read_toml(path: Path) -> dict[str, Any]:
    """The keys and values of a card or recipe as they are in its file. Raises RecipeError if it is not TOML."""
    try:
        return tomllib.loads(read_declaration(path))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"{path} is not valid TOML: {error}.", "Fix the file, or `agebench cp` a fresh copy."
        ) from error


def _validated(path: Path, data: dict[str, Any], kind: type[T]) -> tuple[T | None, list[str]]:
    mistakes = _unknown_settings(data) if issubclass(kind, ModelRecipe) else []
    try:
        recipe = kind.model_validate(data)
    except ValidationError as error:
        return None, mistakes_of(error, kind, data) + mistakes
    if mistakes:
        return None, mistakes
    if path.stem != getattr(recipe, "name", path.stem):
        return None, [f"name: expected '{path.stem}' like the file, found '{getattr(recipe, 'name', '')}'"]
    return recipe, []


def _unknown_settings(data: dict[str, Any]) -> list[str]:
    """Keys that the network, loss or method of a model recipe does not take, as far as its source code shows."""
    mistakes = []
    for table, kind, default in NAMED_TABLES:
        given = data.get(table)
        if not isinstance(given, dict):
            continue
        settings = registry.setting_names(kind, str(given.get("name", default)))
        if settings is None or given.get("factory"):  # another's function, whose settings are not known here
            continue
        kinds: dict[str, type[Named]] = {"network": Network, "loss": Loss}
        own = kinds.get(table, Named).model_fields
        unknown = [key for key in given if key not in own and key not in settings]
        mistakes += [f"{table}.{key}: unknown key. {nearest(key, settings)}" for key in unknown]
    return mistakes


def mistakes_of(error: ValidationError, kind: type[BaseModel], data: dict[str, Any]) -> list[str]:
    """Validation errors as `key: expected …, found …`, one for each key."""
    found: dict[str, list[str]] = {}
    for item in error.errors():
        found.setdefault(_place(item["loc"], data) or "the whole file", []).append(_wrong(item, kind))
    return [f"{where}: {'; or '.join(wrong)}" for where, wrong in found.items()]


def _wrong(item: Any, kind: type[BaseModel]) -> str:
    if item["type"] == "extra_forbidden":
        return f"unknown key. {nearest(str(item['loc'][-1]), _keys(kind, item['loc'][:-1]))}"
    if item["type"] == "missing":
        return "missing"
    if item["type"] == "union_tag_not_found":
        return f"the key `kind` is missing; expected {', '.join(map(repr, _kinds(_tables_at(kind, item['loc']))))}"
    if item["type"] == "union_tag_invalid":
        return f"expected {item['ctx']['expected_tags']} as `kind`, found {item['ctx']['tag']!r}"
    found = item.get("input")
    shown = f", found {found!r}" if not isinstance(found, dict | list) else ""
    return f"{item['msg'].removeprefix('Value error, ')}{shown}"


def _place(loc: tuple[int | str, ...], data: dict[str, Any]) -> str:
    """A key as users see it: entries of a list by name, or by number from 1."""
    words: list[str] = []
    value: Any = data
    for part in loc:
        if isinstance(part, str) and words and _names_a_type(part, value):
            continue
        value = _inside(value, part)
        if isinstance(part, int) and words:
            name = value.get("name") if isinstance(value, dict) else None
            words[-1] += f" '{name}'" if isinstance(name, str) else f" {part + 1}"
        else:
            words.append(str(part))
    return ".".join(words)


def _names_a_type(part: str, value: Any) -> bool:
    """Whether a part of pydantic's place is one of the types that a value may have, not a key."""
    return not isinstance(value, dict) or (part not in value and value.get("kind") == part)


def _inside(value: Any, part: int | str) -> Any:
    try:
        return value[part]
    except (LookupError, TypeError):
        return None


def _keys(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at `place` may have."""
    return list(dict.fromkeys(key for table in _tables_at(kind, place) for key in table.model_fields))


def _kinds(tables: list[type[BaseModel]]) -> list[str]:
    """The values that the key `kind` of some tables may have."""
    return [
        tag
        for table in tables
        if "kind" in table.model_fields
        for tag in get_args(table.model_fields["kind"].annotation)
    ]


def _tables_at(kind: type[BaseModel], place: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """The tables that may be at `place`, as pydantic gives it: with the `kind` of a table that may be of several."""
    tables = [kind]
    for part in place:
        fields = [table.model_fields[part] for table in tables if part in table.model_fields]
        if fields:
            tables = [inner for field in fields for inner in _tables_in(field.annotation)]
        else:  # the number of a list's entry, a table's name, or a kind
            tables = [table for table in tables if part in _kinds([table])] or tables
    return tables


def _tables_in(annotation: Any) -> list[type[BaseModel]]:
    """The tables that a type is made of: `list[Check]`, `dict[str, Partition]`, `Loss | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [table for argument in get_args(annotation) for table in _tables_in(argument)]
