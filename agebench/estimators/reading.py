"""Decoding the pictures of records for estimators that see more than agebench's crops."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.errors import EstimatorError
from agebench.estimators import Advance, Faces
from agebench.pictures import Locator, decode, read_bytes

T = TypeVar("T")
Box = tuple[float, float, float, float]
AHEAD = 64  # pictures that are decoded before they are asked for
YEARS = (-50.0, 200.0)  # an answer outside is no age in years: a regression may give -3, days and percentages give more

# (picture (H, W, 3) uint8 RGB, the face's x, y, w, h or None, its landmarks (5, 2) or None, in the picture's pixels)
Prepare = Callable[[NDArray[np.uint8], Box | None, NDArray[np.float64] | None], T]


def prepared(
    faces: Faces, prepare: Prepare[T], batch: int, on_progress: Advance | None = None
) -> Iterator[tuple[pl.DataFrame, list[T]]]:
    """Batches of records with what `prepare` makes of their pictures, in order; unreadable ones are left out.

    Pictures are decoded ahead in threads. A picture that changed since the manifest saw it counts as unreadable.
    """
    locator = Locator(faces.folders)
    rows = faces.records.select("part", "path", "sha256", "x", "y", "w", "h", "landmarks")

    def made(row: tuple[Any, ...]) -> T | None:
        part, path, sha256, x, y, w, h, landmarks = row
        place, _ = locator.find(part, path)
        if place is None or locator.stat(part, path)[2]:
            return None
        data, fault = read_bytes(place)
        if fault or hashlib.sha256(data).hexdigest() != sha256:
            return None
        picture, fault = decode(data, sha256=sha256)
        if picture is None:
            return None
        box: Box | None = None
        points: NDArray[np.float64] | None = None
        if landmarks is not None:
            x, y, w, h = (float(side) * picture.scale for side in (x, y, w, h))
            box, points = (x, y, w, h), np.asarray(landmarks, np.float64).reshape(5, 2) * picture.scale
        return prepare(picture.rgb, box, points)

    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = enumerate(_ahead(pool, made, rows.iter_rows(), AHEAD))
        while chunk := list(islice(answers, batch)):
            usable = [(index, one) for index, one in chunk if one is not None]
            if usable:
                yield faces.records[[index for index, _ in usable]], [one for _, one in usable]
            done += len(chunk)
            if on_progress:
                on_progress(done, len(rows))


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Any], T], values: Iterator[Any], ahead: int) -> Iterator[T]:
    """`map` in threads, at most `ahead` results before they are taken."""
    waiting = [pool.submit(function, value) for value in islice(values, ahead)]
    try:
        while waiting:
            first = waiting.pop(0)
            yield first.result()
            waiting += [pool.submit(function, value) for value in islice(values, 1)]
    finally:
        for one in waiting:
            one.cancel()


def checked_ages(found: Any, expected: int, who: str, names: Sequence[str]) -> NDArray[np.float64]:
    """An estimator's answer as ages (N,) in years.

    names: the pictures, for messages. Raises EstimatorError if it is not a number for each that can be years.
    """
    try:
        ages = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise EstimatorError(
            f"{who} gave something else than numbers for {names[0]}: {error}.", "Expected an age in years per picture."
        ) from error
    if ages.shape != (expected,):
        raise EstimatorError(
            f"{who} gave an array of shape {ages.shape} for {expected} pictures (the first is {names[0]}).",
            "Expected one age in years per picture.",
        )
    wrong = np.flatnonzero(~((ages > YEARS[0]) & (ages < YEARS[1])))
    if len(wrong):
        raise EstimatorError(
            f"{who} gave {ages[wrong[0]]} for {names[wrong[0]]} and for {len(wrong) - 1} more of {expected} pictures.",
            "Expected an age in years per picture.",
        )
    return ages
