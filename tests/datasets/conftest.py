"""Cards to read with, and `.mat` files written by scipy in the shape of the published ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from agebench.recipes import Card, load_card

Writer = Callable[..., Path]


@pytest.fixture(scope="session")
def cards() -> dict[str, Card]:
    return {name: load_card(name) for name in ("imdb-wiki", "fg-net", "morph", "cacd", "utkface")}


def touch(root: Path, *names: str) -> Path:
    """Make empty files with those names below `root`, which is returned."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def cells(values: list[Any]) -> np.ndarray:
    """A MATLAB cell array (1, n) of strings or of matrices."""
    out = np.empty((1, len(values)), dtype=object)
    for i, value in enumerate(values):
        out[0, i] = value
    return out


def wiki_fields(n: int = 3) -> dict[str, Any]:
    """The fields of a small wiki.mat of `n` records."""
    return {
        "dob": np.full((1, n), 723671, dtype=np.int32),
        "photo_taken": np.full((1, n), 2009, dtype=np.uint16),
        "full_path": cells([f"0{i % 10}/{i}_1981-05-05_2009.jpg" for i in range(n)]),
        "gender": np.ones((1, n)),
        "name": cells([f"Person {i}" for i in range(n)]),
        "face_location": cells([np.array([[11.0, 21.0, 110.0, 220.0]]) for _ in range(n)]),
        "face_score": np.full((1, n), 3.5),
        "second_face_score": np.full((1, n), np.nan),
    }


@pytest.fixture
def write_wiki(tmp_path: Path) -> Writer:
    """Write wiki_crop/wiki.mat with some fields replaced (None: left out); returns the root."""

    def write(n: int = 3, part: str = "wiki", root: Path = tmp_path, variable: str = "", **changed: Any) -> Path:
        fields = wiki_fields(n) | changed
        folder = root / f"{part}_crop"
        folder.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in fields.items() if value is not None}
        scipy.io.savemat(folder / f"{part}.mat", {variable or part: kept}, do_compression=True)
        return root

    return write
