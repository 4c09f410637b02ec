"""Observing: the engine's rate against cores / (sum of the parts on one core), and against a plain loop.

Run by `make bench`. Pictures: UTKFace chips of the test data where they are, else drawn faces. Prints ratios that were
measured side by side in one run, on this machine and today.
"""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from agebench.curation.observing.engine import Progress, observe, pending_files
from agebench.curation.observing.measures import face_sharpness, measure
from agebench.curation.observing.observers import Observers
from agebench.faces.detectors import DetectorChoice, choose_detector, detect_faces, load_detector
from agebench.memory import keep_freed_memory
from agebench.pictures import decode

PICTURES = 6000
SAMPLE = 300
CORES = os.cpu_count() or 1


def pictures(folder: Path) -> tuple[Path, list[str]]:
    """A folder of pictures and the names of up to PICTURES of them."""
    named = os.environ.get("AGEBENCH_TEST_DATA")
    shared = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    chips = shared / "utkface"
    if chips.is_dir():
        return chips, sorted(p.name for p in itertools.islice(chips.iterdir(), PICTURES))
    from agebench.demo.releases import draw_releases

    root = draw_releases(folder, records=1000, seed=0).roots["utkface"]
    return root, sorted(p.name for p in root.iterdir())


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, names = pictures(Path(scratch))
        choice = choose_detector("yuface" if _has("yuface") else "mtcnn")
        costs = in_a_process(parts, folder, names[:SAMPLE], choice)
        loop = in_a_process(plain_loop, folder, names[:SAMPLE], choice, True)
        threads = in_a_process(plain_loop, folder, names[:SAMPLE], choice, False)
        known = pl.DataFrame({"part": "x", "path": names, "sha256": None, "bytes": None, "mtime": None, "error": None,
                              "known": False}, schema_overrides={"sha256": pl.Utf8, "error": pl.Utf8})  # fmt: skip
        observers = Observers(choice)
        began = time.perf_counter()
        files, _ = pending_files(
            known, {"x": folder}, {name: pl.Series([], dtype=pl.Utf8) for name in observers.versions}
        )
        reports: list[Progress] = []
        observe(
            files, {"x": folder}, Path(scratch) / "bench.duckdb",
            observers=observers, workers=CORES, on_progress=reports.append,
        )  # fmt: skip
        engine = len(files) / (time.perf_counter() - began)
        started = (reports[-1].done - reports[0].done) / (reports[-1].seconds - reports[0].seconds)
        again = in_a_process(plain_loop, folder, names[:SAMPLE], choice, True)
    ideal = CORES / sum(costs.values())
    print(f"{len(names)} pictures of {folder.name}, {choice.name}, {CORES} cores")
    print("parts on one core, ms: " + ", ".join(f"{name} {1000 * cost:.2f}" for name, cost in costs.items()))
    print(
        f"engine {engine:.0f} pictures/s with start-up, {started:.0f} once it has started; "
        f"cores / sum of the parts {ideal:.0f}: {engine / ideal:.2f} and {started / ideal:.2f}"
    )
    for what, rate in (
        ("one thread", (loop + again) / 2),
        ("the detector's own threads", threads),
    ):
        print(
            f"plain loop (read, decode, detect), {what}: {rate:.0f} pictures/s; "
            f"the engine is {engine / rate:.2f} times as fast"
        )


def in_a_process(work: Callable[..., Any], *arguments: object) -> Any:
    """Run in a process of its own, as a user's script would, with nothing else at work."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def parts(folder: Path, names: list[str], choice: DetectorChoice) -> dict[str, float]:
    """Seconds of each part of a look at one picture, on one core, with memory kept as a worker keeps it."""
    _one_thread()
    keep_freed_memory()
    detector = load_detector(choice)
    data = [(folder / name).read_bytes() for name in names]
    rgb = [picture.rgb for picture, _ in map(decode, data) if picture is not None]
    return {
        "read": seconds_each(lambda i: (folder / names[i]).read_bytes(), len(names)),
        "hash": seconds_each(lambda i: hashlib.sha256(data[i]).hexdigest(), len(names)),
        "decode": seconds_each(lambda i: decode(data[i]), len(names)),
        "measure": seconds_each(lambda i: measure(rgb[i]), len(rgb)),
        "detect": seconds_each(lambda i: detect_faces(detector, rgb[i]), len(rgb)),
        "face sharpness": seconds_each(lambda i: face_sharpness(rgb[i], 20, 20, 150, 150), len(rgb)),
    }


def plain_loop(folder: Path, names: list[str], choice: DetectorChoice, one_thread: bool) -> float:
    """Pictures a second of reading, decoding and detecting, one file after the other."""
    if one_thread:
        _one_thread()
    detector = load_detector(choice)
    detect_faces(detector, np.zeros((64, 64, 3), np.uint8))
    began = time.perf_counter()
    for name in names:
        picture, _ = decode((folder / name).read_bytes())
        if picture is not None:
            detect_faces(detector, np.ascontiguousarray(picture.rgb))
    return len(names) / (time.perf_counter() - began)


def seconds_each(work: Callable[[int], object], n: int) -> float:
    work(0)
    began = time.perf_counter()
    for i in range(n):
        work(i)
    return (time.perf_counter() - began) / n


def _one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    main()
