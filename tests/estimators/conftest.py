from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agebench.demo.releases import DemoReleases


@pytest.fixture(scope="session")
def work(
    drawn_release: DemoReleases, detector: str, succeed: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with curated drawn faces: imdb-wiki for training, fg-net and morph for tests."""
    folder = tmp_path_factory.mktemp("work")
    for name in ("imdb-wiki", "fg-net", "morph"):
        succeed(folder, "curate", name, "--root", drawn_release.roots[name], "--detector", detector)
    return folder


@pytest.fixture
def onnx_file() -> Callable[..., Path]:
    """Writes an ONNX file: (N, 3, size, size) → `operator` of the mean of each channel times `matrix` (3, D)."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper

    def written(path: Path, size: int, matrix: np.ndarray, batch: str | int = "N", operator: str = "Identity") -> Path:
        nodes = [
            make.make_node("GlobalAveragePool", ["data"], ["pooled"]),
            make.make_node("Flatten", ["pooled"], ["flat"]),
            make.make_node("MatMul", ["flat", "matrix"], ["product"]),
            make.make_node(operator, ["product"], ["out"], domain="custom" if operator == "MyOwn" else ""),
        ]
        shapes = {"data": [batch, 3, size, size], "out": [batch, matrix.shape[1]]}
        data, out = (make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, s) for name, s in shapes.items())
        weights = [onnx.numpy_helper.from_array(matrix.astype(np.float32), "matrix")]
        opsets = [make.make_opsetid("", 13), make.make_opsetid("custom", 1)]
        graph = make.make_graph(nodes, "g", [data], [out], weights)
        onnx.save(make.make_model(graph, ir_version=8, opset_imports=opsets), str(path))
        return path

    return written


@pytest.fixture
def truth(work: Path) -> pl.DataFrame:
    """path and age of fg-net's records."""
    import agebench

    return agebench.Manifest(work / "manifests" / "fg-net.duckdb").records.select("path", "age")
