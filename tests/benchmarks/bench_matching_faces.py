"""How often a face matches strangers, and how often another picture of the same person is recognised, by age.

Every face of a manifest is compared with all faces of other people in it, and with these and the other pictures of its
own person. The manifest's subjects must be right, and its recipe must observe identities:

    python tests/benchmarks/bench_matching_faces.py manifests/fg-net.duckdb

Nothing is printed without a manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from agebench.bench.matching_faces import CHANCE, matching_faces
from agebench.manifest.store import open_manifest, query

GROUPS = {"under 13": (0, 12), "13 to 17": (13, 17), "18 and over": (18, 99)}


def main(manifest: Path) -> None:
    with open_manifest(manifest) as con:
        rows = query(con, """SELECT subject_id, sha256, age, vector FROM evidence JOIN embedding USING (sha256, face_no)
                             WHERE subject_id IS NOT NULL AND age BETWEEN 0 AND 99 ORDER BY record_id""")  # fmt: skip
    vectors = np.stack(rows["vector"].to_list()).astype(np.float32)
    person, picture, age = (rows[name].to_numpy() for name in ("subject_id", "sha256", "age"))
    strangers, again = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for n in range(len(rows)):
        others = person != person[n]
        strangers[n] = matching_faces(vectors[n : n + 1], vectors[others])[0]
        with_own = others | (picture != picture[n])
        again[n] = matching_faces(vectors[n : n + 1], vectors[with_own])[0]
    print(f"{len(rows):,} faces of {rows['subject_id'].n_unique():,} people, chance {CHANCE}")
    for name, (low, high) in GROUPS.items():
        of = (age >= low) & (age <= high)
        found = f"{strangers[of].sum()} match strangers, {again[of].mean():.0%} are recognised"
        print(f"{name:>12}: {of.sum():5,} faces, {found}")


if __name__ == "__main__" and len(sys.argv) > 1:
    main(Path(sys.argv[1]))
