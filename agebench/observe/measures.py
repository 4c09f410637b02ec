"""What is measured on a decoded picture: perceptual hash, sharpness, brightness, grayscale."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

VERSION = "2"  # raise when any number below changes: observations of other versions are not reused
SHARPNESS_SIDE = 256  # pixels: pictures are reduced (never enlarged) to it, so that sharpness compares over sizes
FACE_SIDE = 96  # pixels: face boxes are resized to it
INSETS = (0.0, 0.02, 0.04, 0.06, 0.08)  # shares of the sides cut off all round before hashing, so that crops are found
# The eight lowest frequencies of the orthonormal DCT-II over 32 pixels.
DCT = np.sqrt((1 + (np.arange(8)[:, None] > 0)) / 32) * np.cos(
    np.pi / 64 * np.arange(8)[:, None] * (2 * np.arange(32) + 1)
)
DCT = DCT.astype(np.float32)
EDGE_MARGIN = 2  # gray levels: smaller steps are noise, so that a plain wall sets no bits


def measure(rgb: NDArray[np.uint8]) -> dict[str, float | int | bool | list[int]]:
    """Facts of a picture. rgb: (H, W, 3) uint8.

    phash: 64-bit perceptual hash. sharpness: variance of the Laplacian of the gray picture (0..255) at 256 pixels on
    the long side. brightness, contrast: mean and standard deviation of the gray picture, 0..255. grayscale: whether
    the picture shows no colour.
    """
    small = _reduce(rgb, SHARPNESS_SIDE)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    red, green, blue = cv2.split(small)
    colour = max(cv2.mean(cv2.absdiff(red, green))[0], cv2.mean(cv2.absdiff(green, blue))[0])
    brightness, contrast = cv2.meanStdDev(gray)
    first, *rest = inner_parts(gray)
    hashes = perceptual_hashes([first, *rest])
    return {
        "grayscale": bool(colour < 1.5),
        "phash": hashes[0],
        "inset_phash": hashes[1:],
        "edges": [word for part in (first, *rest) for word in edge_hash(part)],
        "sharpness": _laplacian_variance(gray),
        "brightness": float(brightness[0, 0]),
        "contrast": float(contrast[0, 0]),
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
    return _laplacian_variance(gray)


def _laplacian_variance(gray: NDArray[np.uint8]) -> float:
    return float(cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))[1][0, 0] ** 2)


def perceptual_hash(gray: NDArray[np.uint8]) -> int:
    """`perceptual_hashes` of one picture. gray: (H, W) uint8."""
    return perceptual_hashes([gray])[0]


def perceptual_hashes(grays: Sequence[NDArray[np.uint8]]) -> list[int]:
    """64-bit DCT hashes: which of the 64 lowest frequencies of each 32×32 picture lie above their median.

    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with the constant term left
    out of the median. grays: (H, W) uint8 each.
    """
    small = np.stack([cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA) for gray in grays]).astype(np.float32)
    low = (DCT @ small @ DCT.T).reshape(len(small), 64)
    bits = low > np.sort(low[:, 1:], axis=1)[:, 31:32]
    return [int(word) for word in np.packbits(bits, axis=1).view(">u8").ravel()]


def edge_hash(gray: NDArray[np.uint8]) -> list[int]:
    """A second hash, of 241 bits in four 64-bit words: where the picture reduced to 12×11 gets lighter.

    121 bits to the right, then 120 downwards; the rest is 0. Krawetz's difference hash (2013), in both directions and
    with a margin. gray: (H, W) uint8.
    """
    small = cv2.resize(gray, (12, 11), interpolation=cv2.INTER_AREA).astype(np.int16)
    right = small[:, 1:] - small[:, :-1] > EDGE_MARGIN
    down = small[1:] - small[:-1] > EDGE_MARGIN
    bits = np.concatenate([right.ravel(), down.ravel(), np.zeros(256 - right.size - down.size, bool)])
    return [int(word) for word in np.packbits(bits).view(">u8")]


def inner_parts(gray: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """The picture (H, W) and what is left of it inside of each of `INSETS`: near duplicates are found by hashes of all,
    `inset_phash` (4 `perceptual_hash`es, without the whole picture's) and `edges` (5 × 4 words of `edge_hash`)."""
    height, width = gray.shape
    margins = [(round(height * share), round(width * share)) for share in INSETS]
    return [gray[y : height - y, x : width - x] for y, x in margins]


def copy_hashes(gray: NDArray[np.uint8]) -> dict[str, list[int]]:
    """`inset_phash` and `edges` of a picture alone. gray: (H, W) uint8, as `measure` reduces it."""
    parts = inner_parts(gray)
    return {
        "inset_phash": perceptual_hashes(parts[1:]),
        "edges": [word for part in parts for word in edge_hash(part)],
    }


def _reduce(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    return cv2.resize(
        rgb, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
