"""Alignment: the similarity transform that takes five landmarks to where the template has them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from agebench.alignment import ARCFACE, similarity

ALIGNMENT_VERSION = 1  # raise when any crop changes: crops of other versions are made again
WHOLE_PICTURE = -1  # the face_no of a picture in which no face was found

SHRINK = 0.85  # ArcFace cuts hairline and chin off, and they tell age: drawn in so far, both are inside


def template(size: int) -> NDArray[np.float64]:
    """Where the five landmarks lie in a crop of `size` pixels: (5, 2) x, y."""
    return ((ARCFACE - 0.5) * SHRINK + 0.5) * size


def align(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """The aligned face: (size, size, 3) uint8. rgb: (H, W, 3); landmarks: (5, 2) in its pixels.

    What lies outside the picture is black. Raises ValueError where the five points are one.
    """
    matrix = similarity(landmarks, template(size))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if not np.isfinite(scale) or scale < 1e-4:
        raise ValueError("the landmarks span no area")
    if scale < 0.5:  # linear interpolation would skip pixels: reduce by areas first
        height, width = rgb.shape[:2]
        small = (max(1, round(width * 2 * scale)), max(1, round(height * 2 * scale)))
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA).astype(np.uint8)
        matrix = similarity(landmarks * [small[0] / width, small[1] / height], template(size))
    return cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=0).astype(np.uint8)


def face_crop(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating], size: int) -> NDArray[np.uint8]:
    """The aligned face, or the whole picture where the landmarks span no area: (size, size, 3) uint8."""
    try:
        return align(rgb, landmarks, size)
    except ValueError:
        return whole_picture(rgb, size)


def whole_picture(rgb: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The whole picture in the middle of a black square: (size, size, 3) uint8."""
    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    small = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size, size, 3), np.uint8)
    left, top = (size - small[0]) // 2, (size - small[1]) // 2
    canvas[top : top + small[1], left : left + small[0]] = cv2.resize(rgb, small, interpolation=method)
    return canvas
