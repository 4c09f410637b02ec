"""What the manifest makes of facts: NaN, boxes, copies, fingerprints, part files."""

from __future__ import annotations

import ast
import hashlib
import math
import os
import struct
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

from agebench import processes
from agebench.curation.observing.parts import (
    PART_SCHEMA,
    PartWriter,
    curating,
    fold_parts,
    one_at_a_time,
    parts_folder,
    remove_parts,
    write_part,
)
from agebench.errors import ManifestBusy
from agebench.manifest import fingerprints
from agebench.manifest.evidence import COLUMNS, NOT_NUMBERS
from agebench.manifest.fingerprints import frame_digest, label_fingerprint
from agebench.manifest.records import write_records
from agebench.manifest.store import open_manifest, query, set_meta

from .conftest import records

Build = Callable[..., Path]
IMAGE = {"format": "JPEG", "width": 200, "height": 100, "channels": 3, "grayscale": False, "phash": 2**64 - 1,
         "sharpness": 100.0, "brightness": 100.0, "contrast": 50.0}  # fmt: skip


def face(x: float, y: float, w: float, h: float, score: float = 0.9) -> dict[str, Any]:
    points = [x + w * 0.3, y + h * 0.4, x + w * 0.7, y + h * 0.4, x + w / 2, y + h * 0.6,
              x + w * 0.35, y + h * 0.8, x + w * 0.65, y + h * 0.8]  # fmt: skip
    return {"x": x, "y": y, "w": w, "h": h, "score": score, "sharpness": 80.0, "landmarks": points}


def seen(
    number: int,
    faces: list[dict[str, Any]] | None = None,
    *,
    detector: str = "d",
    failed: str | None = None,
    **changed: Any,
) -> dict[str, Any]:
    """A part row: one look at a picture by the image observer and a detector."""
    return {
        "part": "p", "path": f"{number:05d}.jpg", "sha256": f"{number:064x}", "bytes": 10, "mtime": 1,
        "observed": [{"observer": "image", "version": "1", "error": None},
                     {"observer": f"faces:{detector}", "version": "1", "error": failed}],
        "image": IMAGE, "detector": detector, "faces": faces or [],
    } | changed  # fmt: skip


def part(path: Path, *rows: dict[str, Any]) -> Path:
    return write_part(path, pa.Table.from_pylist(list(rows), schema=PART_SCHEMA))


def fold(path: Path) -> None:
    with open_manifest(path, write=True) as con:
        set_meta(con, detector="d")
        folded = fold_parts(con, path)
    remove_parts(path, folded)


def evidence(path: Path) -> list[dict[str, Any]]:
    with open_manifest(path) as con:
        return query(con, "SELECT * FROM evidence ORDER BY record_id").to_dicts()


def tables(path: Path) -> dict[str, pl.DataFrame]:
    with open_manifest(path) as con:
        return {name: query(con, f"SELECT * FROM {name} ORDER BY ALL") for name in ("content", "image", "observed",
                                                                                    "face")}  # fmt: skip


# --- columns ---------------------------------------------------------------------------------------------------


def test_every_column_of_evidence_is_described_with_its_type(build: Build) -> None:
    with open_manifest(build()) as con:
        described = con.execute("DESCRIBE evidence").fetchall()
    assert [(name, kind) for name, kind, *_ in described] == [(name, column.type) for name, column in COLUMNS.items()]
    assert {"part", "dob", "grayscale", "phash", "near_of", "identity_face"} <= NOT_NUMBERS
    assert not {"age", "faces", "near_rank", "label_suspicion"} & NOT_NUMBERS


def test_nan_never_enters_evidence_and_infinity_stays(build: Build) -> None:
    path = build(3, second_face_score=[math.nan, 4.0, None], face_score=[-math.inf, math.nan, 1.0])
    rows = evidence(path)
    assert [r["second_face_score"] for r in rows] == [None, 4.0, None]
    assert [r["face_score"] for r in rows] == [-math.inf, None, 1.0]


