"""Near duplicates over 523,051 pictures: seconds (the best of three runs), their ratio to one DuckDB pass over the same
table, and memory.

Run by `make bench`. Hashes are made up: evenly random, clustered like those of aligned faces (which share most of their
low frequencies), and two crowds that must not explode: 50,000 equal hashes, and 30,000 that share two parts.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import cv2
import duckdb
import numpy as np
import polars as pl

from agebench.curation import duplicates
from agebench.curation.duplicates import near_duplicates

PICTURES = 523_051
COPIES = 15_000
THREADS = 2
Words = np.ndarray


def even(rng: np.random.Generator) -> Words:
    return rng.integers(0, 2**64, (PICTURES, 5), dtype=np.uint64)


def faces(rng: np.random.Generator) -> Words:
    """Hashes of pictures that are one mean face and noise of their own, about as large as it."""
    mean = np.outer(np.hanning(8), np.hanning(8)) * 3
    hashes = np.empty((PICTURES, 5), np.uint64)
    for begin in range(0, PICTURES, 20_000):
        noise = rng.normal(0, 1, (min(20_000, PICTURES - begin), 8, 8))
        for inset in range(5):
            low = np.array([cv2.dct(one) for one in mean + noise + rng.normal(0, 0.5, noise.shape)]).reshape(-1, 64)
            bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
            hashes[begin : begin + len(low), inset] = np.packbits(bits, axis=1).view(">u8")[:, 0]
    return hashes


def one_hash(rng: np.random.Generator) -> Words:
    hashes = even(rng)
    hashes[rng.choice(PICTURES, 50_000, replace=False)] = hashes[0]
    return hashes


def two_parts(rng: np.random.Generator) -> Words:
    hashes, mask = even(rng), np.array(duplicates.MASKS[0], np.int64).view(np.uint64)
    some = rng.choice(PICTURES, 30_000, replace=False)
    hashes[some] = (hashes[some] & ~mask) | (hashes[0, 0] & mask)
    return hashes


def table(hashes: Words, rng: np.random.Generator) -> tuple[pl.DataFrame, Words]:
    """The records, of which the second half holds copies of some of the first, cropped or not; which those are."""
    edges = rng.integers(0, 2**64, (PICTURES, 20), dtype=np.uint64)
    half = PICTURES // 2
    source, copy = rng.choice(half, COPIES, replace=False), half + rng.choice(half, COPIES, replace=False)
    inset = rng.integers(0, 5, COPIES)
    for _ in range(2):
        flip = np.uint64(1) << rng.integers(0, 64, COPIES).astype(np.uint64)
        hashes[copy, 0] = hashes[source, inset] ^ flip
    edges[copy, :4] = edges.reshape(-1, 5, 4)[source, inset]
    frame = pl.DataFrame({
        "record_id": np.arange(PICTURES, dtype=np.int32), "part": ["imdb"] * PICTURES,
        "path": [f"{i % 100:02d}/nm{i:07d}.jpg" for i in range(PICTURES)],
        "sha256": [f"{i:064x}" for i in range(PICTURES)],
        "age": rng.integers(-5, 105, PICTURES).astype(np.int32), "width": rng.integers(60, 500, PICTURES),
        "height": rng.integers(60, 500, PICTURES),
        "bytes": rng.integers(3_000, 90_000, PICTURES), "sharpness": rng.random(PICTURES), "phash": hashes[:, 0],
        "inset_phash": pl.Series(hashes[:, 1:]).cast(pl.List(pl.UInt64)),
        "edges": pl.Series(edges).cast(pl.List(pl.UInt64)),
    })  # fmt: skip
    return frame, copy


def scan_seconds(frame: pl.DataFrame) -> float:
    """One pass over the same hashes in DuckDB, the best of five."""
    times = []
    with duckdb.connect(config={"threads": THREADS}) as con:
        con.register("frame", frame.to_arrow())
        con.execute("CREATE TABLE t AS SELECT sha256, phash, inset_phash, edges FROM frame")
        for _ in range(5):
            began = time.perf_counter()
            con.execute("SELECT count(DISTINCT phash), count(DISTINCT sha256), max(len(edges)) FROM t").fetchall()
            times.append(time.perf_counter() - began)
    return min(times)


def main() -> None:
    kinds: dict[str, Callable[[np.random.Generator], Words]] = {
        "evenly random hashes": even,
        "hashes like aligned faces'": faces,
        "50,000 equal hashes": one_hash,
        "30,000 that share two parts": two_parts,
    }
    for name, make in kinds.items():
        rng = np.random.default_rng(0)
        frame, copies = table(make(rng), rng)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            groups = near_duplicates(frame, threads=THREADS)
            times.append(time.perf_counter() - began)
        seconds, scan = min(times), scan_seconds(frame)
        found = np.isin(copies, groups["record_id"].to_numpy()).mean()
        print(
            f"{name}: {seconds:.2f} s on {THREADS} threads, {seconds / scan:.1f} times a pass of DuckDB ({scan:.2f} s)"
            f"; {len(groups):,} records in {groups['near_group'].n_unique():,} groups, {found:.1%} of the copies found"
        )
    print(f"peak memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
