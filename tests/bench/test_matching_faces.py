"""Faces that match training faces: the same people are found, strangers are not, whatever a face's own scale is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from agebench.bench.leakage import find_leaks, unsearched_leaks, with_all_columns
from agebench.bench.matching_faces import matching_faces, with_vectors
from agebench.manifest.store import create, open_manifest

D = 64


def people(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(n, D)).astype(np.float32) / np.sqrt(D)


def photographs(centres: np.ndarray, rng: np.random.Generator, spread: float = 0.3) -> np.ndarray:
    return centres + spread * rng.normal(size=centres.shape).astype(np.float32) / np.sqrt(D)


def test_other_photographs_of_trained_people_match_and_strangers_do_not() -> None:
    rng = np.random.default_rng(1)
    known = people(2000, rng)
    trained, again = photographs(known, rng), photographs(known[:300], rng)
    strangers = photographs(people(2000, rng), rng)
    found = matching_faces(np.concatenate([again, strangers]), trained)
    assert found[:300].mean() > 0.95
    assert found[300:].sum() <= 8  # 2 by chance


def test_faces_that_are_near_everybody_do_not_match_for_that() -> None:
    """As children's and blurred faces are for real embedders: a fixed distance would call each of them known."""
    rng = np.random.default_rng(2)
    trained = photographs(people(1000, rng), rng)
    hubs = 0.2 * people(300, rng)
    nearest = np.linalg.norm(hubs[:, None] - trained[None], axis=2).min(axis=1)
    others = photographs(trained[:300], rng)
    assert nearest.max() < np.linalg.norm(people(300, rng)[:, None] - trained[None], axis=2).min()
    assert matching_faces(hubs, trained).sum() <= 3
    assert matching_faces(others, trained).mean() > 0.95


def test_blocks_do_not_change_what_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    trained = photographs(people(500, rng), rng)
    test = np.concatenate([photographs(trained[:20], rng), people(30, rng)])
    whole = matching_faces(test, trained)
    monkeypatch.setattr("agebench.bench.matching_faces.BLOCK", 7 * 500)
    assert whole[:20].all()
    assert (matching_faces(test, trained) == whole).all()


def test_too_few_training_faces_match_nothing() -> None:
    rng = np.random.default_rng(4)
    trained = people(199, rng)
    assert not matching_faces(trained, trained).any()


def embedded(path: Path, vectors: np.ndarray, embedder: str = "one", start: int = 0) -> pl.DataFrame:
    """A manifest with an embedding of face 0 of each picture; the pictures."""
    create(path, "fg-net")
    frame = pl.DataFrame({
        "sha256": [f"{start + n:064x}" for n in range(len(vectors))], "face_no": 0, "model": embedder,
        "vector": vectors.tolist(),
    }, schema_overrides={"face_no": pl.Int32, "vector": pl.List(pl.Float32)})  # fmt: skip
    with open_manifest(path, write=True) as con:
        con.register("incoming", frame.to_arrow())
        con.execute("INSERT INTO embedding BY NAME SELECT * FROM incoming")
    return frame.select("sha256", "face_no")


def test_leaks_are_found_by_the_embeddings_of_the_two_manifests(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    known = people(400, rng)
    training, testing = tmp_path / "training.duckdb", tmp_path / "testing.duckdb"
    trained = embedded(training, photographs(known, rng))
    test = embedded(testing, np.concatenate([photographs(known[:3], rng), people(5, rng)]), start=1000)
    test = pl.concat([test, pl.DataFrame({"sha256": ["f" * 64], "face_no": [None]}, schema=test.schema)])
    found = [with_all_columns(one) for one in with_vectors(test, testing, trained, [training])]
    leaks = find_leaks(*found, one_dataset=False).to_list()
    assert leaks == ["matching face"] * 3 + [None] * 6
    assert unsearched_leaks(*found, one_dataset=False) == ["near copy"]


def test_a_face_is_compared_only_where_one_embedder_saw_both(tmp_path: Path) -> None:
    vectors = people(300, np.random.default_rng(6))
    training, testing = tmp_path / "training.duckdb", tmp_path / "testing.duckdb"
    trained, test = embedded(training, vectors), embedded(testing, vectors, "another")
    for manifests in ([training], [tmp_path / "gone.duckdb"], []):
        ours, theirs = with_vectors(test, testing, trained, manifests)
        assert "vector" not in ours.columns
        assert "vector" not in theirs.columns
        assert "same subject" in unsearched_leaks(with_all_columns(ours), with_all_columns(theirs), one_dataset=False)
