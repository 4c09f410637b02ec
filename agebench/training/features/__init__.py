"""Features of faces by name: a function `feature(faces)` a file, or an entry point of the group `agebench.features`.

faces: (B, S, S, 3) uint8 RGB aligned crops, whose size is the recipe's. Returns (B, D) float32. A feature is computed
of each face alone and learns nothing: what a method fits on it stands in `agebench.training.methods`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator

from agebench import registry
from agebench.recipes import known
from agebench.training.data import Ints, Pictures, read

BATCH = 32
MIDDLE = 0.6  # of 2,500 UTKFace chips, 500 held out: SVR on HOG 9.2 years, on the whole crop 10.4
Floats = NDArray[np.float32]
FeatureName = Annotated[str, AfterValidator(partial(known, "features"))]
Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Faces:
    """Faces by row of `pictures`: face i is `pictures[rows[i]]`, (S, S, 3) uint8 RGB. rows: (N,).

    known: features of all of `pictures` that are already there, by name, (len(pictures), D). What trains on many
    subsets of the same faces (leave-one-person-out) extracts them once with `with_features`.
    """

    pictures: Pictures
    rows: Ints
    known: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Ints) -> Faces:
        """The faces at these indices, 0..N-1."""
        return Faces(self.pictures, self.rows[indices], self.known)

    def with_features(self, name: str, on_progress: Advance | None = None) -> Faces:
        """The same faces, with this feature of all of `pictures` in memory."""
        everything = Faces(self.pictures, np.arange(len(self.pictures)))
        return Faces(self.pictures, self.rows, {**self.known, name: extract(name, everything, on_progress=on_progress)})


def extract(
    name: str,
    faces: Faces,
    then: Callable[[Floats], Floats] | None = None,
    *,
    on_progress: Advance | None = None,
) -> Floats:
    """The feature of every face, (N, D); with `then`, what it makes of each batch (B, D), so that the features of many
    faces are never in memory at once. One thread a core: OpenCV and NumPy work outside of Python's lock.

    Raises UsageError where there is no feature of that name.
    """
    feature = registry.find("features", name)

    def of(start: int) -> Floats:
        rows = faces.rows[start : start + BATCH]
        batch = faces.known[name][rows] if name in faces.known else feature(read(faces.pictures, rows))
        return then(batch) if then else batch

    starts = range(0, len(faces), BATCH)
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    out: Floats = np.empty((0, 0), np.float32)
    try:
        for start, batch in zip(starts, pool.map(of, starts), strict=True):
            if start == 0:
                out = np.empty((len(faces), batch.shape[1]), np.float32)
            out[start : start + len(batch)] = batch
            if on_progress:
                on_progress(start + len(batch), len(faces))
    finally:
        pool.shutdown(cancel_futures=True)
    return out


def grey(faces: NDArray[np.uint8], size: int) -> Floats:
    """The middle of faces (B, S, S, 3) RGB as grey pictures of `size` pixels: (B, size, size) float32, 0..1.

    The middle is the square from brows to mouth, `MIDDLE` of the crop's side. What lies beyond differs between datasets
    more than between ages: chips that were cut around a face leave a black frame in their crops.
    """
    side = round(MIDDLE * faces.shape[1])
    at = (faces.shape[1] - side) // 2
    inner = np.ascontiguousarray(faces[:, at : at + side, at : at + side])
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    made = [cv2.resize(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), (size, size), interpolation=how) for face in inner]
    return np.asarray(np.asarray(made, np.float32) / 255, np.float32)
