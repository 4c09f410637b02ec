"""Local binary patterns (LBP): what each pixel's neighbours say of its texture, counted in cells.

Source: Ojala, Pietikäinen and Mäenpää, "Multiresolution gray-scale and rotation invariant texture classification with
local binary patterns", PAMI 2002; for faces in cells, Ahonen, Hadid and Pietikäinen, PAMI 2006. Uniform patterns of
eight neighbours, which keep their orientation (58, and one for all others).

Left open there for ages, and chosen here: grey faces of 96 pixels, neighbours at radius 1 and 2, 8×8 cells, each
histogram's square root (the Hellinger kernel, which counts like these want).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.feature import local_binary_pattern

from agebench.training.features import Floats, grey

SIZE = 96
CELLS = 8
RADII = (1, 2)
NEIGHBOURS = 8
PATTERNS = NEIGHBOURS * (NEIGHBOURS - 1) + 3


def feature(faces: NDArray[np.uint8]) -> Floats:
    """Square roots of each cell's shares of patterns: (B, 7552) float32 of (B, S, S, 3) uint8 RGB."""
    pictures = (grey(faces, SIZE) * 255).round().astype(np.uint8)
    return np.stack([np.concatenate([_counts(picture, radius) for radius in RADII]) for picture in pictures])


def _counts(picture: NDArray[np.uint8], radius: int) -> Floats:
    patterns = local_binary_pattern(picture, NEIGHBOURS, radius, "nri_uniform").astype(np.int64)
    cell = np.arange(SIZE) * CELLS // SIZE
    keys = (cell[:, None] * CELLS + cell) * PATTERNS + patterns
    counts = np.bincount(keys.ravel(), minlength=CELLS * CELLS * PATTERNS)
    return np.sqrt(counts / (SIZE // CELLS) ** 2).astype(np.float32)
