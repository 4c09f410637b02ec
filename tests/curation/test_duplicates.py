"""Near duplicates: what is found, what is not taken for one, which one stays, and crowds of like hashes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.curation import duplicates
from agebench.curation.duplicates import SCHEMA, near_duplicates
from agebench.curation.observing.measures import copy_hashes

RNG = np.random.default_rng(0)
KINDS = {
    "record_id": pl.Int32, "age": pl.Int32, "phash": pl.UInt64, "inset_phash": pl.List(pl.UInt64),
    "edges": pl.List(pl.UInt64),
}  # fmt: skip
Gray = np.ndarray


def scene(seed: int) -> Gray:
    """A gray picture of 200×160 with large and small structure."""
    rng = np.random.default_rng(seed)
    coarse, fine = rng.normal(0, 40, (7, 6)), rng.normal(0, 12, (40, 32))
    size = (160, 200)
    picture = 110 + cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) + cv2.resize(fine, size)
    return np.clip(picture, 0, 255).astype(np.uint8)


def row(gray: Gray, **facts: Any) -> dict[str, Any]:
    height, width = gray.shape
    found = {"part": "p", "age": 30, "width": width, "height": height, "sharpness": 1.0, "bytes": 10_000}
    hashes, edges = copy_hashes(gray)
    return found | {"phash": hashes[0], "inset_phash": hashes[1:], "edges": edges} | facts


def table(*rows: dict[str, Any]) -> pl.DataFrame:
    named = [{"record_id": i, "path": f"{i}.jpg", "sha256": f"sha{i}"} | one for i, one in enumerate(rows)]
    return pl.DataFrame(named, schema_overrides=KINDS, infer_schema_length=None)


def found(*rows: dict[str, Any], **how: Any) -> dict[int, dict[str, Any]]:
    result = near_duplicates(table(*rows), **how)
    assert result.schema == SCHEMA
    return {one["record_id"]: one for one in result.iter_rows(named=True)}


def jpeg(gray: Gray, quality: int) -> Gray:
    stored = cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def scaled(gray: Gray, by: float) -> Gray:
    return np.asarray(cv2.resize(gray, None, fx=by, fy=by, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def cut(gray: Gray, share: float) -> Gray:
    y, x = round(gray.shape[0] * share), round(gray.shape[1] * share)
    return gray[y : gray.shape[0] - y, x : gray.shape[1] - x]


CHANGES: dict[str, Callable[[Gray], Gray]] = {
    "smaller": lambda g: scaled(g, 0.5),
    "larger": lambda g: scaled(g, 1.5),
    "compressed": lambda g: jpeg(g, 40),
    "darker": lambda g: (g * 0.8).astype(np.uint8),
    "lighter": lambda g: np.clip(g * 1.15, 0, 255).astype(np.uint8),
    "cropped by 2 %": lambda g: jpeg(cut(g, 0.02), 85),
    "cropped by 5 %": lambda g: jpeg(scaled(cut(g, 0.05), 0.8), 70),
    "cropped by 8 %": lambda g: jpeg(cut(g, 0.08), 85),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_copy_is_found_and_no_other_picture_is(change: Callable[[Gray], Gray]) -> None:
    originals = [scene(seed) for seed in range(20)]
    groups = found(*(row(g) for g in originals), *(row(change(g)) for g in originals))
    pairs = {i: one["near_group"] for i, one in groups.items()}
    assert sum(pairs.get(i) == i and pairs.get(i + 20) == i for i in range(20)) >= 19
    assert all(one["near_copies"] == 2 for one in groups.values())


def test_flat_pictures_are_no_duplicates_of_each_other() -> None:
    wall = np.full((100, 100), 90, np.uint8)
    noisy = (wall + RNG.integers(0, 3, wall.shape)).astype(np.uint8)
    assert found(row(wall), row(noisy), row(wall + 20)) == {}


def test_records_without_hashes_and_lone_pictures_are_in_no_group() -> None:
    nothing = {"sha256": None, "phash": None, "inset_phash": None, "edges": None}
    assert near_duplicates(table(row(scene(0))).clear()).schema == SCHEMA
    assert found(row(scene(0), **nothing), row(scene(0))) == {}
    assert found(row(scene(0)), row(scene(1)), row(scene(2), **nothing)) == {}


def test_the_same_bytes_count_once() -> None:
    assert found(row(scene(0), sha256="a"), row(scene(0), sha256="a")) == {}
    groups = found(row(scene(0), sha256="a"), row(scene(0), sha256="a"), row(scaled(scene(0), 0.5)))
    assert [groups[i]["near_rank"] for i in range(3)] == [1, 1, 2]
    assert all(one["near_copies"] == 2 and one["near_of"] == "p/0.jpg" for one in groups.values())


def test_the_larger_then_the_sharper_then_the_first_stays() -> None:
    g = scene(3)
    ranks = found(row(scaled(g, 0.5)), row(g, sharpness=2.0), row(jpeg(g, 60), sharpness=3.0), row(jpeg(g, 50)))
    assert [ranks[i]["near_rank"] for i in range(4)] == [4, 2, 1, 3]
    assert {one["near_of"] for one in ranks.values()} == {"p/2.jpg"}
    assert {one["near_group"] for one in ranks.values()} == {0}


def test_an_age_that_most_agree_with_stays_and_an_impossible_one_goes() -> None:
    g = scene(4)
    small, smaller = scaled(g, 0.6), scaled(g, 0.5)
    groups = found(row(g, age=-3), row(g, age=70, sharpness=9.0), row(small, age=31), row(smaller, age=30))
    assert [groups[i]["near_rank"] for i in range(4)] == [4, 3, 1, 2]
    assert {one["near_age_gap"] for one in groups.values()} == {40}
    within = found(row(g, age=32), row(small, age=31), row(smaller, age=30))
    assert [within[i]["near_rank"] for i in range(3)] == [1, 2, 3]
    unknown = found(row(g, age=None), row(small, age=200))
    assert {one["near_age_gap"] for one in unknown.values()} == {None}


def test_similarity_is_not_transitive() -> None:
    """A fades into B and B into C: whoever is in a group is like the one that stays."""
    first, last = scene(5).astype(float), scene(6).astype(float)
    steps = [np.round(first + (last - first) * part).astype(np.uint8) for part in np.linspace(0, 1, 25)]
    groups = found(*(row(g) for g in steps))
    assert 2 < len({one["near_group"] for one in groups.values()}) < 25
    for i, one in groups.items():
        chief = int(one["near_of"].removeprefix("p/").removesuffix(".jpg"))
        assert i == chief or found(row(steps[i]), row(steps[chief]))


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), max_size=40))
@settings(max_examples=100, deadline=None)
def test_members_are_paired_with_their_leader_and_leaders_with_no_other(edges: list[tuple[int, int]]) -> None:
    pairs = np.array([pair for pair in edges if pair[0] != pair[1]], dtype=np.int64).reshape(-1, 2)
    leader = duplicates._stars(16, pairs[:, 0], pairs[:, 1])
    joined = {frozenset(pair) for pair in pairs.tolist()}
    leads = {i for i in range(16) if leader[i] == i}
    assert all(i in leads or (leader[i] in leads and frozenset((i, int(leader[i]))) in joined) for i in range(16))
    assert not any(one in leads and other in leads for one, other in map(tuple, joined))


def crowd(n: int, rng: np.random.Generator) -> pl.DataFrame:
    """Random hashes and edges, in which no two are near."""
    words = rng.integers(0, 2**64, (n, 25), dtype=np.uint64)
    return pl.DataFrame({
        "record_id": np.arange(n, dtype=np.int32), "part": ["p"] * n, "path": [f"{i}" for i in range(n)],
        "sha256": [f"{i:064x}" for i in range(n)], "age": np.full(n, 30, np.int32), "width": np.full(n, 100),
        "height": np.full(n, 100), "bytes": np.full(n, 10_000), "sharpness": rng.random(n), "phash": words[:, 0],
        "inset_phash": pl.Series(words[:, 1:5]).cast(pl.List(pl.UInt64)),
        "edges": pl.Series(words[:, 5:]).cast(pl.List(pl.UInt64)),
    })  # fmt: skip


def test_any_four_differing_bits_leave_two_parts_of_a_hash_equal() -> None:
    masks = np.array(duplicates.MASKS, np.int64).view(np.uint64)
    bits = np.uint64(1) << np.array(list(combinations(range(64), duplicates.FOUND)), np.uint64)
    assert duplicates.FOUND == 4
    assert ((np.bitwise_or.reduce(bits, axis=1)[:, None] & masks) == 0).any(1).all()


def differing(bits: int, rng: np.random.Generator, n: int) -> np.ndarray:
    """(n,) words with so many bits set, drawn at random."""
    places = rng.permuted(np.tile(np.arange(64, dtype=np.uint64), (n, 1)), axis=1)[:, :bits]
    return np.bitwise_or.reduce(np.uint64(1) << places, axis=1)


@pytest.mark.parametrize("bits", range(1, 9))
def test_all_pairs_up_to_four_bits_apart_are_found_and_none_beyond_six(bits: int) -> None:
    n, rng = 400, np.random.default_rng(bits)
    originals = crowd(n, rng)
    apart = differing(bits, rng, n)
    copies = originals.with_columns(
        pl.col("record_id") + n, sha256=pl.format("copy {}", "sha256"), phash=originals["phash"].to_numpy() ^ apart
    )
    groups = dict(near_duplicates(pl.concat([originals, copies])).select("record_id", "near_group").iter_rows())
    found = np.array([groups.get(i) == i and groups.get(i + n) == i for i in range(n)])
    masks = np.array(duplicates.MASKS, np.int64).view(np.uint64)
    meet = ((apart[:, None] & masks) == 0).any(1)  # two parts are equal
    assert np.array_equal(found, meet if bits <= duplicates.FAR else np.zeros(n, bool))
    share = {5: 0.89, 6: 0.71}.get(bits, 1.0 if bits <= duplicates.FOUND else 0.0)
    assert found.mean() == pytest.approx(share, abs=0.05)


def test_many_pictures_with_one_hash_are_one_group() -> None:
    frame = crowd(20_000, np.random.default_rng(1))
    same = pl.col("record_id") < 15_000
    first = frame.row(0, named=True)
    alike = frame.with_columns(
        pl.when(same).then(pl.lit(first["phash"], pl.UInt64)).otherwise("phash").alias("phash"),
        pl.when(same).then(pl.lit(first["edges"], pl.List(pl.UInt64))).otherwise("edges").alias("edges"),
    )
    result = near_duplicates(alike)
    assert len(result) == 15_000
    assert result["near_group"].unique().to_list() == [0]
    unconfirmed = frame.with_columns(
        pl.when(same).then(pl.lit(first["phash"], pl.UInt64)).otherwise("phash").alias("phash")
    )
    assert len(near_duplicates(unconfirmed)) == 0


def test_hashes_that_share_two_parts_are_searched_and_close_ones_are_found() -> None:
    rng = np.random.default_rng(2)
    frame = crowd(60_000, rng)
    mask = np.array(duplicates.MASKS[0], np.int64).view(np.uint64)
    hashes = (frame["phash"].to_numpy() & ~mask) | (frame["phash"].to_numpy()[0] & mask)
    edges = np.array(frame["edges"].to_list(), np.uint64)
    hashes[-500:] = hashes[:500] ^ (np.uint64(1) << rng.integers(0, 64, 500).astype(np.uint64))
    edges[-500:] = edges[:500]
    result = near_duplicates(frame.with_columns(phash=hashes, edges=pl.Series(edges).cast(pl.List(pl.UInt64))))
    assert len(result) == 1000
    assert (result["near_copies"] == 2).all()


@pytest.mark.shared
def test_near_duplicates_of_the_mini_release_are_found_and_nothing_else(shared: Path) -> None:
    from agebench.curation.observing.measures import _reduce
    from agebench.pictures import decode

    truth = pl.read_csv(shared / "imdb-wiki-mini" / "truth.csv", infer_schema=False)
    rows, origin = [], []
    for one in truth.iter_rows(named=True):
        file = shared / "imdb-wiki-mini" / f"{one['part']}_crop" / one["full_path"]
        picture = decode(file.read_bytes())[0] if file.is_file() else None
        if picture is not None and not one["full_path"].startswith(("/", "..")):
            gray = np.asarray(cv2.cvtColor(_reduce(picture.rgb, 256), cv2.COLOR_RGB2GRAY), dtype=np.uint8)
            rows.append(row(gray, path=one["full_path"], sha256=picture.sha256))
            origin.append((one["duplicate_of"] or one["full_path"], one["fault"] == "near_duplicate"))
    groups = found(*rows)
    near = [i for i, (_, is_near) in enumerate(origin) if is_near]
    first = {rows[i]["path"]: groups[i]["near_group"] for i in groups}
    assert sum(i in groups and groups[i]["near_group"] == first.get(origin[i][0]) for i in near) >= 0.95 * len(near)
    origins: dict[int, set[str]] = {}
    for i, one in groups.items():
        origins.setdefault(one["near_group"], set()).add(origin[i][0])
    assert sum(len(names) > 1 for names in origins.values()) <= 0.001 * len(rows)


@pytest.mark.shared
def test_photographs_cropped_more_on_one_side_than_on_another_are_found(shared: Path) -> None:
    rng = np.random.default_rng(0)
    rows, copies = [], []
    for file in sorted((shared / "utkface").glob("*.jpg"))[:4000:20]:
        gray = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert gray is not None
        (top, bottom), (left, right) = rng.integers(0, 7, 2), rng.integers(0, 7, 2)  # up to 3 % of each side
        copy = np.ascontiguousarray(gray[top : gray.shape[0] - bottom, left : gray.shape[1] - right])
        rows.append(row(np.asarray(gray, dtype=np.uint8)))
        copies.append(row(jpeg(scaled(np.asarray(copy, dtype=np.uint8), 0.8), 80)))
    n = len(rows)
    groups = {i: one["near_group"] for i, one in found(*rows, *copies).items()}
    assert sum(i in groups and groups[i] == groups.get(i + n) for i in range(n)) >= 0.9 * n
