"""Leaks: the same file, a near copy, and the same person, in that order."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import polars as pl

from agebench.bench.leakage import find_leaks, unsearched_leaks, with_all_columns
from agebench.curation.observing.measures import copy_hashes

RNG = np.random.default_rng(5)


def picture() -> np.ndarray:
    coarse = RNG.integers(0, 256, (12, 12), dtype=np.uint8)
    return cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)


def rows(*found: tuple[str, np.ndarray | None, str | None, str | None]) -> pl.DataFrame:
    """Records of (sha256, gray picture, subject_id, name)."""
    records: list[dict[str, Any]] = []
    for sha256, gray, subject, name in found:
        hashes: dict[str, Any] = {"phash": None, "inset_phash": None, "edges": None}
        if gray is not None:
            (phash, *inside), edges = copy_hashes(gray)
            hashes = {"phash": phash, "inset_phash": inside, "edges": edges}
        records.append({"sha256": sha256, "subject_id": subject, "name": name, **hashes})
    schema = {"sha256": pl.String, "subject_id": pl.String, "name": pl.String, "phash": pl.UInt64,
              "inset_phash": pl.List(pl.UInt64), "edges": pl.List(pl.UInt64)}  # fmt: skip
    return with_all_columns(pl.DataFrame(records, schema=schema))


A, B, C, D, E = (picture() for _ in range(5))
TRAINED = rows(("a", A, "1", "Ana Núñez"), ("b", B, "2", None), ("c", None, None, None))


def test_each_way_of_leaking_is_found_and_the_strongest_is_said() -> None:
    smaller = cv2.resize(A, (120, 120), interpolation=cv2.INTER_AREA)
    test = rows(
        ("a", A, "1", "Ana Núñez"), ("x", smaller, "9", None), ("y", C, "9", "ana  NUNEZ"), ("z", D, "9", None),
        ("c", None, None, None),
    )  # fmt: skip
    assert find_leaks(test, TRAINED, one_dataset=False).to_list() == [
        "same file", "near copy", "same subject", None, "same file",
    ]  # fmt: skip


def test_numbers_of_subjects_mean_the_same_people_within_one_dataset_only() -> None:
    test = rows(("x", C, "2", None), ("y", D, "3", None))
    assert find_leaks(test, TRAINED, one_dataset=False).to_list() == [None, None]
    assert find_leaks(test, TRAINED, one_dataset=True).to_list() == ["same subject", None]


def test_a_picture_that_stands_many_times_is_found_among_them() -> None:
    known = rows(*[(f"k{n}", E, None, None) for n in range(200)])
    assert find_leaks(rows(("x", E, None, None), ("y", D, None, None)), known, one_dataset=False).to_list() == [
        "near copy", None,
    ]  # fmt: skip


def test_nothing_leaks_from_nothing() -> None:
    assert find_leaks(rows(("x", A, "1", "n")), rows(), one_dataset=True).to_list() == [None]
    assert find_leaks(rows(), TRAINED, one_dataset=True).to_list() == []


def test_what_cannot_be_looked_for_is_named_and_missing_columns_are_unknown() -> None:
    bare = with_all_columns(TRAINED.select("sha256", subject_id=pl.Series([1, 2, 3])))
    test = rows(("a", A, "1", None), ("x", A, "1", "Ana"))
    assert find_leaks(test, bare, one_dataset=False).to_list() == ["same file", None]
    assert unsearched_leaks(test, bare, one_dataset=False) == ["near copy", "same subject"]
    assert unsearched_leaks(test, bare, one_dataset=True) == ["near copy"]
    assert find_leaks(test, bare, one_dataset=True).to_list() == ["same file", "same subject"]
    assert unsearched_leaks(test, TRAINED, one_dataset=False) == []
    nameless = rows(("x", C, "2", None))
    assert unsearched_leaks(nameless, TRAINED, one_dataset=False) == ["same subject"]
