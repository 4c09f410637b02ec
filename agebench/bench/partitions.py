"""Folds: which records of a dataset train a model, and which it is tested on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.errors import RecipeError
from agebench.recipes import Partition

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Fold:
    """One model. name: of the fold. train, test: (N,) which records it is trained and tested on."""

    name: str
    train: Mask
    test: Mask


def folds_of(rows: pl.DataFrame, partition: Partition, *, near: Path = Path()) -> list[Fold]:
    """The folds of a dataset's records, in order.

    rows: part, path, subject_id (NULL: a subject of its own). near: the folder in which the partition's file is looked
    for if it is not in the working directory. The draw is by md5(seed, subject or record), so it is the same on every
    machine and for every order of the records.
    Raises RecipeError if the partition does not fit the records: it leaves a side empty, or its file is wrong.
    """
    if partition.kind == "parts":
        part = rows["part"]
        sides = [Fold("test", part.is_in(partition.train).to_numpy(), part.is_in(partition.test).to_numpy())]
    elif partition.kind == "file":
        sides = _from_file(rows, partition, near)
    else:
        sides = _drawn(rows, partition)
    for fold in sides:
        for side, mask in (("train on", fold.train), ("test", fold.test)):
            if not mask.any():
                raise RecipeError(
                    f"The protocol leaves no record to {side} in fold {fold.name} of {len(rows):,} records.",
                    "Correct it in the card (`agebench cp` copies it).",
                )
    return sides


def _drawn(rows: pl.DataFrame, partition: Partition) -> list[Fold]:
    alone = pl.format("{}/{}", "part", "path")
    unit = rows.select(
        (pl.col("subject_id").cast(pl.String) if partition.by == "subject" else pl.lit(None, pl.String)).fill_null(
            alone
        )
    ).to_series()
    names, which, sizes = np.unique(unit.to_numpy().astype(str), return_inverse=True, return_counts=True)
    which = which.reshape(-1)
    if partition.kind == "leave-one-subject-out":
        return [Fold(name, which != number, which == number) for number, name in enumerate(names.tolist())]
    keys = [hashlib.md5(f"{partition.seed}/{name}".encode(), usedforsecurity=False).hexdigest() for name in names]
    order = np.argsort(np.array(keys))
    if partition.kind == "folds":
        count = partition.folds or 2
        dealt = np.empty(len(names), np.int64)
        held = np.zeros(count, np.int64)
        for number in sorted(order.tolist(), key=lambda n: -sizes[n]):  # the largest first, into the smallest fold
            dealt[number] = held.argmin()
            held[dealt[number]] += sizes[number]
        of_record = dealt[which]
        return [Fold(str(fold + 1), of_record != fold, of_record == fold) for fold in range(count)]
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names))
    before = np.concatenate([[0], np.cumsum(sizes[order])])[:-1][place[which]]  # records drawn before this one's unit
    if partition.kind == "holdout":
        test = before < round((partition.share or 0) * len(rows))
        return [Fold("test", ~test, test)]
    size = partition.records or 1
    first, second = before < size, (before >= size) & (before < 2 * size)
    return [Fold("S1", first, ~first), Fold("S2", second, ~second)]


def _from_file(rows: pl.DataFrame, partition: Partition, near: Path) -> list[Fold]:
    name = partition.file or ""
    path = next((place for place in (Path(name), near / name) if place.is_file()), None)
    if path is None:
        raise RecipeError(f"There is no file {name} here or in {near}, which the protocol names.", "Put it there.")
    try:
        table = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecipeError(f"{path} cannot be read as CSV: {str(error).splitlines()[0]}.") from error
    for column in ("path", partition.column):
        if column not in table.columns:
            raise RecipeError(f"{path} has no column '{column}'; it has {', '.join(table.columns)}.")
    table = table.select("path", side=pl.col(partition.column).str.strip_chars())
    known = set(rows["path"]) | set(rows.select(pl.format("{}/{}", "part", "path")).to_series())
    unknown = table.filter(~pl.col("path").is_in(list(known)))["path"]
    if len(unknown):
        shown = ", ".join(f"'{one}'" for one in unknown.head(3))
        raise RecipeError(
            f"{path} names {len(unknown):,} picture(s) that are no records of the manifest: {shown}.",
            "Paths are relative to the release's folder, as in the manifest.",
        )
    if table["path"].is_duplicated().any():
        twice = table.filter(pl.col("path").is_duplicated())["path"]
        raise RecipeError(f"{path} names '{twice[0]}' more than once.")
    sides = rows.select(
        pl.col("path")
        .replace_strict(table["path"], table["side"], default=None)
        .fill_null(pl.format("{}/{}", "part", "path").replace_strict(table["path"], table["side"], default=None))
    ).to_series()
    named = sides.str.to_lowercase()
    if {"train", "test"} <= set(named.drop_nulls()):
        return [
            Fold("test", (named == "train").fill_null(False).to_numpy(), (named == "test").fill_null(False).to_numpy())
        ]
    values = sorted(set(sides.drop_nulls()))
    has = sides.is_not_null().to_numpy()
    return [Fold(value, has & ~(one := (sides == value).fill_null(False).to_numpy()), one) for value in values]
