"""Face embeddings behind one small protocol: vectors of which two of one person lie near each other.

dlib's network is in the public domain, its wheel needs no compiler, and its weights come with the package
`face_recognition_models`, which is read as files and never imported (it needs an old setuptools). insightface's packs
are more exact and for non-commercial research; they are used where one lies on this machine.

An embedder is a module here, or an entry point of the group `agebench.embedders`, with `choose(home)`, which gives an
`EmbedderChoice` or raises Missing, and `load(choice)`, which gives an `Embedder`. With `RANK` and `available(home)` it
takes part in `auto`, the lowest rank first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from agebench import registry

POLICY = 1  # raise when a vector changes: observations of other policies are not reused


@dataclass(frozen=True)
class EmbedderChoice:
    """Which embedder, in plain data that travels to worker processes and is remembered by the manifest."""

    kind: str  # its name in the registry
    name: str  # as stored with every vector
    version: str
    weights: str
    weights_sha256: str
    same_person: float  # Euclidean distance of vectors below which two faces are taken for one person's

    def __str__(self) -> str:
        return self.name


class Embedder(Protocol):
    def __call__(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """rgb: (H, W, 3); landmarks: (F, 5, 2) in its pixels, as a detector gives them. Returns (F, D) vectors, to be
        compared by their Euclidean distance."""
        ...


def choose_embedder(kind: str = "auto", home: Path | None = None) -> EmbedderChoice:
    """The embedder of a recipe's `identities`: a name of the registry, or `auto`: insightface where a pack with a
    recognition model lies here, else dlib.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) if the extra is not installed, or no pack
    holds a recognition model, UsageError for an unknown name.
    """
    if kind == "auto":
        kind = registry.first_available("embedders", home) or "dlib"
    return cast(EmbedderChoice, registry.find("embedders", kind).choose(home))


def load_embedder(choice: EmbedderChoice) -> Embedder:
    """Set up a chosen embedder in this process. Raises Missing if its weights are gone or are others."""
    return cast(Embedder, registry.find("embedders", choice.kind).load(choice))
