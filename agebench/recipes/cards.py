"""Cards of datasets as typed data."""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from agebench.recipes.fields import Name, Strict, known


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
