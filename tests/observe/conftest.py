"""Releases in UTKFace's layout of a few real chips, and the curated FG-NET, made once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
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


@pytest.fixture
def fake_pack(tmp_path: Path) -> Callable[..., Path]:
    """Writes an ONNX file of a published shape into a pack of the home `tmp_path`, for what cannot be had here."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper

    def network(pack: str, file: str, size: int, matrix: np.ndarray) -> Path:
        """(N, 3, size, size) → the mean of each channel times `matrix` (3, D); the file."""
        nodes = [
            make.make_node("GlobalAveragePool", ["data"], ["pooled"]),
            make.make_node("Flatten", ["pooled"], ["flat"]),
            make.make_node("MatMul", ["flat", "matrix"], ["out"]),
        ]
        shapes = {"data": ["N", 3, size, size], "out": ["N", matrix.shape[1]]}
        data, out = (make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, s) for name, s in shapes.items())
        weights = [onnx.numpy_helper.from_array(matrix.astype(np.float32), "matrix")]
        graph = make.make_graph(nodes, "g", [data], [out], weights)
        path = tmp_path / ".insightface" / "models" / pack / file
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(make.make_model(graph, ir_version=8, opset_imports=[make.make_opsetid("", 13)]), str(path))
        return path

    return network
