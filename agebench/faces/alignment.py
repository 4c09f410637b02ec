"""Alignment of faces by five landmarks to a template: the only cropper, for stored crops and for other networks."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from agebench.recipes import Border

# The five points of ArcFace's 112-pixel template (Deng et al. 2019; insightface `arcface_dst`), as shares of its side:
# eyes, nose, mouth corners, left as seen in the picture first.
ARCFACE = (
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]) / 112
)


def similarity(landmarks: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) similarity transform that maps `landmarks` (5, 2) closest to `target` (5, 2).

    Least squares over the five points, in closed form: with both sets centred, as complex numbers z and w, rotation and
    scale are sum(conj(z) w) / sum(|z|²). If all points coincide, there is no rotation and the scale is 0.
    """
    centre, goal = landmarks.mean(axis=0), target.mean(axis=0)
    z, w = (landmarks - centre) @ [1, 1j], (target - goal) @ [1, 1j]
    spread = float((np.abs(z) ** 2).sum())
    turn = complex((z.conj() * w).sum() / spread) if spread > 1e-6 else 0j
    linear = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.c_[linear, goal - linear @ centre]


ALIGNMENT_VERSION = 2  # raise it when any crop changes: crops of other versions are made again
WHOLE_PICTURE = -1  # the face_no for a picture in which no face was found
SHRINK = 0.85  # ArcFace cuts off hairline and chin, which show age: scaled by this factor, both are inside
ZOOM_CENTRE = (0.5, 0.65)  # between nose and mouth: what stays in place when a crop is cut closer to the face


def template(size: int, zoom: float = 1.0) -> NDArray[np.float64]:
    """The positions of the five landmarks in a crop of `size` pixels: (5, 2) x, y.

    zoom: how much larger the face is than in a crop from hairline to chin, which is 1.
    """
    points = (ARCFACE - 0.5) * SHRINK + 0.5
    return ((points - ZOOM_CENTRE) * zoom + ZOOM_CENTRE) * size


def align(
    rgb: NDArray[np.uint8],
    landmarks: NDArray[np.floating],
    size: int,
    target: NDArray[np.floating] | None = None,
    border: Border = "black",
) -> NDArray[np.uint8]:
    """The aligned face: (size, size, 3) uint8. rgb: (H, W, 3); landmarks: (5, 2) in its pixels.

    target: (5, 2) where the landmarks belong, in pixels of the crop; `template(size)` by default. border: what areas
    outside the picture show, nothing (`black`) or the picture's mirror image (`mirror`).
    Raises ValueError if the five points coincide.
    """
    matrix = similarity(landmarks, template(size) if target is None else np.asarray(target, np.float64))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not np.isfinite(scale) or scale < 1e-4:
        raise ValueError("the landmarks span no area")
    return cut(rgb, matrix, size, border)


def face_crop(
    rgb: NDArray[np.uint8],
    landmarks: NDArray[np.floating] | None,
    size: int,
    target: NDArray[np.floating] | None = None,
    border: Border = "black",
) -> NDArray[np.uint8]:
    """The aligned face (see `align`), or the whole picture where there are no landmarks or they span no area:
    (size, size, 3) uint8."""
    if landmarks is not None:
        with suppress(ValueError):
            return align(rgb, landmarks, size, target, border)
    return whole_picture(rgb, size, border)


def whole_picture(rgb: NDArray[np.uint8], size: int, border: Border = "black") -> NDArray[np.uint8]:
    """The whole picture in the middle of a square, beside it what `border` says: (size, size, 3) uint8."""
    import cv2  # importing it takes 0.1 s, which a curation with nothing new to observe need not spend

    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (size - small[0]) // 2, (size - small[1]) // 2
    reduced = cv2.resize(rgb, small, interpolation=method)
    mode = cv2.BORDER_REFLECT if border == "mirror" else cv2.BORDER_CONSTANT
    edges = (top, size - small[1] - top, left, size - small[0] - left)
    return np.asarray(cv2.copyMakeBorder(reduced, *edges, mode), dtype=np.uint8)


def cut(rgb: NDArray[np.uint8], matrix: NDArray[np.floating], size: int, border: Border = "black") -> NDArray[np.uint8]:
    """The square that `matrix` (2, 3) maps to: (size, size, 3) uint8; `border` as in `align` outside the picture
    (H, W, 3).

    If it shrinks to less than half, the picture is first reduced by area averaging, so that no pixel is skipped.
    """
    import cv2

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
        ratio = np.array([width / small[0], height / small[1]])
        start = np.array([left, top]) + ratio / 2 - 0.5  # pixel coordinates are those of pixel centres
        matrix = np.c_[matrix[:, :2] * ratio, matrix[:, :2] @ start + matrix[:, 2]]
    mode = cv2.BORDER_REFLECT if border == "mirror" else cv2.BORDER_CONSTANT
    return cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=mode).astype(np.uint8)


def chips(
    rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], template: NDArray[np.floating], size: int
) -> NDArray[np.uint8]:
    """Aligned faces: (F, size, size, 3) uint8. rgb: (H, W, 3); landmarks: (F, 5, 2) in its pixels; template: (5, 2) as
    shares of the side. A face whose points coincide is black."""
    found = [cut(rgb, similarity(points, template * size), size) for points in np.asarray(landmarks, np.float64)]
    return np.stack(found) if found else np.zeros((0, size, size, 3), np.uint8)
