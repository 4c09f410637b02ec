"""Observing: the engine's rate against cores / (sum of the parts on one core), and against a plain loop.

Run by `make bench`. Pictures: UTKFace chips of the test data where they are, else drawn faces. Prints ratios that were
measured side by side in one run, on this machine and today.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from agebench.observe import choose_detector, detect_faces, load_detector, observe
from agebench.observe.measures import face_sharpness, measure
from agebench.pictures import Locator, decode

PICTURES = 1500
CORES = os.cpu_count() or 1


def pictures(folder: Path) -> tuple[Path, list[str]]:
    """A folder of pictures and the names of up to PICTURES of them."""
    named = os.environ.get("AGEBENCH_TEST_DATA")
    shared = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    chips = shared / "utkface"
    if chips.is_dir():
        return chips, sorted(p.name for p in itertools.islice(chips.iterdir(), PICTURES))
    from agebench.demo import draw_releases

    root = draw_releases(folder, records=1000, seed=0).roots["utkface"]
    return root, sorted(p.name for p in root.iterdir())


def seconds_each(work: Callable[[int], object], n: int) -> float:
    work(0)
    began = time.perf_counter()
    for i in range(n):
        work(i)
    return (time.perf_counter() - began) / n


def main() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder, names = pictures(Path(scratch))
        choice = choose_detector("yuface" if _has("yuface") else "mtcnn")
        detector = load_detector(choice)
        sample = names[:200]
        data = [(folder / name).read_bytes() for name in sample]
        rgb = [picture.rgb for picture, _ in map(decode, data) if picture is not None]
        parts = {
            "read": seconds_each(lambda i: (folder / sample[i]).read_bytes(), len(sample)),
            "hash": seconds_each(lambda i: hashlib.sha256(data[i]).hexdigest(), len(sample)),
            "decode": seconds_each(lambda i: decode(data[i]), len(sample)),
            "measure": seconds_each(lambda i: measure(rgb[i]), len(rgb)),
            "detect": seconds_each(lambda i: detect_faces(detector, rgb[i]), len(rgb)),
            "face sharpness": seconds_each(lambda i: face_sharpness(rgb[i], 20, 20, 150, 150), len(rgb)),
        }
        locator = Locator({"x": folder})
        files = [("x", name, *locator.stat("x", name)) for name in names]
        began = time.perf_counter()
        observe(files, {"x": folder}, Path(scratch) / "bench.duckdb", detector=choice, workers=CORES)
        engine = len(files) / (time.perf_counter() - began)
        began = time.perf_counter()
        for name in sample:
            picture, _ = decode((folder / name).read_bytes())
            if picture is not None:
                detect_faces(detector, np.ascontiguousarray(picture.rgb))
        loop = len(sample) / (time.perf_counter() - began)
    ideal = CORES / sum(parts.values())
    print(f"{len(names)} pictures of {folder.name}, {choice.name}, {CORES} cores")
    print("parts on one core, ms: " + ", ".join(f"{name} {1000 * cost:.2f}" for name, cost in parts.items()))
    print(f"engine {engine:.0f} pictures/s with start-up, cores / sum of parts {ideal:.0f}: {engine / ideal:.2f}")
    print(f"plain loop (decode and detect) {loop:.0f} pictures/s: the engine is {engine / loop:.2f} times as fast")


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


if __name__ == "__main__":
    main()
