"""Releases in UTKFace's layout of a few real chips, and the curated FG-NET, made once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agebench.workflows.curate import CurateReport, curate


@pytest.fixture(scope="session")
def chips(shared: Path) -> list[Path]:
    """Paths of real face chips, spread over the ages."""
    found = sorted((shared / "utkface").glob("*.jpg"))
    return found[:: len(found) // 200][:200]


@pytest.fixture
def release(tmp_path: Path, chips: list[Path]) -> Callable[[int], Path]:
    """A folder of n chips."""

    def made(n: int) -> Path:
        folder = tmp_path / "release"
        folder.mkdir()
        for chip in chips[:n]:
            (folder / chip.name).write_bytes(chip.read_bytes())
        return folder

    return made


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """An empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    with contextlib.chdir(folder):
        yield folder


@pytest.fixture(scope="session")
def fg_net(shared: Path, detector: str, tmp_path_factory: pytest.TempPathFactory) -> CurateReport:
    """FG-NET itself, curated."""
    manifest = tmp_path_factory.mktemp("fg-net") / "fg-net.duckdb"
    return curate("fg-net", root=shared / "fg-net", manifest=manifest, detector=detector)
