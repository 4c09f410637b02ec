"""The vectors of a face recognition network that is not trained further: a frozen backbone.

The network is the one that identities use (`agebench.faces.embedders`): insightface's where a pack is installed, else
dlib's of the extra `identity`. It was trained to tell people apart at any age, so it tells little of age by intent.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from agebench.faces.alignment import template
from agebench.faces.embedders import Embedder, choose_embedder, load_embedder
from agebench.training.features import Floats

_own = threading.local()  # an embedder for each thread: not all of them may be shared


def _embedder() -> Embedder:
    if not hasattr(_own, "embedder"):
        _own.embedder = load_embedder(choose_embedder())
    made: Embedder = _own.embedder
    return made


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, D) float32 of (B, S, S, 3) uint8 RGB aligned crops: D is 128 for dlib's network, 512 for insightface's.

    Raises Missing where there is no embedder.
    """
    landmarks = template(faces.shape[1])[None]
    return np.concatenate([_embedder()(face, landmarks) for face in faces]).astype(np.float32)
