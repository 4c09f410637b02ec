"""Small pictures in memory and a model recipe small enough to train in a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from agebench.recipes import NetworkRecipe
from agebench.training.data import TrainingData
from agebench.training.splits import validation_split

TINY: dict[str, Any] = {
    "name": "tiny",
    "title": "for tests",
    "label": "Tiny",
    "tables": [],
    "network": {"blocks": [1, 1], "widths": [8, 16]},
    "crop": {"size": 32, "encoding": "raw"},
    "loss": {"name": "neighborhood"},
    "augment": {"flip": True, "crop": 0.1, "colour": 0.1},
    "train": {
        "steps": 12,
        "batch": 8,
        "optimiser": "adamw",
        "rate": 3e-3,
        "average": 0.9,
        "validation": 0.25,
        "validate_every": 5,
        "checkpoint_every": 5,
    },
}


def tiny(**train: Any) -> NetworkRecipe:
    return NetworkRecipe.model_validate(TINY | {"train": TINY["train"] | train})


def without_normalisation(**train: Any) -> NetworkRecipe:
    """A recipe whose steps do not depend on which pictures share a part of a batch, with the loss of each step in its
    log: no batch normalisation, no dropout, no augmentation."""
    network = {"name": "levi-hassner", "stride": 1, "width": 0.1, "dropout": 0.0}
    how = {"steps": 20, "optimiser": "sgd", "rate": 1e-3, "average": 0.0, "validation": 0.0, "checkpoint_every": 1}
    tables = {"network": network, "augment": {"flip": False}, "train": TINY["train"] | how | train}
    tables["loss"] = {"name": "neighborhood", "normalised": True}
    return NetworkRecipe.model_validate(TINY | tables)


class InMemory:
    """Pictures whose brightness tells the age."""

    def __init__(self, ages: np.ndarray, size: int = 32) -> None:
        noise = np.random.default_rng(0).integers(0, 60, (len(ages), size, size, 3))
        self.pictures = (noise + 1.9 * ages.reshape(-1, 1, 1, 1)).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.pictures[row]


class InMemoryMany(InMemory):
    def read_many(self, rows: np.ndarray) -> np.ndarray:
        return self.pictures[rows]


def records_of(ages: np.ndarray, per_group: int = 2, seed: int = 0) -> pl.DataFrame:
    numbers = range(len(ages))
    records = pl.DataFrame(
        {
            "part": ["p"] * len(ages),
            "path": [f"{n}.jpg" for n in numbers],
            "sha256": [f"{n:064x}" for n in numbers],
            "age": ages,
            "group_id": [n // per_group for n in numbers],
            "photograph_id": list(numbers),
            "copies": [1] * len(ages),
        }
    )
    return records.with_columns(validation_split(records, TINY["train"]["validation"], seed))


def data_of(count: int = 40, seed: int = 0, kind: type[InMemory] = InMemoryMany, size: int = 32) -> TrainingData:
    ages = np.random.default_rng(seed).integers(0, 100, count)
    return TrainingData.from_records(kind(ages, size), np.arange(count), records_of(ages, seed=seed))


@pytest.fixture
def data() -> TrainingData:
    return data_of()
