"""The file of decisions: nothing that was acknowledged is lost, nothing that is damaged is taken for an answer."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agebench.errors import DecisionError, StorageError
from agebench.review.decisions import (
    Decision,
    append,
    decisions_file,
    merge,
    new_decision,
    new_id,
    parse,
    read,
    read_bytes,
    write_merged,
)


def answer(path: str = "a.jpg", **values: Any) -> Decision:
    return new_decision(**{"by": "anna", "kind": "decision", "part": "p", "path": path, "answer": "keep"} | values)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.decisions.jsonl"


def test_what_was_written_is_read_again(file: Path) -> None:
    lines = [
        answer(sha256="a" * 64, note="schön\nzwei\u2028", shown={"age": 3}),
        answer(answer="age", age=30, box=[1, 2.5, 3, 4]),
        answer(answer="face", box=(1.0, 2.0, 3.0, 4.0)),
        answer(answer="wrong", kind="audit", looks="cannot tell", reading=2, claimed=30),
    ]
    lines.append(answer(kind="undo", answer=None, undoes=lines[0].id))
    for line in lines:
        assert append(file, line) == []
    assert read(file) == (lines, [])
    keys = ["id", "at", "by", "kind", "part", "path", "sha256", "answer", "age", "box", "note", "claimed", "looks",
            "reading", "settles", "batch", "shown", "undoes"]  # fmt: skip
    assert [list(json.loads(line)) for line in file.read_bytes().splitlines()] == [keys] * 5


def test_a_manifests_decisions_lie_beside_it() -> None:
    assert decisions_file(Path("m/fg-net.duckdb")) == Path("m/fg-net.decisions.jsonl")
    assert decisions_file(Path("m/fg-net")) == Path("m/fg-net-decisions.jsonl")
    assert decisions_file(Path("m/fg-net.db")) == Path("m/fg-net.db-decisions.jsonl")
    assert read(Path("nowhere.jsonl")) == ([], [])


def test_a_reviewers_name_is_one_however_it_is_typed() -> None:
    values = {"kind": "decision", "part": "p", "path": "1", "answer": "keep"}
    assert new_decision(by="Rene\u0301", **values).by == "Ren\u00e9"
    with pytest.raises(DecisionError, match="must not contain `;`"):
        new_decision(by="anna;otto", **values)


def test_ids_are_unique_and_in_order() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    assert {len(i) for i in ids} == {36}
    assert {i[14] for i in ids} == {"7"}


WRONG: dict[str, dict[str, Any]] = {
    "age 100": {"answer": "age", "age": 100},
    "age -1": {"answer": "age", "age": -1},
    "age as text": {"answer": "age", "age": "30"},
    "age as a fraction": {"answer": "age", "age": 30.5},
    "age and truth": {"answer": "age", "age": True},
    "age missing": {"answer": "age"},
    "age too much": {"answer": "keep", "age": 3},
    "face without box": {"answer": "face"},
    "reject with box": {"answer": "reject", "box": [0, 0, 1, 1]},
    "flat box": {"answer": "face", "box": [0, 0, 0, 1]},
    "three numbers": {"answer": "face", "box": [0, 0, 1]},
    "infinite box": {"answer": "face", "box": [0, 0, float("inf"), 1]},
    "box of endless digits": {"answer": "face", "box": [0, 0, 10**400, 1]},
    "answer": {"answer": "maybe"},
    "no answer": {"answer": None},
    "kind": {"kind": "x"},
    "undo without id": {"kind": "undo", "answer": None},
    "undo with answer": {"kind": "undo", "undoes": "x"},
    "undoes without undo": {"undoes": "x"},
    "hash": {"sha256": "A" * 64},
    "moment": {"at": "2024-13-01T00:00:00.000000Z"},
    "moment without microseconds": {"at": "2024-12-01T00:00:00Z"},
    "nobody": {"by": " "},
    "a decision that says wrong": {"answer": "wrong"},
    "a reading that rejects": {"kind": "audit", "answer": "reject", "looks": 30, "reading": 1},
    "a reading without an estimate": {"kind": "audit", "answer": "wrong", "reading": 1},
    "a third reading": {"kind": "audit", "answer": "wrong", "looks": 30, "reading": 3},
    "an estimate of nothing": {"kind": "estimate", "answer": None, "reading": 1},
    "an estimate with an answer": {"kind": "estimate", "answer": "keep", "looks": 30, "reading": 1},
    "an estimate that knows the claim": {"kind": "estimate", "answer": None, "looks": 3, "reading": 1, "claimed": 3},
    "an estimate beyond ages": {"kind": "estimate", "answer": None, "looks": 100, "reading": 1},
    "looks in words": {"kind": "estimate", "answer": None, "looks": "old", "reading": 1},
    "a decision with a reading": {"reading": 1},
    "a claim in words": {"claimed": "30"},
    "a claim without end": {"claimed": 10**30},
    "settles one id": {"settles": "id000001"},
    "settles numbers": {"settles": [3]},
    "unknown key": {"extra": 1},
    "a name that moves the cursor": {"by": "a\x1b[2Jb"},
    "a note that moves the cursor": {"note": "a\x1b[2Jb"},
    "a name of two lines": {"by": "a\nb"},
    "half a character": {"note": "\ud800"},
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG.keys())
def test_what_is_no_answer_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(DecisionError, match="This is not a valid answer"):
        answer(**values)


def test_a_damaged_line_names_file_line_and_key_and_nothing_changes(file: Path) -> None:
    append(file, answer(), answer(), answer())
    good = file.read_bytes().splitlines(keepends=True)
    for bad, told in (
        (b"{]\n", "line 2: "),
        (b"\n", "line 2: "),
        (b'{"id": 3}\n', "line 2: id: "),
        (good[1].replace(b"keep", b"kept"), "line 2: answer: "),
        (good[1].replace(b'"note"', b'"nota"'), "line 2: nota: "),
        (good[0].replace(b"anna", b"otto"), "line 2, id: .* occurs twice"),
        (b"\0" * 30 + b"\n", "line 2: "),
    ):
        data = good[0] + bad + good[2]
        file.write_bytes(data)
        with pytest.raises(DecisionError, match=f"{file.name}, {told}") as error:
            read(file)
        assert error.value.exit_status == 1
        assert file.read_bytes() == data


@pytest.mark.parametrize("torn", [b'{"id": "0', b"\0" * 5000, b"x" * 200_000, b"{]\n", b"\0\0\n"])
@pytest.mark.parametrize("by", ["reader", "writer"])
def test_a_torn_last_line_is_moved_aside_with_a_message(file: Path, torn: bytes, by: str) -> None:
    first, second = answer(), answer()
    append(file, first)
    with file.open("ab") as sink:
        sink.write(torn)
    notes = read(file)[1] if by == "reader" else append(file, second)
    [note] = notes
    assert "was cut off" in note
    assert f"({len(torn)} bytes)" in note
    assert file.with_name(file.name + ".torn").read_bytes() == torn.removesuffix(b"\n") + b"\n"
    assert read(file) == ([first] if by == "reader" else [first, second], [])


def test_a_look_that_repairs_nothing_leaves_the_file_alone(file: Path) -> None:
    append(file, answer())
    content = file.read_bytes()
    file.write_bytes(content + b"{")
    assert read_bytes(file, repair=False)[0] == content
    assert file.read_bytes() == content + b"{"


def test_an_answer_is_later_than_the_one_that_it_replaces_although_the_clock_was_set_back() -> None:
    old = answer(at="2999-01-01T00:00:00.000000Z")
    assert answer(after=old).at == "2999-01-01T00:00:00.000001Z"
    assert answer(after=answer()).at < "2999"


def test_a_link_to_a_file_under_version_control_stays_a_link(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "repository.jsonl"
    real.write_bytes(answer().line())
    file.symlink_to(real)
    write_merged(file, [answer()])
    append(file, answer())
    assert file.is_symlink()
    assert len(read(real)[0]) == 3


APPEND = """
import sys
from pathlib import Path
from agebench.review.decisions import append, new_decision
for n in range(100_000):
    one = new_decision(by="anna", kind="decision", part="p", path=f"{n}.jpg", answer="keep", note="x" * 3000)
    append(Path(sys.argv[1]), one)
    print(one.id, flush=True)
