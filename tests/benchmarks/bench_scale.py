"""The cheap stages at the size of IMDB-WIKI: reading both `.mat`, judging, balancing; beside their measures.

Run by `make bench`. The inputs are made here: 460,723 and 62,328 records, observed as a curation would leave them.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import scipy.io

from agebench import recipes
from agebench.balancing import balance
from agebench.curation import verdicts
from agebench.curation.checks import compile_recipe
from agebench.curation.groups import derive_groups
from agebench.datasets.release import read_release
from agebench.manifest.evidence import COLUMNS
from agebench.manifest.records import write_records
from agebench.manifest.renewal import mark_made
from agebench.manifest.store import create, open_manifest, set_meta

SIZES = {"imdb": 460_723, "wiki": 62_328}
DETECTOR = "made"


def main() -> None:
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for part, n in SIZES.items():
            write_mat(root, part, n, rng)
        card = recipes.load_card("imdb-wiki")
        read_release(card, root)  # the files are in the system's cache for both
        theirs, _ = timed(lambda: [scipy.io.loadmat(root / f"{p}_crop" / f"{p}.mat") for p in SIZES])
        ours, release = timed(lambda: read_release(card, root))
        print(f"reading {len(release.records):,} records: {ours:.2f} s, {ours / theirs:.2f} of scipy's {theirs:.2f} s")
        path = root / "manifest.duckdb"
        create(path, "imdb-wiki")
        with open_manifest(path, write=True) as con:
            wrote, _ = timed(lambda: write_records(con, release.records, release.folders))
        print(f"into a new manifest: {wrote:.2f} s; with reading {(ours + wrote) / theirs:.2f} of scipy's loading")
        with open_manifest(path, write=True) as con:
            observe(con)
        grouped, _ = timed(lambda: group(path))
        recipe = recipes.load_curation_recipe("imdb-wiki-paper")
        checks = compile_recipe(recipe, "imdb-wiki-paper", {c.observer for c in COLUMNS.values()})
        with duckdb.connect(str(path), read_only=True) as con:
            scan, _ = timed(
                lambda: con.execute("SELECT count(DISTINCT path), sum(age), sum(face_score) FROM record").fetchall()
            )
        with open_manifest(path, write=True) as con:
            gathered, _ = timed(lambda: verdicts.store_evidence(con))
        took = [timed(lambda: judge(path, checks))[0] for _ in range(3)]
        print(
            f"judging again, {len(checks)} checks, evidence stored: {min(took):.2f} s, {min(took) / scan:.1f} DuckDB "
            f"scans of the records ({scan:.2f} s); storing the evidence where it has changed: {gathered:.2f} s"
        )
        planned, _ = timed(lambda: balance(path))
        print(f"groups {grouped:.2f} s; balance plan {planned:.2f} s")
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


def group(path: Path) -> None:
    tables = derive_groups(path, None).tables
    with open_manifest(path, write=True) as con:
        con.register("derived", tables["record_group"].to_arrow())
        con.execute("INSERT INTO record_group BY NAME SELECT * FROM derived")


def judge(path: Path, checks: list[verdicts.CompiledCheck]) -> None:
    with open_manifest(path, write=True) as con:
        verdicts.judge(con, checks, recipe="imdb-wiki-paper", recipe_digest="x")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def write_mat(root: Path, part: str, n: int, rng: np.random.Generator) -> None:
    """A `.mat` of the published shape."""
    people = 20_000
    who = rng.integers(0, people, n)
    years = rng.integers(1980, 2015, n)

    def cells(values: list[Any]) -> np.ndarray:
        out = np.empty((1, n), dtype=object)
        out[0, :] = values
        return out

    boxes = np.empty((1, n), dtype=object)
    corners = rng.uniform(1, 200, (n, 2))
    for i, (x, y) in enumerate(corners):
        boxes[0, i] = np.array([[x, y, x + 120, y + 120]])
    fields = {
        "dob": (710_000 + who % 15_000).astype(np.int32)[None],
        "photo_taken": years.astype(np.uint16)[None],
        "full_path": cells([f"{i % 100:02d}/{part}{i}_{y}.jpg" for i, y in enumerate(years)]),
        "gender": rng.integers(0, 2, n).astype(float)[None],
        "name": cells([f"Person {w}" for w in who]),
        "face_location": boxes,
        "face_score": np.where(rng.random(n) < 0.1, -np.inf, rng.uniform(0, 6, n))[None],
        "second_face_score": np.where(rng.random(n) < 0.93, np.nan, rng.uniform(1, 4, n))[None],
    }
    if part == "imdb":
        fields["celeb_id"] = who.astype(float)[None]
    folder = root / f"{part}_crop"
    folder.mkdir()
    scipy.io.savemat(folder / f"{part}.mat", {part: fields})


def observe(con: duckdb.DuckDBPyConnection) -> None:
    """What a curation would have seen of every picture."""
    con.execute("SELECT setseed(0.5)")
    con.execute("""
        INSERT INTO content SELECT part, path, sha256(part || path), 20000, 1, NULL FROM record;
        INSERT INTO image SELECT sha256, 'JPEG', 216, 216, 3, FALSE, hash(sha256), 300, 120, 50, NULL, NULL
            FROM content;
        INSERT INTO observed SELECT sha256, o, '1', NULL FROM content, (VALUES ('image'), ('faces:made')) t(o);
        INSERT INTO face SELECT sha256, 'made', 0, 48, 48, 120, 120, 0.9, 80,
            [90, 90, 130, 90, 110, 120, 95, 140, 125, 140] FROM content;
        INSERT INTO face SELECT sha256, 'made', 1, 4, 4, 30, 30, 0.7, 60, [10, 10, 20, 10, 15, 15, 10, 20, 20, 20]
            FROM content WHERE hash(sha256) % 7 = 0;
        INSERT INTO near_copy SELECT record_id, record_id, 2, 1, path, 0 FROM record WHERE record_id % 20 = 0;
        INSERT INTO suspicion SELECT record_id, 1, age + 3, 3, pow(random(), 9) FROM record;
    """)
    set_meta(con, detector=DETECTOR)
    for what in ("copies", "ages", "identities", "verdicts"):
        mark_made(con, what, "made")


if __name__ == "__main__":
    main()
