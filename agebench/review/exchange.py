"""review export, import and agreement: move answers between people and tools, and compare them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from agebench.errors import Missing, StorageError
from agebench.files import read_file
from agebench.manifest.places import curate_command
from agebench.manifest.records import folders_of
from agebench.manifest.store import open_manifest
from agebench.pictures import Locator
from agebench.review.agreement import Agreement, agreement
from agebench.review.deciding import listing
from agebench.review.decisions import Decision, decisions_file, merge, parse, write_merged
from agebench.review.label_studio import (
    LABELLING,
    answers_in,
    document_root,
    image_address,
    is_label_studio,
    needed_settings,
    task,
)
from agebench.review.resolution import answered_names, misfits
from agebench.review.rows import answered_records, lines_folded, lines_of, must_be_there, name_frame, task_rows


@dataclass(frozen=True)
class Imported:
    """Imported answers. read: how many of the file fit; added: how many of those were new; disagreements: records on
    which reviewers disagree now; curate: the command that applies the answers."""

    file: Path
    read: int
    added: int
    disagreements: list[dict[str, Any]]
    curate: str
    notes: list[str]


def export_decisions(manifest: Path) -> tuple[bytes, int, list[str]]:
    """All lines of the decisions file sorted by (at, id), their number, and notes. Raises DecisionError."""
    decisions, notes = lines_of(manifest)
    lines = merge(decisions, [])
    return b"".join(d.line() for d in lines), len(lines), notes


def export_label_studio(manifest: Path) -> tuple[bytes, int, list[str]]:
    """The queue as Label Studio tasks (JSON), in the order of the queue, their number, and notes."""
    found = listing(manifest)
    with open_manifest(manifest) as con:
        rows, faces, estimates = task_rows(con, found.rows["record_id"])
        folders = folders_of(con)
    root = document_root(folders.values())
    locator = Locator(folders)
    by_record = {
        row["record_id"]: row | {"image": image_address(locator, root, row["part"], row["path"])}
        for row in rows.to_dicts()
    }
    by_face = _grouped(faces)
    by_estimate = _grouped(estimates)
    tasks = [task(by_record[n], by_face.get(n, []), by_estimate.get(n, [])) for n in found.rows["record_id"].to_list()]
    interface = "Labelling interface for these tasks: " + " ".join(LABELLING.split())
    settings = [needed_settings(folders.values(), root)] if root else []
    return json.dumps(tasks, indent=1).encode(), len(tasks), [*found.notes, interface, *settings]


def _grouped(frame: pl.DataFrame) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in frame.to_dicts():
        found.setdefault(row.pop("record_id"), []).append(row)
    return found


def import_answers(manifest: Path, file: Path, kind: str = "auto") -> Imported:
    """Merge another person's decisions, or Label Studio annotations, into the decisions file of a manifest. Annotations
    that cannot be read, and answers that do not fit their records (see `resolution.misfits`), are left out, each with a
    note.

    kind: auto, jsonl, label-studio. Raises Missing, StorageError, DecisionError; then nothing is changed.
    """
    try:
        data = read_file(file)
    except FileNotFoundError as error:
        raise Missing(f"There is no file {file}.", "`agebench review export --out FILE` writes one.") from error
    except OSError as error:
        raise StorageError(f"Cannot read {file}: {error.strerror or error}.") from error
    studio = kind == "label-studio" or (kind == "auto" and is_label_studio(data))
    theirs, unread = answers_in(data, str(file)) if studio else (parse(data, str(file)), [])
    with open_manifest(manifest) as con:
        names = name_frame((d.part, d.path) for d in theirs).unique()
        must_be_there(decisions_file(manifest), lines_folded(con), manifest)
        curate = curate_command(con, manifest)
        named = answered_records(con, names)
    unknown = len(names) - len(named.unique(["part", "path"]))
    unfit = misfits(theirs, named)
    unread += [f"{file}, {id_}: {message} It is left out." for id_, (message, _) in unfit.items()]
    theirs = [d for d in theirs if d.id not in unfit]
    merged, added, notes = write_merged(decisions_file(manifest), theirs)
    notes += unread
    if not theirs and not unread:
        notes.append(f"{file} has no answers{'; its tasks have no annotations' if studio else ''}.")
    if unknown:
        notes.append(
            f"{unknown:,} records of {file} are not in {manifest}; the answers about them are kept in the file."
        )
    records = _answered_in(manifest, merged)
    found = agreement(merged, records)
    return Imported(decisions_file(manifest), len(theirs), added, found.disagreements, curate, notes)


def agree(manifest: Path) -> tuple[Agreement, list[str]]:
    """How far the reviewers of a manifest agree (see `review.agreement`). Raises DecisionError."""
    decisions, notes = lines_of(manifest)
    return agreement(decisions, _answered_in(manifest, decisions)), notes


def _answered_in(manifest: Path, decisions: Sequence[Decision]) -> pl.DataFrame:
    """The records of a manifest that have answers."""
    with open_manifest(manifest) as con:
        return answered_records(con, answered_names(decisions))
