"""The message about a record that a manifest does not have."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import duckdb

from agebench.manifest.places import manifest_of


def parts_of(con: duckdb.DuckDBPyConnection) -> list[str]:
    """The parts of the open manifest's release."""
    return [row[0] for row in con.execute("SELECT DISTINCT part FROM record ORDER BY part").fetchall()]


def unknown_record(con: duckdb.DuckDBPyConnection, manifest: Path, part: str | None, path: str) -> tuple[str, str]:
    """That there is no such record, and the nearest: both sentences of an error. part: None where none was named."""
    name = "path" if part is None else "part || '/' || path"
    near = con.execute(
        f"""SELECT part, path FROM record
           ORDER BY NOT contains(path, $stem), levenshtein({name}, $name), record_id LIMIT 3""",
        {"name": path if part is None else f"{part}/{path}", "stem": PurePosixPath(path).stem},
    ).fetchall()
    names = ", ".join(f"{p} {q}" for p, q in near)
    said = f"{manifest} has no record {path if part is None else f'{part} {path}'} (parts: {', '.join(parts_of(con))})."
    other = manifest_of(part) if part is not None else manifest
    if other.is_file() and other.resolve() != manifest.resolve():
        return said, f"Is it `--manifest {part}`? The most similar records here are {names}."
    return said, f"The most similar records are {names}."
