"""Leakage: test pictures whose file, photograph or person was in the training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, get_args

import numpy as np
import polars as pl

from agebench.bench.matching_faces import matching_faces
from agebench.curation.duplicates import HASHES, copies_among
from agebench.curation.identities import vector_matrix
from agebench.datasets.records import folded

Leak = Literal["same file", "near copy", "same subject", "matching face"]
LEAKS: tuple[Leak, ...] = get_args(Leak)
COLUMNS: dict[str, type[pl.DataType] | pl.DataType] = {
    "subject_id": pl.String, "name": pl.String, "sha256": pl.String, "phash": pl.UInt64,
    "inset_phash": pl.List(pl.UInt64), "edges": pl.List(pl.UInt64), "vector": pl.List(pl.Float32),
}  # fmt: skip


def with_all_columns(records: pl.DataFrame) -> pl.DataFrame:
    """`records` with the columns that leaks are found by; those that they lack are NULL.

    Raises polars' errors if a column has another type.
    """
    missing = [pl.lit(None, dtype=kind).alias(name) for name, kind in COLUMNS.items() if name not in records.columns]
    return records.with_columns(missing).with_columns(pl.col(name).cast(kind) for name, kind in COLUMNS.items())


def unsearched_leaks(test: pl.DataFrame, trained: pl.DataFrame, *, one_dataset: bool) -> list[Leak]:
    """The leaks that `find_leaks` cannot find at all, because all test or all training records lack what shows them.
    People are sought if there are names or embedded faces, so a matching face is not named on its own."""

    def known(*columns: str) -> bool:
        return all(len(frame.drop_nulls(columns)) for frame in (test, trained))

    searched: dict[Leak, bool] = {
        "same file": known("sha256"),
        "near copy": known(*HASHES),
        "same subject": known("name") or (one_dataset and known("subject_id")) or known("vector"),
    }
    return [leak for leak, sought in searched.items() if not sought]


class LeakCounts(Protocol):
    """Test pictures that leak, each counted once, by the first of `LEAKS` that applies."""

    @property
    def overlap(self) -> int: ...
    @property
    def near_copies(self) -> int: ...
    @property
    def shared_subjects(self) -> int: ...
    @property
    def matching_faces(self) -> int: ...


def leak_phrases(found: LeakCounts) -> str:
    """How many pictures leak, and how; empty if none."""
    counts = {
        "were trained on": found.overlap,
        "are near copies of pictures that were": found.near_copies,
        "show people who were": found.shared_subjects,
        "show faces that match theirs": found.matching_faces,
    }
    return ", ".join(f"{n:,} {what}" for what, n in counts.items() if n)


def unsearched_phrase(leaks: Sequence[str]) -> str:
    """That some kinds of leak could not be looked for, and why; empty if there is none."""
    lacking = {
        "same file": "copied files (no file hashes)",
        "near copy": "near copies (no picture hashes)",
        "same subject": "shared people (no names, no embedded faces)",
    }
    named = [lacking.get(leak, leak) for leak in leaks]
    return "not checked for " + " or ".join(filter(None, (", ".join(named[:-1]), named[-1]))) if named else ""


def find_leaks(test: pl.DataFrame, trained: pl.DataFrame, *, one_dataset: bool) -> pl.Series:
    """Why a test record is not independent of training: `leak`, in the order of `test`; NULL if no leak was found.

    same file: its bytes were trained on. near copy: a training photograph, rescaled, recompressed or slightly cropped
    (see `curation.duplicates`). same subject: another picture of somebody in the training data, recognised by name or,
    within one dataset, by subject. matching face: somebody who by the embedding of the face is probably in the training
    data (see `matching_faces`). The first that applies is given.

    test, trained: subject_id, name, sha256, phash, inset_phash, edges, vector (of one embedder); NULL if unknown.
    one_dataset: whether both are from one dataset, so that equal subject ids mean the same people.
    """
    people = set(folded(trained["name"]).drop_nulls())
    subjects = set(trained["subject_id"].drop_nulls()) if one_dataset else set()
    known = folded(test["name"]).is_in(list(people)) | test["subject_id"].is_in(list(subjects))
    held = {
        "same file": test["sha256"].is_in(trained["sha256"].drop_nulls().unique().implode()),
        "near copy": copies_among(test, trained),
        "same subject": known,
        "matching face": _matching(test["vector"], trained["vector"]),
    }
    found = pl.lit(None, dtype=pl.String)
    for leak in reversed(LEAKS):
        found = pl.when(pl.lit(held[leak].fill_null(False))).then(pl.lit(leak)).otherwise(found)
    return test.select(found.alias("leak")).to_series()


def _matching(test: pl.Series, trained: pl.Series) -> pl.Series:
    """Which test vectors match a training vector; False where there is none."""
    found = np.zeros(len(test), bool)
    known, cohort = test.drop_nulls(), trained.drop_nulls()
    if len(known) and len(cohort):
        found[test.is_not_null().to_numpy()] = matching_faces(vector_matrix(known), vector_matrix(cohort))
    return pl.Series(found)
