"""Groups: subjects connect over any number of steps, and so do copies of photographs, each for themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.curation.groups import derive_groups
from agebench.manifest.renewal import renew
from agebench.manifest.store import create, open_manifest

Key = tuple[int | None, int | None]


def groups(path: Path, keys: list[Key]) -> list[list[int]]:
    """Groups and photographs of records with (subject, content), None where it is not known."""
    with open_manifest(path, write=True) as con:
        con.execute("DELETE FROM record; DELETE FROM content")
        for i, (subject, content) in enumerate(keys):
            con.execute("INSERT INTO record (record_id, part, path, subject_id) VALUES (?, 'p', ?, ?)",
                        [i, str(i), None if subject is None else f"s{subject}"])  # fmt: skip
            con.execute("INSERT INTO content (part, path, sha256) VALUES ('p', ?, ?)",
                        [str(i), None if content is None else f"c{content}"])  # fmt: skip
    found = derive_groups(path, None).tables["record_group"]
    return [found["group_id"].to_list(), found["photograph_id"].to_list()]


def test_a_person_with_two_numbers_is_one_group(tmp_path: Path) -> None:
    create(tmp_path / "a.duckdb", "imdb-wiki")
    people = [
        ("celeb:1", "Ana  Núñez", "1970-01-02"), ("ana nunez|1970-01-02", "ana nunez", "1970-01-02"),
        ("celeb:2", "Ana Núñez", "1971-01-02"), ("celeb:3", None, "1970-01-02"),
    ]  # fmt: skip
    with open_manifest(tmp_path / "a.duckdb", write=True) as con:
        for i, (subject, name, dob) in enumerate(people):
            con.execute("INSERT INTO record (record_id, part, path, subject_id, name, dob) VALUES (?, 'p', ?, ?, ?, ?)",
                        [i, str(i), subject, name, dob])  # fmt: skip
    found = derive_groups(tmp_path / "a.duckdb", None).tables["record_group"]
    assert found["group_id"].to_list() == [0, 0, 2, 3]


def first_with_the_same(values: list[int | None]) -> list[int]:
    return [i if value is None else values.index(value) for i, value in enumerate(values)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("groups") / "a.duckdb"
    create(path, "fg-net")
    return path


def test_a_photograph_under_several_subjects_does_not_join_them(manifest: Path) -> None:
    keys: list[Key] = [(1, 1), (1, 2), (2, 2), (2, None), (3, 9), (None, None), (None, 9)]
    assert groups(manifest, keys) == [[0, 0, 2, 2, 4, 5, 6], [0, 1, 1, 3, 4, 5, 4]]


def test_people_who_share_photographs_in_a_row_do_not_percolate(manifest: Path) -> None:
    """Every photograph is filed under two people, so that all are connected over photographs."""
    keys: list[Key] = [(n + side, n) for n in range(40) for side in (0, 1)]
    people, photographs = groups(manifest, keys)
    assert max(people.count(person) for person in people) == 2
    assert max(photographs.count(photograph) for photograph in photographs) == 2


def test_near_copies_in_a_chain_are_one_photograph(tmp_path: Path) -> None:
    """Each picture is a near copy of the next one only, so that the chain has several groups of near copies."""
    path = tmp_path / "a.duckdb"
    create(path, "fg-net")
    rng = np.random.default_rng(0)
    n = 7
    words = rng.integers(0, 2**64, (n + 1, 25), dtype=np.uint64)
    words[1:n, 5:] = words[0, 5:]  # the same edges
    for i in range(1, n):  # four bits from the one before, eight from the one before that
        words[i, 0] = words[i - 1, 0] ^ np.uint64(0b1111 << (6 * i))
    with open_manifest(path, write=True) as con:
        for i, row in enumerate(words.tolist()):
            con.execute("INSERT INTO record (record_id, part, path, age) VALUES (?, 'p', ?, 30)", [i, str(i)])
            con.execute("INSERT INTO content (part, path, sha256, bytes) VALUES ('p', ?, ?, 9)", [str(i), f"c{i}"])
            con.execute("INSERT INTO image (sha256, width, height, sharpness, phash, inset_phash, edges) "
                        "VALUES (?, 9, 9, 1, ?, ?, ?)", [f"c{i}", row[0], row[1:5], row[5:]])  # fmt: skip
    facts = {"records": "1", "observations": "1", "measures": "1"}
    renew(path, None, facts, names=("contents", "copies", "groups"))
    with open_manifest(path) as con:
        groups = {row[0] for row in con.execute("SELECT near_group FROM near_copy").fetchall()}
        photographs = con.execute("SELECT photograph_id FROM record_group ORDER BY record_id").fetchall()
    assert len(groups) > 1
    assert [photograph for (photograph,) in photographs] == [0] * n + [n]


def test_records_of_which_nothing_is_known_stand_alone(manifest: Path) -> None:
    assert groups(manifest, [(None, None)] * 3) == [[0, 1, 2], [0, 1, 2]]
    assert groups(manifest, []) == [[], []]


KEYS = st.lists(st.tuples(st.none() | st.integers(0, 8), st.none() | st.integers(0, 8)), min_size=1, max_size=25)


@given(keys=KEYS)
@settings(max_examples=15, deadline=None)
def test_groups_and_photographs_are_named_by_their_first_record(manifest: Path, keys: list[Key]) -> None:
    found = groups(manifest, keys)
    assert found == [first_with_the_same(list(side)) for side in zip(*keys, strict=True)]
    assert found == groups(manifest, keys)
