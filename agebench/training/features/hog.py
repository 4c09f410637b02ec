"""Histograms of oriented gradients (HOG): the directions of edges, weighed by their strength, in cells.

Source: Dalal and Triggs, "Histograms of oriented gradients for human detection", CVPR 2005: nine unsigned directions,
cells of 8 pixels, blocks of 2×2 cells normalised with L2-Hys.

Left open there for ages, and chosen here: grey faces of 96 pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog

from agebench.training.features import Floats, grey

SIZE = 96


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, 4356) float32 of (B, S, S, 3) uint8 RGB."""
    made = [hog(face, orientations=9, pixels_per_cell=(8, 8), cells_per_block=(2, 2)) for face in grey(faces, SIZE)]
    return np.asarray(made, np.float32)
