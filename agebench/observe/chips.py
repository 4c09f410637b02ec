"""Chips: faces brought to where a network's own training had the five landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# The five points of ArcFace's 112-pixel template (Deng et al. 2019; insightface `arcface_dst`), as shares of its side.
ARCFACE = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112
)
# dlib's mean face (`mean_face_shape_x`, `_y` of its image_transforms/interpolation.h), whose chips are cut about it:
# the means of the six points of each eye, the tip of the nose, the corners of the mouth.
DLIB_MEAN_FACE = np.array(
    [[0.225492, 0.215990], [0.754762, 0.215990], [0.490127, 0.515625], [0.254149, 0.780233], [0.726104, 0.780233]]
)


def dlib_template(padding: float) -> NDArray[np.float64]:
    """Where dlib's `get_face_chip` has our five landmarks, as shares of the chip's side: (5, 2) x, y.

    padding: what is added on every side, as a share of the mean face's own square.
    """
    return (DLIB_MEAN_FACE + padding) / (1 + 2 * padding)


def transform(landmarks: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) matrix of rotation, scale and shift that takes `landmarks` (5, 2) nearest to `target` (5, 2).

    Least squares in closed form, with points as complex numbers. Points that are one have no turn: their scale is 0.
    """
    centre, goal = landmarks.mean(axis=0), target.mean(axis=0)
    z, w = (landmarks - centre) @ [1, 1j], (target - goal) @ [1, 1j]
    spread = float((np.abs(z) ** 2).sum())
    turn = complex((z.conj() * w).sum() / spread) if spread > 1e-6 else 0j
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.c_[linear, goal - linear @ centre]


def cut(rgb: NDArray[np.uint8], matrix: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """What `matrix` (2, 3) takes into a square: (size, size, 3) uint8, black where the picture (H, W, 3) ends.

    Where it shrinks to less than half, the picture is reduced by areas first, so that no pixel is skipped.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not np.isfinite(matrix).all() or scale < 1e-4:
        return np.zeros((size, size, 3), np.uint8)
    if scale < 0.5:
        corners = np.array([[0.0, 0.0], [size, 0], [0, size], [size, size]])
        inverse = cv2.invertAffineTransform(np.asarray(matrix, np.float64))
        there = corners @ inverse[:, :2].T + inverse[:, 2]
        left, top = np.maximum(np.floor(there.min(axis=0)).astype(int), 0)
        right, bottom = np.minimum(np.ceil(there.max(axis=0)).astype(int) + 1, rgb.shape[1::-1])
        if right <= left or bottom <= top:
            return np.zeros((size, size, 3), np.uint8)
        part = rgb[top:bottom, left:right]
        height, width = part.shape[:2]
        small = (max(1, round(width * 2 * scale)), max(1, round(height * 2 * scale)))
        rgb = cv2.resize(part, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix = np.c_[
            matrix[:, :2] * [width / small[0], height / small[1]], matrix[:, :2] @ [left, top] + matrix[:, 2]
        ]
    return cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0).astype(np.uint8)


def chips(
    rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], template: NDArray[np.floating], size: int
) -> NDArray[np.uint8]:
    """Aligned faces: (F, size, size, 3) uint8. rgb: (H, W, 3); landmarks: (F, 5, 2) in its pixels; template: (5, 2) as
    shares of the side. A face whose points are one is black."""
    found = [cut(rgb, transform(points, template * size), size) for points in np.asarray(landmarks, np.float64)]
    return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)
