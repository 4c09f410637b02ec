"""dlib's face recognition network, in the public domain."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces import weights
from agebench.faces.dlib_chips import dlib_chips, load_predictor
from agebench.faces.embedders import POLICY, Embedder, EmbedderChoice
from agebench.files import file_hash

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"
DLIB_LANDMARKS = "shape_predictor_5_face_landmarks.dat"
DLIB_CHIP = 150  # pixels
DLIB_PADDING = 0.25


# dlib recommends 0.6 for good pictures; on film stills, 2 in 1,000 pairs of strangers are nearer than 0.5, and 8 in
# 1,000 nearer than 0.55.
SAME_PERSON = 0.525
RANK = 20


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it."""
    return True


def choose(home: Path | None) -> EmbedderChoice:
    extra = "`pip install 'agebench[identity]'` brings it."
    if importlib.util.find_spec("dlib") is None:
        raise Missing("Identities need face embeddings, and dlib is not installed.", extra)
    file = weights.packaged("face_recognition_models", "models", DLIB_FILE)
    if file is None:
        raise Missing(f"dlib's weights {DLIB_FILE} are not installed.", extra)
    digest = file_hash(file)
    name, version = f"dlib-{digest[:8]}-p{POLICY}", _version("dlib-bin", "dlib")
    return EmbedderChoice("dlib", name, version, str(file), digest, SAME_PERSON)


def _version(*packages: str) -> str:
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def load(choice: EmbedderChoice) -> Embedder:
    path = weights.verified(choice.weights, choice.weights_sha256, "embedder")
    try:
        import dlib
    except ImportError as error:
        raise Missing(f"dlib cannot be loaded: {error}.", "`pip install 'agebench[identity]'` brings it.") from error
    try:
        network = dlib.face_recognition_model_v1(str(path))
        predictor = load_predictor(path.with_name(DLIB_LANDMARKS))
    except RuntimeError as error:
        raise Missing(f"{path} cannot be loaded as dlib's face recognition model: {error}.") from error

    def embed(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        faces = dlib_chips(predictor, rgb, landmarks, DLIB_CHIP, DLIB_PADDING)
        if len(faces) == 0:
            return np.zeros((0, 128), np.float32)
        return np.asarray(network.compute_face_descriptor(list(faces)), dtype=np.float32)

    return embed
