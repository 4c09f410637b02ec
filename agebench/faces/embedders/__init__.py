"""Face embeddings behind one small protocol: vectors that are close for two faces of one person.

dlib's network is in the public domain, its wheel needs no compiler, and its weights are in the package
`face_recognition_models`, which is read as files and never imported (it needs an old setuptools). insightface's packs
are more accurate but for non-commercial research only; an installed pack takes precedence.

An embedder is a module here, or an entry point of the group `agebench.embedders`, with `choose(home)`, which returns an
`EmbedderChoice` or raises Missing, and `load(choice)`, which returns an `Embedder`. If it has `RANK` and
`available(home)`, `auto` considers it, lowest rank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agebench import registry

POLICY = 1  # raise it when a vector changes: observations of other policies are not reused


@dataclass(frozen=True)
class EmbedderChoice:
    """A chosen embedder, as plain data that is sent to worker processes and stored in the manifest."""

    kind: str  # its name in the registry
    name: str  # as stored with every vector
    version: str
    weights: str
    weights_sha256: str
    same_person: float  # Euclidean distance below which two faces count as one person's

    def __str__(self) -> str:
        return self.name


class Embedder(Protocol):
    def __call__(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """rgb: (H, W, 3); landmarks: (F, 5, 2) in its pixels, as a detector returns them. Returns (F, D) vectors, to be
        compared by Euclidean distance."""
        ...


def choose_embedder(kind: str = "auto", home: Path | None = None) -> EmbedderChoice:
    """The embedder that a recipe names as `identities`: a name in the registry, or `auto`: insightface if there is a
    pack with a recognition model, else dlib.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) if the extra is not installed, or no pack
    has a recognition model, UsageError for an unknown name.
    """
    if kind == "auto":
        kind = registry.first_available("embedders", home) or "dlib"
    return cast(EmbedderChoice, registry.find("embedders", kind).choose(home))


def load_embedder(choice: EmbedderChoice) -> Embedder:
    """Set up a chosen embedder in this process. Raises Missing if its weights are gone or have changed."""
    return cast(Embedder, registry.find("embedders", choice.kind).load(choice))
