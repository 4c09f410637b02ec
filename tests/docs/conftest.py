"""A working directory as the pages' readers have it: IMDB-WIKI and FG-NET drawn, curated, balanced, trained for 5 steps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agebench.demo.releases import DemoReleases
from agebench.resources import shipped_folder

FEW = {"steps = 4000": "steps = 5", "batch = 64": "batch = 8", "warmup = 500": "warmup = 1"}


@pytest.fixture(scope="session")
def _reader(
    tmp_path_factory: pytest.TempPathFactory, detector: str, drawn_release: DemoReleases, succeed: Callable[..., None]
) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    for dataset in ("imdb-wiki", "fg-net"):
        shutil.copytree(drawn_release.roots[dataset], folder / "data" / dataset)
    # Recipes of a working directory take precedence, so `agebench train` as it is written takes a moment here.
    text = (shipped_folder("models") / "neighborhood-quick.toml").read_text(encoding="utf-8")
    for is_, few in FEW.items():
        text = text.replace(is_, few)
    (folder / "models").mkdir()
    for name in ("neighborhood-quick", "neighborhood-34"):
        (folder / "models" / f"{name}.toml").write_text(text.replace('"neighborhood-quick"', f'"{name}"'))
    for dataset in ("imdb-wiki", "fg-net"):
        succeed(folder, "curate", dataset, "--detector", detector, "--workers", 1)
    succeed(folder, "balance")
    succeed(folder, "train", "neighborhood-quick")
    shutil.copy(next((folder / "data" / "fg-net" / "images").glob("*.JPG")), folder / "photo.jpg")
    return folder


@pytest.fixture
def reader(_reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own for each page, as the working directory."""
    folder = tmp_path / "reader"
    shutil.copytree(_reader, folder)
    monkeypatch.chdir(folder)
    return folder