def test_no_number_of_evidence_is_nan_whatever_the_faces_are(build: Build) -> None:
    path = build(2, box_x=[0.0, 5.0], box_y=[0.0, 5.0], box_w=[0.0, 50.0], box_h=[0.0, 50.0])
    part(path, seen(0, [face(0, 0, 10, 10)]), seen(1, [face(5, 5, 50, 50), face(100, 20, 20, 20)]))
    fold(path)
    for row in evidence(path):
        assert not [k for k, v in row.items() if isinstance(v, float) and math.isnan(v)]


# --- the face that is meant ------------------------------------------------------------------------------------


def test_the_face_in_the_releases_box_is_meant_else_the_largest(build: Build) -> None:
    path = build(2, box_x=[120.0, None], box_y=[10.0, None], box_w=[40.0, None], box_h=[40.0, None])
    faces = [face(0, 0, 80, 80), face(122, 12, 40, 40)]
    part(path, seen(0, faces), seen(1, faces))
    fold(path)
    boxed, free = evidence(path)
    assert (boxed["face_no"], boxed["face_chosen_by"]) == (1, "release box")
    assert boxed["box_overlap"] == pytest.approx(38 * 38 / (2 * 1600 - 38 * 38))
    assert boxed["box_offset"] == pytest.approx(math.hypot(2, 2) / 40)
    assert (free["face_no"], free["face_chosen_by"]) == (0, "largest")
    assert free["second_face_ratio"] == pytest.approx(0.5)
    assert (free["faces"], free["face_size"], free["face_share"]) == (2, 80, 0.8)


def test_faces_of_another_detector_are_not_evidence(build: Build) -> None:
    path = build(1)
    part(path, seen(0, [face(0, 0, 50, 50)], detector="other"))
    fold(path)
    [row] = evidence(path)
    assert row["faces"] is None
    assert row["face_no"] is None
    assert row["width"] == 200


def test_looked_at_without_a_face_is_none_and_a_failed_look_is_unknown(build: Build) -> None:
    path = build(2)
    part(path, seen(0), seen(1, failed="error: too odd"))
    fold(path)
    empty, failed = evidence(path)
    assert (empty["faces"], empty["detector_error"]) == (0, None)
    assert (failed["faces"], failed["detector_error"]) == (None, "error: too odd")


def test_of_exact_copies_the_first_with_a_plausible_age_stays(build: Build) -> None:
    path = build(4, age=[-3, 30, 33, 30])
    part(path, *(seen(i, sha256="a" * 64) for i in range(3)), seen(3, sha256="b" * 64))
    fold(path)
    rows = evidence(path)
    assert [r["copy_rank"] for r in rows] == [3, 1, 2, 1]
    assert [r["copies"] for r in rows] == [3, 3, 3, 1]
    assert {r["copy_of"] for r in rows[:3]} == {"p/00001.jpg"}
    assert [r["copies_age_gap"] for r in rows] == [3, 3, 3, 0]  # -3 is no age


# --- part files ------------------------------------------------------------------------------------------------


def test_folding_the_same_parts_twice_changes_nothing(build: Build) -> None:
    path = build(3)
    files = [part(path, seen(0, [face(0, 0, 50, 50)]), seen(1)), part(path, seen(2, error="truncated", image=None))]
    kept = [(f, f.read_bytes()) for f in files]
    fold(path)
    once = tables(path)
    assert not parts_folder(path).exists()
    for file, content in kept:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        file.with_name("copy-" + file.name).write_bytes(content)
    fold(path)
    twice = tables(path)
    assert all(once[name].equals(twice[name], null_equal=True) for name in once)
    assert [len(once[name]) for name in ("content", "image", "face")] == [3, 2, 1]


def test_one_content_in_many_places_is_stored_once(build: Build) -> None:
    path = build(3)
    part(path, *(seen(i, [face(0, 0, 50, 50)], sha256="c" * 64) for i in range(3)))
    fold(path)
    assert [len(tables(path)[name]) for name in ("content", "image", "face")] == [3, 1, 1]
    assert [r["faces"] for r in evidence(path)] == [1, 1, 1]


