"""Writing pictures and `.mat` files so that the same data give the same bytes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import scipy.io
from numpy.typing import NDArray

MAT_HEADER = b"MATLAB 5.0 MAT-file, written by agebench demo"


def encoded(pixels: NDArray[np.uint8], ending: str = ".jpg", quality: int = 90) -> bytes:
    """An RGB picture (H, W, 3) as JPEG or PNG bytes."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
    return bytes(cv2.imencode(ending, np.ascontiguousarray(pixels[:, :, ::-1]), flags)[1])


def save_jpeg(path: Path, pixels: NDArray[np.uint8], rng: np.random.Generator) -> None:
    """Write an RGB picture as JPEG of a quality at random."""
    path.write_bytes(encoded(pixels, quality=int(rng.integers(72, 97))))


def save_mat(path: Path, variables: dict[str, dict[str, Any]]) -> None:
    """Write structs as a MATLAB 5 file, without the date that scipy puts into the header."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True)
    content = buffer.getvalue()
    path.write_bytes(MAT_HEADER.ljust(116) + content[116:])


def cells(values: list[Any]) -> np.ndarray:
    """A cell array (1, n)."""
    out = np.empty((1, len(values)), dtype=object)
    for i, value in enumerate(values):
        out[0, i] = value
    return out


def column(values: pl.Series, kind: str) -> np.ndarray:
    """A column vector (n, 1)."""
    return values.to_numpy().astype(kind)[:, None]
