"""Faces of a test set that match faces of the training data, and so probably show people who were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench.curation.identities import pair_distances
from agebench.errors import ManifestError, ManifestNotFound
from agebench.manifest.store import open_manifest, query

CHANCE = 0.001  # probability that a face matches although nobody in the training data is its person
TAIL = 0.05  # the quantile of a face's distances from which their spread is taken
COHORT = 200  # training faces, at least, that show how near strangers come
DRAWN = 5000  # training faces, at most, that do
BLOCK = 2**26  # distances that are in memory at once


def matching_faces(
    test: NDArray[np.float32], trained: NDArray[np.float32], *, chance: float = CHANCE
) -> NDArray[np.bool_]:
    """Which test faces are nearer to a training face than strangers come.

    How near strangers come differs from face to face: children, and blurred faces, are near everybody. So each face's
    distances to the training faces are its own scale (test normalisation, "T-norm": R. Auckenthaler, M. Carey and
    H. Lloyd-Thomas, Digital Signal Processing 10, pp. 42-54, 2000). They are taken as normal, with
    their median and their 5 % quantile, and a face matches if the nearest lies where that of as many strangers lies
    with the probability `chance`. With fewer than 200 training faces, none matches.

    test: (n, D), trained: (m, D), vectors to be compared by Euclidean distance. Returns (n,).
    """
    from scipy.stats import norm

    found = np.zeros(len(test), bool)
    if len(trained) < COHORT:
        return found
    cohort = np.arange(len(trained))[:: -(-len(trained) // DRAWN)]
    step = max(1, BLOCK // len(trained))
    for start in range(0, len(test), step):
        distances = pair_distances(test[start : start + step], trained)
        low, middle = np.quantile(distances[:, cohort], [TAIL, 0.5], axis=1)
        spread = (middle - low) / norm.isf(TAIL)
        found[start : start + step] = distances.min(axis=1) < middle - norm.isf(chance / len(trained)) * spread
    return found


def with_vectors(
    test: pl.DataFrame, test_manifest: Path, trained: pl.DataFrame, training_manifests: Sequence[Path]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both with the column `vector`, the embeddings of their records' faces, all by one embedder. Unchanged if no
    embedder has seen faces of test and training manifests, as those that are still there.

    test, trained: sha256, face_no. Raises ManifestBusy.
    """
    if not {"sha256", "face_no"} <= set(trained.columns):
        return test, trained
    embedders = {path: found for path in training_manifests if (found := _embedders(path))}
    common = _embedders(test_manifest).intersection(*embedders.values()) if embedders else set()
    if not common:
        return test, trained
    embedder = min(common)
    vectors = pl.concat([_vectors(path, embedder) for path in embedders])
    return _joined(test, _vectors(test_manifest, embedder)), _joined(trained, vectors)


def _embedders(manifest: Path) -> set[str]:
    """Those that have seen faces of a manifest; none if it cannot be read any more."""
    try:
        with open_manifest(manifest) as con:
            return set(query(con, "SELECT DISTINCT model FROM embedding")["model"])
    except (ManifestNotFound, ManifestError):
        return set()


def _vectors(manifest: Path, embedder: str) -> pl.DataFrame:
    with open_manifest(manifest) as con:
        return query(con, "SELECT sha256, face_no, vector FROM embedding WHERE model = ?", [embedder])


def _joined(records: pl.DataFrame, vectors: pl.DataFrame) -> pl.DataFrame:
    once = vectors.unique(["sha256", "face_no"], keep="first")
    return records.join(once, on=["sha256", "face_no"], how="left", maintain_order="left")
