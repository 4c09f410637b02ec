"""Where the test pictures are, what happens where there are none, and what several folders of tests share."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
import pytest

if TYPE_CHECKING:
    from agebench.demo.releases import DemoReleases


def _shared() -> Path | None:
    named = os.environ.get("AGEBENCH_TEST_DATA")
    candidates = [Path(named)] if named else []
    candidates.append(Path(__file__).resolve().parents[2] / "shared" / "data")
    return next((c.resolve() for c in candidates if c.is_dir()), None)


def without(what: str) -> NoReturn:
    """Skip with the reason; fail where CI is set, because there a skipped test is one that nobody misses."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} (CI is set, so this is no skip)")
    pytest.skip(what)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data; skips where neither AGEBENCH_TEST_DATA nor ../shared/data exists."""
    folder = _shared()
    if folder is None:
        without("no test pictures: set AGEBENCH_TEST_DATA, or put them in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def scrfd(shared: Path) -> Path:
    """A SCRFD detector with landmarks as ONNX."""
    file = shared.parent / "models" / "scrfd_500m_bnkps.onnx"
    if not file.is_file():
        without(f"no detector weights at {file.name} beside the test data")
    return file


@pytest.fixture(scope="session")
def chromium() -> str:
    """Debian's browser."""
    found = shutil.which("chromium")
    if found is None:
        without("no chromium, which drives the review page: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def detector() -> str:
    """yuface where it can be installed (CPython 3.11), else mtcnn."""
    return "yuface" if importlib.util.find_spec("yuface") else "mtcnn"


class Outcome(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def agebench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command line in this process: exit status, standard output, standard error."""
    from agebench.cli import main

    def run(*arguments: object, cwd: Path | None = None) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["agebench", *map(str, arguments)])
        capsys.readouterr()
        with contextlib.chdir(cwd or Path.cwd()), pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return Outcome(int(end.value.code or 0), out, err)

    return run


@pytest.fixture(scope="session")
def succeed() -> Callable[..., None]:
    """Run a command line in a folder; it must succeed."""
    from agebench.cli import main

    def run(folder: Path, *arguments: object) -> None:
        patch = pytest.MonkeyPatch()
        patch.setattr(sys, "argv", ["agebench", *map(str, arguments)])
        try:
            with contextlib.chdir(folder), pytest.raises(SystemExit) as end:
                main()
        finally:
            patch.undo()
        assert end.value.code == 0, arguments

    return run


@pytest.fixture(scope="session")
def drawn_release(tmp_path_factory: pytest.TempPathFactory) -> DemoReleases:
    """Five releases of drawn faces, which need no test pictures. Read them, and write elsewhere."""
    from agebench.demo.releases import draw_releases

    return draw_releases(tmp_path_factory.mktemp("drawn"), records=60, seed=5)


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
def fg_net(shared: Path, detector: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """FG-NET itself, curated: the CurateReport."""
    from agebench.workflows.curate import curate

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
