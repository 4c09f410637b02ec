"""`--engine ray` gives the rows of the local engine, whatever becomes of its workers. Needs the extra `ray`."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image

from agebench.curation.observing.engine import Progress, observe
from agebench.curation.observing.observers import File, Observers
from agebench.curation.observing.parts import parts_folder
from agebench.curation.observing.ray_engine import observe_on_ray
from agebench.demo.releases import draw_releases
from agebench.errors import Interrupted, Missing
from agebench.faces.detectors import DetectorChoice, choose_detector
from agebench.manifest.store import open_manifest, query
from agebench.workflows.curate import curate

from .conftest import judged, same

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'agebench[ray]'")
pytestmark = pytest.mark.slow
RECORDS = 120
TRAP = """
import multiprocessing, os, pathlib, signal

class Trap(type(pathlib.Path())):
    '''A folder that ends the process in which a picture of it is looked at, as a decoder that segfaults does.'''
    def __fspath__(self):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGSEGV)
        return str(self)
"""


def rows(path: Path) -> dict[str, pl.DataFrame]:
    """Everything of a manifest that must not depend on the engine."""
    with open_manifest(path) as con:
        observed = {
            "content": query(con, "SELECT * FROM content ORDER BY part, path"),
            "observed": query(con, "SELECT * FROM observed ORDER BY sha256, observer"),
        }
    return judged(path) | observed


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Drawn releases in the published layouts, with the faults that IMDB-WIKI has."""
    return draw_releases(tmp_path_factory.mktemp("drawn"), records=RECORDS, seed=3).roots