"""


def test_what_was_acknowledged_before_a_kill_is_there(file: Path) -> None:
    acknowledged: list[str] = []
    for seconds in (0.05, 0.2):
        process = subprocess.Popen([sys.executable, "-c", APPEND, str(file)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        acknowledged.append(process.stdout.readline().strip())
        time.sleep(seconds)
        process.kill()
        acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
        process.wait()
    assert len(acknowledged) > 10
    assert set(acknowledged) <= {d.id for d in read(file)[0]}


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_file_cut_anywhere_keeps_every_line_that_was_whole(file: Path, cut: int) -> None:
    lines = [answer(note="é" * n) for n in range(3)]
    append(file, *lines)
    content = file.read_bytes()[:-cut]
    file.write_bytes(content)
    found, notes = read(file)
    whole = content.count(b"\n") + (cut == 1)
    assert found == lines[:whole]
    assert bool(notes) == (not content.endswith(b"\n") and cut != 1)
    append(file, lines[2].model_copy(update={"id": "new"}))
    assert len(read(file)[0]) == whole + 1


def test_a_whole_line_without_its_line_break_is_kept(file: Path) -> None:
    one, two = answer(), answer()
    file.write_bytes(one.line().removesuffix(b"\n"))
    assert read(file) == ([one], [])
    assert append(file, two) == []
    assert read(file) == ([one, two], [])
    assert not file.with_name(file.name + ".torn").exists()


def _write(file: Path, name: str, n: int) -> None:
    for i in range(n):
        append(file, answer(f"{i}.jpg", by=name, note="x" * random.Random(i).randrange(9000)))


def test_several_processes_write_without_mixing_lines(file: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(file, f"w{i}", 60)) for i in range(3)]
    for worker in workers:
        worker.start()
    others = [answer(by="merged", path=f"m{i}") for i in range(30)]
    for other in others:  # the file is replaced while they write
        write_merged(file, [other])
    for worker in workers:
        worker.join()
    found, notes = read(file)
    assert (len(found), notes) == (210, [])
    assert [d.path for d in found if d.by == "w1"] == [f"{i}.jpg" for i in range(60)]


def test_merging_either_way_round_gives_the_same_bytes(file: Path) -> None:
    shared = [answer(f"{i}.jpg") for i in range(5)]
    mine = [*shared, answer("0.jpg", by="anna", answer="reject")]
    theirs = [answer("0.jpg", by="otto", answer="age", age=4), *reversed(shared)]
    one, two = merge(mine, theirs), merge(theirs, mine)
    assert one == two
    assert merge(one, two) == one
    assert {d.id for d in one} == {d.id for d in (*mine, *theirs)}
    append(file, *mine)
    merged, added, _ = write_merged(file, theirs)
    assert (merged, added) == (one, 1)
    other = file.with_name("other.jsonl")
    append(other, *theirs)
    write_merged(other, mine)
    assert file.read_bytes() == other.read_bytes()
    assert write_merged(file, theirs)[1] == 0


def test_one_id_with_two_contents_is_refused_and_nothing_changes(file: Path) -> None:
    mine = answer()
    append(file, mine)
    before = file.read_bytes()
    with pytest.raises(DecisionError, match=mine.id):
        write_merged(file, [mine.model_copy(update={"by": "otto"})])
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_full_disk_leaves_no_half_answer(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(file, answer())
    before = file.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[: len(data) // 2]))
    with pytest.raises(StorageError, match="answer again"):
        append(file, answer())
    assert file.read_bytes() == before


def test_thousands_of_lines_are_read_in_their_order() -> None:
    lines = [answer(f"{i}.jpg") for i in range(5000)]
    assert parse(b"".join(line.line() for line in lines), "x") == lines
