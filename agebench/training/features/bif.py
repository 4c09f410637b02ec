"""Bio-inspired features (BIF): Gabor filters at 16 scales, pooled over pairs of scales and over cells.

Source: Guo, Mu, Fu and Huang, "Human age estimation using bio-inspired features", CVPR 2009. Their table gives the
size, sigma and wavelength of each filter and the cell of each band, and they use grey faces of 60 pixels. S1: the
faces filtered. C1: the larger of two neighbouring scales at each pixel (MAX), then the standard deviation in each
cell (STD); cells overlap by half.

Left open there, and chosen here: eight orientations (they try 4 to 12); only the real part of a filter, made free of
its mean so that brightness does not count, and of norm 1 so that the scales weigh alike; each face's features of norm
1, so that its contrast does not count; only cells that lie whole in the picture; the picture mirrored at its border.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agebench.training.features import Floats, grey

SIZE = 60
ORIENTATIONS = 8
GAMMA = 0.3  # the filters' aspect ratio
# Of each band: the side of its cells, and of its two filters the side, sigma and wavelength, all in pixels.
BANDS = [
    (6, (5, 2.0, 2.5), (7, 2.8, 3.5)),
    (8, (9, 3.6, 4.6), (11, 4.5, 5.6)),
    (10, (13, 5.4, 6.8), (15, 6.3, 7.9)),
    (12, (17, 7.3, 9.1), (19, 8.2, 10.3)),
    (14, (21, 9.2, 11.5), (23, 10.2, 12.7)),
    (16, (25, 11.3, 14.1), (27, 12.3, 15.4)),
    (18, (29, 13.4, 16.8), (31, 14.6, 18.2)),
    (20, (33, 15.8, 19.7), (35, 17.0, 21.2)),
]


@cache
def filters() -> list[tuple[int, Floats, Floats]]:
    """(side of the cells, first filter, second filter) of every band and orientation."""

    def gabor(orientation: int, side: int, sigma: float, wavelength: float) -> Floats:
        angle = np.pi * orientation / ORIENTATIONS
        kernel = cv2.getGaborKernel((side, side), sigma, angle, wavelength, GAMMA, 0, cv2.CV_32F)
        kernel -= kernel.mean()
        return np.asarray(kernel / np.linalg.norm(kernel), np.float32)

    return [(cell, gabor(n, *first), gabor(n, *second)) for cell, first, second in BANDS for n in range(ORIENTATIONS)]


def pool(first: NDArray[Any], second: NDArray[Any], cell: int) -> Floats:
    """C1 of one band and orientation: the standard deviation of the larger response in every cell, flat.

    first, second: responses (H, W) at the two scales; cell: the side of the cells in pixels, which overlap by half.
    """
    total, squares = cv2.integral2(np.maximum(first, second), sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)

    def mean(sums: NDArray[Any]) -> NDArray[np.float64]:
        inside = sums[cell:, cell:] - sums[:-cell, cell:] - sums[cell:, :-cell] + sums[:-cell, :-cell]
        return np.asarray(inside[:: cell // 2, :: cell // 2] / cell**2)

    variance = mean(np.asarray(squares)) - mean(np.asarray(total)) ** 2
    return np.sqrt(np.maximum(variance, 0)).astype(np.float32).ravel()


def feature(faces: NDArray[np.uint8]) -> Floats:
    """C1 of all bands and orientations: (B, 7152) float32 of (B, S, S, 3) uint8 RGB."""
    made = []
    for face in grey(faces, SIZE):
        responses = (
            (cell, cv2.filter2D(face, cv2.CV_32F, first), cv2.filter2D(face, cv2.CV_32F, second))
            for cell, first, second in filters()
        )
        made.append(np.concatenate([pool(first, second, cell) for cell, first, second in responses]))
    features = np.stack(made)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
