"""Bringing five landmarks to where a template has them; what crops for training and chips for other networks share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The five points of ArcFace's 112-pixel template (Deng et al. 2019; insightface `arcface_dst`), as shares of its side:
# eyes, nose, mouth corners, left as seen in the picture first.
ARCFACE = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112
)


def similarity(landmarks: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) matrix of rotation, scale and shift that takes `landmarks` (5, 2) nearest to `target` (5, 2).

    Least squares over the five points, in closed form: with both sets about their centres, as complex numbers z and w,
    the turn and scale are sum(conj(z) w) / sum(|z|²). Points that are one have no turn: their scale is 0.
    """
    centre, goal = landmarks.mean(axis=0), target.mean(axis=0)
    z, w = (landmarks - centre) @ [1, 1j], (target - goal) @ [1, 1j]
    spread = float((np.abs(z) ** 2).sum())
    turn = complex((z.conj() * w).sum() / spread) if spread > 1e-6 else 0j
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.c_[linear, goal - linear @ centre]
