"""Face embeddings behind one small protocol: vectors of which two of one person lie near each other.

dlib's network is in the public domain, its wheel needs no compiler, and its weights come with the package
`face_recognition_models`, which is read as files and never imported (it needs an old setuptools). insightface's packs
are more exact and for non-commercial research; they are used where one lies on this machine.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from agebench.alignment import ARCFACE
from agebench.errors import Missing
from agebench.observe import weights
from agebench.observe.chips import chips, dlib_chips, load_predictor

Kind = Literal["dlib", "insightface"]
POLICY = 1  # raise when a vector changes: observations of other policies are not reused
DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"
DLIB_LANDMARKS = "shape_predictor_5_face_landmarks.dat"
DLIB_CHIP = 150  # pixels
DLIB_PADDING = 0.25

# Euclidean distance below which two faces are taken for one person's. dlib names 0.6 for a pair of good pictures; on
# film stills 2 in 1,000 pairs of strangers are nearer than 0.5 and 8 nearer than 0.55. insightface's vectors have
# length 1, so that distance² = 2 − 2 cosine: 1.14 is a cosine of 0.35.
SAME_PERSON: dict[Kind, float] = {"dlib": 0.525, "insightface": 1.14}


@dataclass(frozen=True)
class EmbedderChoice:
    """Which embedder, in plain data that travels to worker processes and is remembered by the manifest."""

    kind: Kind
    name: str  # as stored with every vector
    version: str
    weights: str
    weights_sha256: str

    def __str__(self) -> str:
        return self.name

    @property
    def same_person(self) -> float:
        """Euclidean distance of vectors below which two faces are taken for one person's."""
        return SAME_PERSON[self.kind]


class Embedder(Protocol):
    def __call__(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        """rgb: (H, W, 3); landmarks: (F, 5, 2) in its pixels, as a detector gives them. Returns (F, D) vectors, to be
        compared by their Euclidean distance."""
        ...


def choose_embedder(kind: Literal["auto", "dlib", "insightface"] = "auto", home: Path | None = None) -> EmbedderChoice:
    """The embedder of `--identities`: insightface where a pack with a recognition model lies there, else dlib.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) where the extra is not installed, or no pack
    holds a recognition model.
    """
    if kind == "dlib":
        return _dlib()
    file = weights.pack_file("recognition", home)
    if file is not None:
        return _insightface(file)
    if kind == "insightface":
        raise Missing(
            "No insightface pack with a recognition model lies in ~/.insightface/models.",
            "Put one there (its licence is for non-commercial research), or use dlib: "
            "`pip install 'agebench[identity]'`.",
        )
    return _dlib()


def load_embedder(choice: EmbedderChoice) -> Embedder:
    """Set up a chosen embedder in this process. Raises Missing where its weights are gone or are others."""
    path = weights.verified(choice.weights, choice.weights_sha256, "embedder")
    return _load_dlib(path) if choice.kind == "dlib" else _load_insightface(path)


# --- dlib ------------------------------------------------------------------------------------------------------


def _dlib() -> EmbedderChoice:
    extra = "`pip install 'agebench[identity]'` brings it."
    if importlib.util.find_spec("dlib") is None:
        raise Missing("Identities need face embeddings, and dlib is not installed.", extra)
    file = weights.packaged("face_recognition_models", "models", DLIB_FILE)
    if file is None:
        raise Missing(f"dlib's weights {DLIB_FILE} are not installed.", extra)
    digest = weights.sha256(file)
    return EmbedderChoice("dlib", f"dlib-{digest[:8]}-p{POLICY}", _version("dlib-bin", "dlib"), str(file), digest)


def _version(*packages: str) -> str:
    for package in packages:
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "unknown"


def _load_dlib(path: Path) -> Embedder:
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


# --- insightface: the recognition model of a pack --------------------------------------------------------------


def _insightface(file: Path) -> EmbedderChoice:
    weights.load_model(file, "recognition")  # a file that is none is told now, not by every worker
    digest = weights.sha256(file)
    version = importlib.metadata.version("insightface")
    return EmbedderChoice("insightface", f"{file.stem}-{digest[:8]}-p{POLICY}", version, str(file.resolve()), digest)


def _load_insightface(path: Path) -> Embedder:
    model = weights.load_model(path, "recognition")
    size, width = int(model.input_size[0]), int(model.output_shape[-1])

    def embed(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
        faces = chips(rgb, landmarks, ARCFACE, size)[..., ::-1]  # it takes BGR and turns it itself
        found = [model.get_feat(np.ascontiguousarray(face)).ravel() for face in faces]
        vectors = np.asarray(found, dtype=np.float32).reshape(len(faces), width)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9).astype(np.float32)

    return embed
