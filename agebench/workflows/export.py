"""export: rows of a manifest in the formats of other tools."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

import polars as pl

from agebench.errors import NothingCurated, StalePlan, StorageError, UsageError, nearest
from agebench.manifest import open_manifest
from agebench.manifest.exports import curated_rows, face_rows, plan_rows, verdict_rows
from agebench.manifest.plans import curated_fingerprint, plans
from agebench.manifest.verdicts import funnel
from agebench.workflows.places import balance_command, must_be_judged


def exported(manifest: Path, rows: str, kind: str, plan: str | None = None) -> tuple[bytes, int]:
    """`rows` (verdicts, curated, plan, funnel, faces) as csv, parquet or jsonl, and their number.

    Raises UsageError for an unknown plan, StalePlan for one older than the curated rows, NothingCurated where there is
    none or the curation was not finished.
    """
    with open_manifest(manifest) as con:
        if rows != "faces":
            must_be_judged(con, manifest)
        if rows == "plan":
            found = plans(con)
            names = [facts.plan for facts in found]
            if not names:
                raise NothingCurated(f"{manifest} has no balance plan.", "`agebench balance` makes one.")
            if plan is not None and plan not in names:
                raise UsageError(f"{manifest} has no plan '{plan}'. {nearest(plan, names)}")
            facts = found[names.index(plan)] if plan is not None else found[0]
            if facts.curated != curated_fingerprint(con):
                raise StalePlan(
                    f"The plan '{facts.plan}' of {manifest} was made before its curated records changed.",
                    f"`{balance_command(manifest, facts)}` renews it.",
                )
            frame = plan_rows(con, facts.plan)
        else:
            read = {"verdicts": verdict_rows, "curated": curated_rows, "funnel": funnel, "faces": face_rows}[rows]
            frame = read(con)
    return _encoded(frame, kind), len(frame)


def write_export(data: bytes, out: Path) -> None:
    """Write an export whole or not at all. Raises StorageError."""
    beside = out.with_name(out.name + ".tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(data)
        beside.rename(out)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise StorageError(f"Cannot write {out}: {error}.", "Name another file with `--out`.") from error


def _encoded(frame: pl.DataFrame, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(buffer)
    elif kind == "jsonl":
        frame.write_ndjson(buffer)
    else:
        lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List | pl.Array)]
        frame = frame.with_columns(pl.col(name).cast(pl.List(pl.Utf8)).list.join(" ") for name in lists)
        frame.write_csv(buffer)
    return buffer.getvalue()
