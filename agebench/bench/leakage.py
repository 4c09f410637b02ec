"""Leakage: test pictures whose file, photograph or person was in the training data."""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

from agebench.curation.duplicates import HASHES, copies_among
from agebench.datasets.records import folded

Leak = Literal["same file", "near copy", "same subject"]
LEAKS: tuple[Leak, ...] = get_args(Leak)
COLUMNS = ("subject_id", "name", *HASHES)


def find_leaks(test: pl.DataFrame, trained: pl.DataFrame, *, one_dataset: bool) -> pl.Series:
    """Why a test record is not independent of training: `leak`, in the order of `test`; NULL if no leak was found.

    same file: its bytes were trained on. near copy: a training photograph, rescaled, recompressed or slightly cropped
    (see `curation.duplicates`). same subject: another picture of somebody in the training data, recognised by name or,
    within one dataset, by subject. The first that applies is given.

    test, trained: subject_id, name, sha256, phash, inset_phash, edges; NULL if unknown.
    one_dataset: whether both are from one dataset, so that equal subject ids mean the same people.
    """
    people = set(folded(trained["name"]).drop_nulls())
    subjects = set(trained["subject_id"].drop_nulls()) if one_dataset else set()
    known = folded(test["name"]).is_in(list(people)) | test["subject_id"].is_in(list(subjects))
    held = {
        "same file": test["sha256"].is_in(trained["sha256"].drop_nulls().unique().implode()),
        "near copy": copies_among(test, trained),
        "same subject": known,
    }
    found = pl.lit(None, dtype=pl.String)
    for leak in reversed(LEAKS):
        found = pl.when(pl.lit(held[leak].fill_null(False))).then(pl.lit(leak)).otherwise(found)
    return test.select(found.alias("leak")).to_series()