def test_what_a_killed_process_wrote_whole_is_kept(build: Build) -> None:
    path = build(3)
    writer = PartWriter(path)
    for number in range(3):
        writer.write(pa.Table.from_pylist([seen(number, [face(0, 0, 50, 50)])], schema=PART_SCHEMA))
    content = writer.path.read_bytes()  # as SIGKILL leaves it: no end of the stream
    writer.path.write_bytes(content[: int(len(content) * 0.9)])
    fold(path)
    assert tables(path)["content"]["path"].to_list() == ["00000.jpg", "00001.jpg"]


def test_two_processes_do_not_observe_for_one_manifest(build: Build) -> None:
    path = build(1)
    with one_at_a_time(path):
        with pytest.raises(ManifestBusy, match=f"Process {os.getpid()} is curating"), one_at_a_time(path):
            pass
        assert parts_folder(path).is_dir()
    assert not parts_folder(path).exists()


def test_a_process_that_took_the_number_of_a_dead_one_is_not_curating(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build(1)
    with one_at_a_time(path):
        assert curating(path) == os.getpid()
        monkeypatch.setattr(processes, "_started", lambda process: "later")  # as killed, and its number given again
        assert curating(path) is None
        with pytest.raises(ManifestBusy, match="Another process is curating"), one_at_a_time(path):
            pass
        monkeypatch.setattr(processes, "_started", lambda process: "")  # a system that does not say: the number decides
        assert curating(path) == os.getpid()
    assert curating(path) is None


def test_a_process_keeps_its_name_while_it_lives_and_loses_it_when_it_ends() -> None:
    told = (
        "import sys; from agebench.processes import this_process; print(this_process(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", told], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name = process.stdout.readline().strip()
    assert name.split()[0] == str(process.pid)
    assert processes.running(name) == process.pid
    process.communicate("")
    assert processes.running(name) is None
    assert processes.running("") is None
    assert processes.running("no number") is None


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "zeros", "other columns"])
def test_a_broken_part_file_is_left_out_and_removed(build: Build, damage: str) -> None:
    path = build(2)
    part(path, seen(0))
    bad = part(path, seen(1, path="00001.jpg"))
    content = bad.read_bytes()
    if damage == "other columns":
        other = pa.table({"x": [1]})
        with bad.open("wb") as sink, pa.ipc.new_stream(sink, other.schema) as stream:
            stream.write_table(other)
    else:
        bad.write_bytes({"cut": content[: len(content) // 2], "text": b"hello", "empty": b"",
                         "zeros": b"\0" * len(content)}[damage])  # fmt: skip
    fold(path)
    assert tables(path)["content"]["path"].to_list() == ["00000.jpg"]
    assert not parts_folder(path).exists()


def test_records_of_a_new_reading_replace_the_old_and_keep_what_was_observed(build: Build, tmp_path: Path) -> None:
    path = build(2)
    part(path, seen(0), seen(1))
    fold(path)
    with open_manifest(path, write=True) as con:
        assert write_records(con, records(3), {"p": tmp_path})
        assert not write_records(con, records(3), {"p": tmp_path})
    assert [r["width"] for r in evidence(path)] == [200, 200, None]


def test_more_rows_than_duckdb_takes_in_one_go_are_all_there(build: Build) -> None:
    """DuckDB 2.0 was seen to miss rows of its own transaction beyond 122,880."""
    n = 130_000
    path = build(n)
    part(path, *(seen(i, error="missing", image=None, sha256=None, detector=None) for i in range(n)))
    fold(path)
    with open_manifest(path) as con:
        found = con.execute("SELECT count(*), count(file_error) FROM evidence").fetchall()
    assert found == [(n, n)]


# --- fingerprints ----------------------------------------------------------------------------------------------


def test_labels_fingerprint_alike_wherever_the_files_lie() -> None:
    one = pl.DataFrame({"path": ["a/É1.JPG", "a/b.jpg"], "age": [3, None]})
    moved = pl.DataFrame({"path": ["B.png", "x/y/" + unicodedata.normalize("NFD", "é1.jpg")], "age": [None, 3]})
    other = pl.DataFrame({"path": ["a/É1.JPG", "a/b.jpg"], "age": [4, None]})
    assert label_fingerprint(one) == label_fingerprint(moved)
    assert label_fingerprint(one) != label_fingerprint(other)


def test_a_digest_is_of_the_values_alone_and_of_all_of_them() -> None:
    frame = pl.DataFrame({
        "text": ["a", None, "é", ""], "number": pl.Series([1, 2, None, -4], dtype=pl.Int32),
        "share": [0.1, -math.inf, None, 1e300], "day": [date(1970, 1, 2), None, None, date(2000, 1, 1)],
        "yes": [True, False, None, None], "nothing": [None] * 4,
    })  # fmt: skip
    # worked out from the docstring, once and for all: whatever is upgraded, this number stays
    told = hashlib.sha256()
    for name, mask, kind, values in (
        ("text", (0, 1, 0, 0), b"text", struct.pack("<3q", 1, 2, 0) + "aé".encode()),
        ("number", (0, 0, 1, 0), b"integer", struct.pack("<3q", 1, 2, -4)),
        ("share", (0, 0, 1, 0), b"float", struct.pack("<3d", 0.1, -math.inf, 1e300)),
        ("day", (0, 1, 1, 0), b"integer", struct.pack("<2q", 1, 10957)),
        ("yes", (0, 0, 1, 1), b"integer", struct.pack("<2q", 1, 0)),
        ("nothing", (1, 1, 1, 1), b"", b""),
    ):
        told.update(name.encode() + b"\0" + b"4\0" + bytes(mask) + kind + values)
    assert frame_digest(frame) == told.hexdigest()
    wider = frame.with_columns(pl.col("number").cast(pl.Int64), pl.col("nothing").cast(pl.String))
    chunks = pl.concat([wider.head(1), wider.tail(3)], rechunk=False)
    assert frame_digest(chunks) == frame_digest(frame)
    others = [frame.reverse(), frame.select(reversed(frame.columns)), frame.with_columns(text=pl.lit("a")),
              frame.with_columns(pl.col("text").fill_null("")), frame.rename({"yes": "no"})]  # fmt: skip
    assert len({frame_digest(one) for one in (frame, *others)}) == 6


def test_a_polars_that_hashes_and_prints_otherwise_changes_no_identity(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agebench.manifest.plans import curated_fingerprint
    from agebench.recipes import digest, load_curation_recipe
    from agebench.training.data import TrainingData

    path, frame, recipe = build(20), records(20), load_curation_recipe("imdb-wiki-paper")
    drawn = frame.select(
        "part",
        "path",
        "age",
        sha256=pl.lit("s"),
        group_id=pl.lit("g"),
        copies=pl.lit(1),
        photograph_id=pl.lit(0),
        split=pl.lit("train"),
    )

    def identities() -> list[str]:
        data = TrainingData.from_records([], range(20), drawn)  # type: ignore[arg-type]
        with open_manifest(path) as con:
            return [curated_fingerprint(con), data.fingerprint, digest(recipe)]

    before = identities()
    monkeypatch.setattr(pl.DataFrame, "hash_rows", lambda self, **_: pl.Series([1] * len(self), dtype=pl.UInt64))
    monkeypatch.setattr(pl.DataFrame, "write_csv", lambda self: "other")
    monkeypatch.setattr(type(recipe), "model_dump_json", lambda self, **_: "other")
    assert identities() == before
    with open_manifest(path, write=True) as con:
        assert not write_records(con, frame, {"p": path.parent})  # nothing is made anew


def test_nothing_is_identified_by_a_hash_of_python_or_polars() -> None:
    package = Path(fingerprints.__file__).parents[1]
    calls = [
        f"{file.relative_to(package)}:{node.lineno}"
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (getattr(node.func, "id", None) == "hash" or getattr(node.func, "attr", None) in ("hash_rows", "hash"))
    ]
    assert calls == []


def test_a_manifest_is_stored_so_that_older_duckdbs_read_it(build: Build) -> None:
    con = duckdb.connect(str(build()), read_only=True)
    tags = con.execute("SELECT tags FROM duckdb_databases()").fetchall()
    con.close()
    assert {"storage_version": "v1.2.0+"} in [found for (found,) in tags]
