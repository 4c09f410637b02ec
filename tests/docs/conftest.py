"""A working directory as readers of the pages have it: drawn releases, curated, balanced, and trained for 5 steps."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import agebench
from agebench.demo.releases import DemoReleases
from agebench.resources import shipped_folder

FEW = {"steps = 5000": "steps = 5", "batch = 64": "batch = 8", "warmup = 500": "warmup = 1"}


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
    shutil.copytree(folder / "data" / "fg-net" / "images", folder / "pictures")
    names = sorted(path.name for path in (folder / "pictures").iterdir())  # 001A02.JPG: subject 001 at 2
    rows = [f"{name},{int(re.sub('[^0-9]', '', name[4:6]))},{name[:3]}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["file,age,subject", *rows]) + "\n")
    labels = agebench.Manifest(folder / "manifests" / "fg-net.duckdb").records
    labels.select("path", "age").write_csv(folder / "predictions.csv")
    shutil.copy(next((folder / "data" / "fg-net" / "images").glob("*.JPG")), folder / "photo.jpg")
    return folder


@pytest.fixture
def reader(_reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of its own for each page, as the working directory."""
    folder = tmp_path / "reader"
    shutil.copytree(_reader, folder)
    monkeypatch.chdir(folder)
    return folder