@pytest.fixture(scope="module")
def local(drawn: dict[str, Path], detector: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    """The rows of the drawn IMDB-WIKI by the local engine."""
    path = tmp_path_factory.mktemp("local") / "a.duckdb"
    curate("imdb-wiki", root=drawn["imdb-wiki"], manifest=path, detector=detector, estimators=[], workers=2)
    return rows(path)


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The module TRAP, which workers can import too."""
    folder = tmp_path_factory.mktemp("trap")
    (folder / "agebench_trap.py").write_text(TRAP)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield importlib.import_module("agebench_trap")
    del sys.modules["agebench_trap"]


@pytest.fixture(scope="module")
def joined(trap: ModuleType) -> Iterator[None]:
    """A Ray that this process has joined, so that not every test starts one."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=2**28)
    yield
    ray.shutdown()


@pytest.fixture
def on_ray(
    joined: None, drawn: dict[str, Path], detector: str, tmp_path: Path
) -> Callable[..., dict[str, pl.DataFrame]]:
    def run(**more: object) -> dict[str, pl.DataFrame]:
        path = tmp_path / "ray.duckdb"
        report = curate(
            "imdb-wiki", manifest=path, detector=detector, estimators=[], engine="ray", workers=2,
            **{"root": drawn["imdb-wiki"], **more},  # type: ignore[arg-type]
        )  # fmt: skip
        assert report.observed + report.reused == report.records == RECORDS
        assert not parts_folder(path).exists()
        return rows(path)

    return run


def actors(of: int) -> list[int]:
    """The processes of Ray's actors among a process's offspring."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("finds processes in /proc")
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_text()
        except (ValueError, OSError):
            continue
    ours = {of}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return [pid for pid in ours if names.get(pid, "").startswith("ray::MapWorker")]


# --- the same rows ---------------------------------------------------------------------------------------------


def test_the_command_on_a_ray_of_its_own_gives_the_local_engines_rows_though_its_actors_are_killed(
    drawn: dict[str, Path], local: dict[str, pl.DataFrame], detector: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.duckdb"
    arguments = ["curate", "imdb-wiki", "--root", drawn["imdb-wiki"], "--manifest", path, "--detector", detector]
    arguments += ["--estimator", "none", "--engine", "ray", "--workers", 2, "--json"]
    run = subprocess.Popen(
        [sys.executable, "-c", "from agebench.cli import main; main()", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    )  # fmt: skip
    while run.poll() is None and sum(p.stat().st_size for p in parts_folder(path).glob("*.arrows")) < 10_000:
        time.sleep(0.02)
    killed = actors(run.pid)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    out, err = run.communicate(timeout=600)
    assert run.returncode == 0, err
    assert killed
    assert json.loads(out)["observed"] == RECORDS
    assert "Traceback" not in err
    assert same(local, rows(path))


def test_rows_are_the_local_engines(on_ray: Callable, local: dict[str, pl.DataFrame]) -> None:
    assert same(local, on_ray())


def test_rows_of_a_release_at_a_url_are_those_of_its_folder(
    on_ray: Callable, drawn: dict[str, Path], local: dict[str, pl.DataFrame]
) -> None:
    def alike(found: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
        """Without what differs by intent: a file's place, and its time, which fsspec tells less exactly."""
        return {**found, "content": found["content"].drop("mtime"), "curated": found["curated"].drop("file")}

    assert same(alike(local), alike(on_ray(root=f"local://{drawn['imdb-wiki']}")))


def test_a_killed_actor_costs_nothing(on_ray: Callable, local: dict[str, pl.DataFrame]) -> None:
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if not killed:
            killed.extend(actors(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    found = on_ray(on_progress=kill)
    assert len(killed) == 2
    assert same(local, found)


def test_ctrl_c_keeps_what_was_observed_and_the_next_run_goes_on(
    on_ray: Callable, local: dict[str, pl.DataFrame]
) -> None:
    def stop(progress: Progress) -> None:
        if progress.done >= 40:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match=r"Stopped after \d+ of 120 pictures; what was observed is kept"):
        on_ray(on_progress=stop)
    seen: list[Progress] = []
    assert same(local, on_ray(on_progress=seen.append))
    assert 0 < seen[-1].total < RECORDS - 30


# --- what workers cannot do ------------------------------------------------------------------------------------


def frame(names: list[tuple[str, str]]) -> pl.DataFrame:
    schema = {"bytes": pl.Int64, "mtime": pl.Int64, "fault": pl.Utf8, "sha256": pl.Utf8, "todo": pl.List(pl.Utf8)}
    files = [File(part, path, 1, 1) for part, path in names]
    return pl.DataFrame(files, schema=list(File._fields), schema_overrides=schema, orient="row")


def test_a_picture_that_ends_the_process_is_that_records_fault(trap: ModuleType, tmp_path: Path, detector: str) -> None:
    for folder in ("good", "bad"):
        (tmp_path / folder).mkdir()
        for n in range(10):
            noise = np.random.default_rng(n).integers(0, 255, (64, 64, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / folder / f"{n}.png")
    files = frame([("good", f"{n}.png") for n in range(10)] + [("bad", "3.png"), ("bad", "7.png")])
    folders = {"good": tmp_path / "good", "bad": trap.Trap(tmp_path / "bad")}
    manifest = tmp_path / "a.duckdb"
    observers = Observers(choose_detector(detector))
    assert observe(files, folders, manifest, observers=observers, workers=2, observe_files=observe_on_ray) == 12
    [part] = parts_folder(manifest).glob("*.arrows")
    found = pa.ipc.open_stream(part).read_all().to_pylist()
    errors = {(row["part"], row["path"]): row["error"] for row in found}
    assert errors == {
        **{("good", f"{n}.png"): None for n in range(10)}, ("bad", "3.png"): "crashed", ("bad", "7.png"): "crashed",
    }  # fmt: skip


def test_workers_without_the_weights_or_the_pictures_are_told_apart_from_broken_pictures(
    joined: None, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    blind = Observers(DetectorChoice("insightface", "gone-1", "1", str(tmp_path / "gone.onnx")))
    with pytest.raises(Missing, match=r"cannot do the work: The detector's weights .*gone\.onnx are gone"):
        list(observe_on_ray(frame([("p", "a.png")]), {"p": tmp_path}, blind, 1))
    with pytest.raises(Missing, match=r"cannot do the work: .* has no picture b\.png there"):
        list(observe_on_ray(frame([("p", "b.png")]), {"p": tmp_path}, Observers(), 1))


def test_a_lost_node_of_a_cluster_costs_nothing_and_the_cluster_is_left_running(
    drawn: dict[str, Path], local: dict[str, pl.DataFrame], detector: str, tmp_path: Path
) -> None:
    from ray.cluster_utils import Cluster

    ray.shutdown()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 2**27})
    try:
        other = cluster.add_node(num_cpus=1, object_store_memory=2**27)
        lost: list[bool] = []

        def lose(progress: Progress) -> None:
            if not lost:
                lost.append(True)
                cluster.remove_node(other)

        path = tmp_path / "a.duckdb"
        curate(
            "imdb-wiki", root=drawn["imdb-wiki"], manifest=path, detector=detector, estimators=[], engine="ray",
            ray_address=cluster.address, on_progress=lose,
        )  # fmt: skip
        assert lost
        assert same(local, rows(path))
        assert not ray.is_initialized()
        ray.init(cluster.address, log_to_driver=False)
        assert ray.cluster_resources()["CPU"] == 1
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_ray_that_is_not_there_is_told(
    agebench: Callable, drawn: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["curate", "utkface", "--root", drawn["utkface"], "--manifest", tmp_path / "a.duckdb", "--engine", "ray"]
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    found = agebench(*command)
    assert (found.status, "There is no Ray to join at 127.0.0.1:1" in found.err) == (3, True)
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    found = agebench(*command)
    assert (found.status, "pip install 'agebench[ray]'" in found.err) == (3, True)
    assert agebench(*command[:-1], "rays").status == 2
