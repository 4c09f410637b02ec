"""What is measured on a decoded picture: perceptual hash, sharpness, brightness, grayscale."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

VERSION = "1"  # raise when any number below changes: observations of other versions are not reused
SHARPNESS_SIDE = 256  # pixels: pictures are reduced (never enlarged) to it, so that sharpness compares over sizes
FACE_SIDE = 96  # pixels: face boxes are resized to it


def measure(rgb: NDArray[np.uint8]) -> dict[str, float | int | bool]:
    """Facts of a picture. rgb: (H, W, 3) uint8.

    phash: 64-bit perceptual hash. sharpness: variance of the Laplacian of the gray picture (0..255) at 256 pixels on
    the long side. brightness, contrast: mean and standard deviation of the gray picture, 0..255. grayscale: whether
    the picture shows no colour.
    """
    small = _reduce(rgb, SHARPNESS_SIDE)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    channels = small.astype(np.int16)
    colour = max(np.abs(channels[..., 0] - channels[..., 1]).mean(), np.abs(channels[..., 1] - channels[..., 2]).mean())
    return {
        "grayscale": bool(colour < 1.5),
        "phash": perceptual_hash(gray),
        "sharpness": float(cv2.Laplacian(gray, cv2.CV_64F).var()),
        "brightness": float(gray.mean()),
        "contrast": float(gray.std()),
    }


def face_sharpness(rgb: NDArray[np.uint8], x: float, y: float, w: float, h: float) -> float | None:
    """Variance of the Laplacian of a face at 96 pixels on its long side (never enlarged); box in pixels of `rgb`.

    None where the box lies outside the picture.
    """
    height, width = rgb.shape[:2]
    left, top = max(0, round(x)), max(0, round(y))
    right, bottom = min(width, round(x + w)), min(height, round(y + h))
    if right - left < 3 or bottom - top < 3:
        return None
    gray = cv2.cvtColor(_reduce(rgb[top:bottom, left:right], FACE_SIDE), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def perceptual_hash(gray: NDArray[np.uint8]) -> int:
    """64-bit DCT hash: which of the 64 lowest frequencies of the 32×32 picture lie above their median.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with the constant term left
    out of the median. gray: (H, W) uint8.
    """
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:8, :8].ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def _reduce(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(
        rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
