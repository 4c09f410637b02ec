"""A manifest as people read it: its views and tables as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from agebench.manifest import export, summary
from agebench.manifest.places import find_manifest
from agebench.manifest.store import open_manifest, peek, query


class Manifest:
    """One dataset's manifest as Polars frames; `to_pandas()` turns a frame into pandas.

    Every property opens the file, reads and closes it, so it never blocks other processes. It raises ManifestError for
    a damaged file, and ManifestBusy if another process writes it for longer than 5 s.

    Args:
        manifest: A file, or a name in `manifests/`; by default that of imdb-wiki, or the only one that exists.

    Raises:
        ManifestNotFound: There is no such manifest.
        UsageError: The name is unknown, or there are several manifests to choose from.
    """

    def __init__(self, manifest: str | Path | None = None) -> None:
        self.path = find_manifest(manifest, training=False)

    def __repr__(self) -> str:
        return f"Manifest({str(self.path)!r})"

    def sql(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> pl.DataFrame:
        """The rows of one query over its tables and views. The query cannot change anything.

        Args:
            sql: One query in DuckDB's SQL dialect.
            values: Values for its parameters, `?` or `$name`.

        Raises:
            duckdb.Error: The query is wrong.
        """
        with open_manifest(self.path) as con:
            return query(con, sql, values)

    @property
    def meta(self) -> dict[str, str]:
        """Facts about the manifest: dataset, root, recipe, detector, fingerprints, versions."""
        return peek(self.path)

    @property
    def records(self) -> pl.DataFrame:
        """One row per labelled picture, as the release has it: record_id, part, path, subject_id, name, gender, race,
        dob, photo_year, age (claimed, years), the release's scores and its box (pixels)."""
        return self.sql("SELECT * FROM record ORDER BY record_id")

    @property
    def evidence(self) -> pl.DataFrame:
        """One row per record and one column per fact, as checks read them; `agebench ls evidence` explains them."""
        return self.sql("SELECT * FROM evidence ORDER BY record_id")

    @property
    def verdicts(self) -> pl.DataFrame:
        """One row per record: part, path, age (the final one), verdict (keep, review, reject, after decisions),
        reasons (joined by `;`), label_suspicion (0 to 1), claimed_age, decided_by, details (the reasons in words)."""
        with open_manifest(self.path) as con:
            return export.verdict_rows(con)

    @property
    def curated(self) -> pl.DataFrame:
        """The records that stay: record_id, part, path, age (in force), subject_id, group_id (one subject) and
        photograph_id (one photograph), neither of which may be split between training and validation, sha256, the face
        that is meant (face_no, face_x … face_h in pixels, landmarks: ten numbers), file (absolute path), name, gender,
        dob, photo_year."""
        with open_manifest(self.path) as con:
            return export.curated_rows(con)

    @property
    def faces(self) -> pl.DataFrame:
        """Every face of every record, from the detector in force: part, path, detector, face_no, x, y, w, h, score, and
        the landmarks lx0, ly0 … lx4, ly4, in pixels of the original picture."""
        with open_manifest(self.path) as con:
            return export.face_rows(con)

    @property
    def funnel(self) -> pl.DataFrame:
        """How many records each check takes, in order: position, step, verdict, records, status."""
        with open_manifest(self.path) as con:
            return summary.funnel(con)

    def plan(self, name: str | None = None) -> pl.DataFrame:
        """A balance plan, the newest by default: part, path, age (years), copies (draws per epoch).

        Raises:
            NothingCurated: There is no plan.
            UsageError: There is no plan with that name.
            StalePlan: The curated records have changed since it was made.
        """
        with open_manifest(self.path) as con:
            return export.chosen_plan_rows(con, self.path, name)
