"""insightface: the recognition model of a pack."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces import weights
from agebench.faces.alignment import ARCFACE, chips
from agebench.faces.embedders import POLICY, Embedder, EmbedderChoice
from agebench.files import file_hash

SAME_PERSON = 1.14  # vectors have length 1, so distance² = 2 − 2 cosine; this is a cosine of 0.35
RANK = 10


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it: there is a pack with a recognition model on this machine."""
    return weights.pack_file("recognition", home) is not None


def choose(home: Path | None) -> EmbedderChoice:
    file = weights.pack_file("recognition", home)
    if file is None:
        raise Missing(
            "There is no insightface pack with a recognition model in ~/.insightface/models.",
            "Put one there (its licence is for non-commercial research), or use dlib: "
            "`pip install 'agebench[identity]'`.",
        )
    weights.load_model(file, "recognition")  # a file that is not a model is reported now, not by every worker
    digest = file_hash(file)
    version = importlib.metadata.version("insightface")
    name = f"{file.stem}-{digest[:8]}-p{POLICY}"
    return EmbedderChoice("insightface", name, version, str(file.resolve()), digest, SAME_PERSON)


def load(choice: EmbedderChoice) -> Embedder:
    path = weights.verified(choice.weights, choice.weights_sha256, "embedder")
    model = weights.load_model(path, "recognition")
    size, width = int(model.input_size[0]), int(model.output_shape[-1])

    def embed(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        faces = chips(rgb, landmarks, ARCFACE, size)[..., ::-1]  # it takes BGR and converts it itself
        found = [model.get_feat(np.ascontiguousarray(face)).ravel() for face in faces]
        vectors = np.asarray(found, dtype=np.float32).reshape(len(faces), width)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9).astype(np.float32)

    return embed
