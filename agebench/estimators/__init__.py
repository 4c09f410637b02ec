"""Estimators: whatever gives an age for a face, behind one interface.

A finished run, an ONNX file, a Python function, a file of predictions, a ready-made age model, or several together:
`find_estimator` finds them by name. What evaluates estimators, or compares claimed ages with their estimates, needs no
more than `Estimator`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.recipes import TableRow
from agebench.remote import Folder

Advance = Callable[[int, int], None]
Ages = NDArray[np.float64]


@dataclass(frozen=True)
class Faces:
    """What an estimator is asked: records of one dataset, and the face that each record means.

    Attributes:
        records: part, path, sha256, face_no, x, y, w, h (the face's box) and landmarks, in pixels of the picture. They
            are NULL if no face was found: the whole picture is meant.
        folders: Where the parts' pictures are.
        dataset: Name of the card.
        detector: The detector that found the faces; None if none was used.
        workers: Processes for cropping; one per core by default.
    """

    records: pl.DataFrame
    folders: Mapping[str, Folder]
    dataset: str
    detector: str | None
    workers: int | None = None


@dataclass(frozen=True)
class Estimates:
    """An estimator's answers.

    Attributes:
        records: The records that were estimated, in the order of those asked for.
        ages: (N,) years.
        probabilities: (N, 100) of the ages 0 to 99; None if the estimator gives none.
        spreads: (N,) standard deviation in years that the estimator states; NaN if it states none.
    """

    records: pl.DataFrame
    ages: Ages
    probabilities: NDArray[np.float32] | None
    spreads: Ages


@dataclass(frozen=True)
class Training:
    """What is known of an estimator's training.

    Attributes:
        known: Whether it is known at all; nothing else is if not.
        dataset: Name of the training set's card.
        detector: The detector whose faces it was trained on.
        records: The records that it was trained on (see `bench.leakage`); None if unknown.
        manifests: Where these were read from.
    """

    known: bool
    dataset: str | None = None
    detector: str | None = None
    records: pl.DataFrame | None = field(default=None, repr=False)
    manifests: tuple[Path, ...] = ()


def believed_training(told: str | None) -> str:
    """What an estimator that was not trained here was trained on, from its recipe's `trained_on`, for a sentence."""
    return f"as far as is known, trained on {told.rstrip('.')}" if told else "what it was trained on is not known"


class Estimator(Protocol):
    """Something that estimates ages.

    Attributes:
        id: Under which its evaluations are kept; that of an estimator that would estimate otherwise is another.
        recipe: Its row in the tables.
        crops: Whether it takes faces cropped by agebench, so that the detector matters.
        called: What `find_estimator` finds it by.
    """

    @property
    def id(self) -> str: ...

    @property
    def recipe(self) -> TableRow: ...

    @property
    def crops(self) -> bool: ...

    @property
    def called(self) -> str: ...

    def training(self) -> Training:
        """What it was trained on. Raises RunError if a run's records cannot be read."""
        ...

    def facts(self) -> dict[str, Any]:
        """Everything that its estimates depend on, as JSON: its recipe, and the SHA-256 of its files by path."""
        ...

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        """Ages of faces; records whose picture cannot be read are left out.

        on_crops, on_predict: called with faces done and all of them.
        Raises EstimatorError if it fails or gives something else than an age in years for every face.
        """
        ...
