"""The vectors of a face recognition network that is not trained further: a frozen backbone.

The network is the one that identities use (`agebench.faces.embedders`): insightface's where a pack is installed, else
dlib's of the extra `identity`. It was trained to tell people apart at any age, so it tells little of age by intent.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from agebench.faces.alignment import template
from agebench.faces.embedders import Embedder, EmbedderChoice, choose_embedder, load_embedder
from agebench.training.features import Floats

SHARED = 16  # faces, from which on processes share the work of dlib, which holds Python's lock
_own = threading.local()  # an embedder for each thread: not all of them may be shared


def _loaded() -> tuple[EmbedderChoice, Embedder]:
    if not hasattr(_own, "loaded"):
        choice = choose_embedder()
        _own.loaded = choice, load_embedder(choice)
    found: tuple[EmbedderChoice, Embedder] = _own.loaded
    return found


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, D) float32 of (B, S, S, 3) uint8 RGB aligned crops: D is 128 for dlib's network, 512 for insightface's.

    Raises Missing where there is no embedder.
    """
    if len(faces) < SHARED or _loaded()[0].kind != "dlib":
        return _vectors(faces)
    from joblib import Parallel, cpu_count, delayed

    parts = np.array_split(faces, min(cpu_count(), len(faces)))
    return np.concatenate(Parallel(n_jobs=len(parts))(delayed(_vectors)(part) for part in parts))


def _vectors(faces: NDArray[np.uint8]) -> Floats:
    landmarks, (_, embed) = template(faces.shape[1])[None], _loaded()
    return np.concatenate([embed(face, landmarks) for face in faces]).astype(np.float32)
