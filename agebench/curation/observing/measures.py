"""Measures of a decoded picture: perceptual hash, sharpness, brightness, grayscale."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "2"  # raise it when any number below changes: observations of other versions are not reused
SHARPNESS_SIDE = 256  # pixels: larger pictures are reduced to this size, so that sharpness is comparable across sizes
FACE_SIDE = 96  # pixels: face boxes are resized to it
INSETS = (0.0, 0.02, 0.04, 0.06, 0.08)  # shares of the sides that are cut off before hashing, so that crops are found


# The eight lowest frequencies of the orthonormal DCT-II over 32 pixels.
DCT = np.sqrt((1 + (np.arange(8)[:, None] > 0)) / 32) * np.cos(
    np.pi / 64 * np.arange(8)[:, None] * (2 * np.arange(32) + 1)
)
DCT = DCT.astype(np.float32)
EDGE_MARGIN = 2  # gray levels: smaller steps count as noise, so that a plain wall sets no bits


def measure(rgb: NDArray[np.uint8]) -> dict[str, float | int | bool | list[int]]:
    """Facts of a picture. rgb: (H, W, 3) uint8.

    phash: 64-bit perceptual hash. sharpness: variance of the Laplacian of the gray picture (0..255) at 256 pixels on
    the long side. brightness, contrast: mean and standard deviation of the gray picture, 0..255. grayscale: whether
    the picture shows no colour.
    """
    import cv2  # importing it takes 0.1 s, which a curation with nothing new to observe need not spend

    small = _reduce(rgb, SHARPNESS_SIDE)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    red, green, blue = cv2.split(small)
    colour = max(cv2.mean(cv2.absdiff(red, green))[0], cv2.mean(cv2.absdiff(green, blue))[0])
    brightness, contrast = cv2.meanStdDev(gray)
    hashes, edges = copy_hashes(gray)
    return {
        "grayscale": bool(colour < 1.5),
        "phash": hashes[0],
        "inset_phash": hashes[1:],
        "edges": edges,
        "sharpness": _laplacian_variance(gray),
        "brightness": float(brightness[0, 0]),
        "contrast": float(contrast[0, 0]),
    }


def face_sharpness(rgb: NDArray[np.uint8], x: float, y: float, w: float, h: float) -> float | None:
    """Variance of the Laplacian of a face at 96 pixels on its long side (never enlarged); box in pixels of `rgb`.

    None if the box lies outside the picture.
    """
    import cv2

    height, width = rgb.shape[:2]
    left, top = max(0, round(x)), max(0, round(y))
    right, bottom = min(width, round(x + w)), min(height, round(y + h))
    if right - left < 3 or bottom - top < 3:
        return None
    gray = cv2.cvtColor(
        rgb[top:bottom, left:right], cv2.COLOR_RGB2GRAY
    )  # cropped before it is reduced: takes half the time
    return _laplacian_variance(_reduce(gray.astype(np.uint8), FACE_SIDE))


def _laplacian_variance(gray: NDArray[Any]) -> float:
    import cv2

    return float(cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))[1][0, 0] ** 2)


def perceptual_hash(gray: NDArray[np.uint8]) -> int:
    """The `phash` of a picture alone. gray: (H, W) uint8."""
    return copy_hashes(gray)[0][0]


def copy_hashes(gray: NDArray[np.uint8]) -> tuple[list[int], list[int]]:
    """The hashes by which near duplicates are found and confirmed, of the picture and of its inside at each of
    `INSETS`.

    (5 perceptual hashes, 5 × 4 words of edge hashes), the whole picture's first. gray: (H, W) uint8.

    A perceptual hash has 64 bits: which of the 64 lowest frequencies of the 32×32 picture lie above their median;
    Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), with the constant term left out
    of the median. An edge hash has 241 bits: where the picture, reduced to 12×11, gets lighter to the right (121 bits)
    and downwards (120); the other bits are 0; Krawetz's difference hash (2013), in both directions and with a margin.
    """
    values = gray.astype(np.float32)
    low = DCT @ _reduced(values, 32, 32) @ DCT.T
    low = low.reshape(len(low), 64)
    hashes = np.packbits(low > np.sort(low[:, 1:], axis=1)[:, 31:32], axis=1).view(">u8")
    small = _reduced(values, 11, 12)
    edges = np.zeros((len(small), 256), bool)
    edges[:, :121] = (small[:, :, 1:] - small[:, :, :-1] > EDGE_MARGIN).reshape(-1, 121)
    edges[:, 121:241] = (small[:, 1:] - small[:, :-1] > EDGE_MARGIN).reshape(-1, 120)
    return hashes.ravel().tolist(), np.packbits(edges, axis=1).view(">u8").ravel().tolist()


def _reduced(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Area means of the picture (H, W) inside each of `INSETS`, in whole gray levels: (5, height, width)."""
    rows = (_areas(values.shape[0], height) @ values).reshape(len(INSETS), height, -1)
    columns = _areas(values.shape[1], width).reshape(len(INSETS), width, -1)
    return np.rint(rows @ columns.transpose(0, 2, 1))


@lru_cache(maxsize=1024)
def _areas(n: int, parts: int) -> NDArray[np.float32]:
    """What each of `n` pixels in a row contributes to the means of `parts` equal areas, inside each of `INSETS`:
    (5 × parts, n), rows sum to 1."""
    found = []
    for share in INSETS:
        margin = round(n * share)
        edges = np.linspace(margin, n - margin, parts + 1)[:, None]
        inside = np.clip(edges - np.arange(n), 0, 1)  # the share of each pixel before each edge
        found.append(np.diff(inside, axis=0) * (parts / (n - 2 * margin)))
    return np.concatenate(found).astype(np.float32)


def _reduce(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    import cv2

    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    return cv2.resize(
        picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA
    ).astype(np.uint8)
