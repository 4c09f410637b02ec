"""A working directory in which the whole main job was done once, on drawn releases, with the commands themselves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agebench.demo.releases import draw_releases


@pytest.fixture(scope="session")
def _workshop(tmp_path_factory: pytest.TempPathFactory, detector: str, succeed: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("workshop")
    draw_releases(folder, records=60, seed=5)
    for dataset in ("imdb-wiki", "fg-net", "morph", "cacd"):
        succeed(folder, "curate", dataset, "--detector", detector, "--workers", 1)
    succeed(folder, "balance", "--per-class", 2)
    succeed(folder, "train", "neighborhood-quick", "--set", "train.steps=5", "--set", "train.batch=8",
            "--set", "train.warmup=1")  # fmt: skip
    shutil.copy(next((folder / "data" / "fg-net" / "images").glob("*.JPG")), folder / "photo.jpg")
    return folder


@pytest.fixture
def workshop(_workshop: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test."""
    folder = tmp_path / "workshop"
    shutil.copytree(_workshop, folder)
    return folder


@pytest.fixture
def run_id(workshop: Path) -> str:
    return next(p.name for p in (workshop / "runs").iterdir())
