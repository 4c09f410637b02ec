"""Writing `.mat` files in such a way that the same data give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

HEADER = b"MATLAB 5.0 MAT-file, written by agebench demo"


def save_mat(path: Path, variables: dict[str, dict[str, Any]], *, columns: bool = False) -> None:
    """Write structs as a MATLAB 5 file, without the date that scipy writes into the header.

    Vectors are rows, or columns on request.
    """
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=True, oned_as="column" if columns else "row")
    path.write_bytes(HEADER.ljust(116) + buffer.getvalue()[116:])


def cells(values: Sequence[Any]) -> np.ndarray:
    """The values as a cell array (n,)."""
    return np.fromiter(values, dtype=object, count=len(values))
