"""agebench review: answers given, taken back, sent out and in, folded in, and the kept records audited."""

from __future__ import annotations

import json
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import pytest

from agebench.manifest.store import open_manifest, query
from agebench.review.decisions import new_decision

Run = Callable
FILE = "manifests/imdb-wiki.decisions.jsonl"
COMMANDS = ("list", "decide", "export", "import", "agreement", "audit")


def ok(done: Any) -> dict[str, Any]:
    assert done.status == 0, done.err
    [line] = done.out.splitlines()
    return dict(json.loads(line))


def told(done: Any, status: int, *words: str) -> None:
    assert done.status == status, done.err
    text = " ".join(done.err.split())
    assert "Traceback" not in text
    assert "failed unexpectedly" not in text
    for word in words:
        assert word in text, (word, text)


def record(workshop: Path, verdict: str, nth: int = 0) -> tuple[str, str]:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        sql = """SELECT part, path FROM judged JOIN content USING (part, path)
                 WHERE verdict = ? AND claimed_age BETWEEN 0 AND 99 AND error IS NULL ORDER BY record_id"""
        return query(con, sql, [verdict]).row(nth)


def verdicts(workshop: Path, agebench: Run) -> dict[tuple[str, str], dict[str, Any]]:
    out = workshop / "v.jsonl"
    assert agebench("export", "--rows", "verdicts", "--out", out, cwd=workshop).status == 0
    return {(r["part"], r["path"]): r for r in pl.read_ndjson(out).to_dicts()}


def test_answers_survive_and_are_folded_in(workshop: Path, agebench: Run) -> None:
    before = verdicts(workshop, agebench)
    kept, waits, gone = record(workshop, "keep"), record(workshop, "review"), record(workshop, "reject")
    found = ok(agebench("review", "decide", *kept, "--reject", "--by", "anna", "--note", "wax", "--json", cwd=workshop))
    assert (found["command"], found["counts"]["answer"], found["line"]["note"]) == ("review decide", "reject", "wax")
    done = agebench("review", "decide", *waits, "--age", 33, "--by", "anna", cwd=workshop)
    assert "decision: keep, age 33 (by anna)" in " ".join(done.out.split())
    assert re.search("`agebench curate imdb-wiki[^`]*` applies it", " ".join(done.out.split()))
    assert agebench("review", "decide", *gone, "--keep", "--by", "anna", cwd=workshop).status == 0
    assert verdicts(workshop, agebench) == before  # nothing changes until it is judged again
    assert "answers wait to be folded in" in json.dumps(ok(agebench("status", "--json", cwd=workshop)))
    curated = ok(agebench("curate", "imdb-wiki", "--json", cwd=workshop))
    assert any(": 3 (records: 3)" in note for note in curated["notes"])
    assert curated["observed"] == 0
    after = verdicts(workshop, agebench)
    assert {name for name in before if before[name] != after[name]} == {kept, waits, gone}
    assert after[kept]["verdict"] == "reject"
    assert "decision" in after[kept]["reasons"].split(";")
    assert (after[waits]["verdict"], after[waits]["age"], after[waits]["decided_by"]) == ("keep", 33, "anna")
    assert after[waits]["claimed_age"] == before[waits]["age"]
    assert (after[gone]["verdict"], after[gone]["reasons"]) == ("keep", "")
    told(agebench("train", "neighborhood-quick", "--set", "train.steps=2", cwd=workshop), 1, "plan", "agebench balance")
    assert "older than the curated rows" in json.dumps(ok(agebench("status", "--json", cwd=workshop)))
    assert agebench("balance", "--per-class", 2, cwd=workshop).status == 0
    (workshop / "manifests" / "imdb-wiki.duckdb").unlink()  # built anew, with every answer
    ok(agebench("curate", "imdb-wiki", "--workers", 1, "--json", cwd=workshop))
    assert verdicts(workshop, agebench) == after


def test_explain_shows_decisions(workshop: Path, agebench: Run) -> None:
    name = record(workshop, "keep")
    agebench("review", "decide", *name, "--reject", "--by", "anna", cwd=workshop)
    agebench("review", "decide", *name, "--keep", "--by", "anna", cwd=workshop)
    agebench("review", "decide", *name, "--undo", "--by", "anna", cwd=workshop)
    agebench("curate", "imdb-wiki", cwd=workshop)
    found = ok(agebench("explain", *name, "--json", cwd=workshop))
    assert (found["verdict"], found["decision"]["answer"]) == ("reject", "reject")
    assert [(a["kind"], a["taken_back"]) for a in found["answers"]] == [
        ("decision", False),
        ("decision", True),
        ("undo", False),
    ]
    text = " ".join(agebench("explain", *name, cwd=workshop).out.split())
    assert "anna, 20" in text
    assert "when last judged: decided: reject" in text
    agebench("review", "decide", *name, "--keep", "--by", "otto", "--settle", cwd=workshop)
    assert "otto, 20" in (text := " ".join(agebench("explain", *name, cwd=workshop).out.split()))
    assert text.count("(settles the others)") == 1


def test_the_list_loses_what_is_answered_and_keeps_its_order(workshop: Path, agebench: Run) -> None:
    found = ok(agebench("review", "list", "--json", cwd=workshop))
    assert set(found) == {"command", "left", "records"}
    assert found["command"] == "review list"
    assert found["left"] == ok(agebench("curate", "imdb-wiki", "--json", cwd=workshop))["review"] > 0
    rows = found["records"]
    assert all({"part", "path", "age", "reasons"} <= set(row) and row["reasons"] for row in rows)
    assert found == ok(agebench("review", "list", "--json", cwd=workshop))
    first = rows[len(rows) // 2]
    agebench("review", "decide", first["part"], first["path"], "--reject", "--by", "anna", cwd=workshop)
    left = ok(agebench("review", "list", "--json", cwd=workshop))
    assert left["records"] == [row for row in rows if row != first]
    assert ok(agebench("review", "list", "--by", "otto", "--json", cwd=workshop))["records"] == rows
    agebench("review", "decide", first["part"], first["path"], "--undo", "--by", "anna", cwd=workshop)
    assert ok(agebench("review", "list", "--json", cwd=workshop))["records"] == rows
    check = rows[0]["reasons"][0]
    some = ok(agebench("review", "list", "--check", check, "--json", cwd=workshop))["records"]
    assert some == [row for row in rows if check in row["reasons"]]
    aged = ok(agebench("review", "list", "--age", "0-40", "--json", cwd=workshop))["records"]
    assert aged == [row for row in rows if row["age"] is not None and row["age"] <= 40]
    part = ok(agebench("review", "list", "--part", "wiki", "--json", cwd=workshop))["records"]
    assert part == [row for row in rows if row["part"] == "wiki"]
    one = ok(agebench("review", "list", "--subject", rows[0]["subject_id"], "--json", cwd=workshop))["records"]
    assert one == [row for row in rows if row["subject_id"] == rows[0]["subject_id"]]
    assert len(ok(agebench("review", "list", "--limit", 1, "--json", cwd=workshop))["records"]) == 1
    told(agebench("review", "list", "--check", "nonsense", cwd=workshop), 2, "nonsense", check)
    nobody = ok(agebench("review", "list", "--check", "reviewers_disagree", "--json", cwd=workshop))
    assert (nobody["left"], nobody["records"]) == (0, [])  # a loop over what is left ends
    told(agebench("review", "list", "--part", "imbd", cwd=workshop), 2, "no part 'imbd'", "imdb, wiki")
    told(agebench("review", "list", "--age", "40-20", cwd=workshop), 2, "the lower age comes first")
    none = agebench("review", "list", "--subject", "nobody", cwd=workshop)
    assert "0 records wait for an answer under these filters" in none.out


def test_records_are_shared_out_among_reviewers(workshop: Path, agebench: Run) -> None:
    def mine(by: str, overlap: float) -> set[str]:
        rows = ok(agebench("review", "list", "--by", by, "--reviewers", "anna, otto", "--overlap", overlap,
                           "--limit", 999, "--json", cwd=workshop))["records"]  # fmt: skip
        return {row["path"] for row in rows}

    every = {row["path"] for row in ok(agebench("review", "list", "--limit", 999, "--json", cwd=workshop))["records"]}
    anna, otto = mine("anna", 0), mine("otto", 0)
    assert anna | otto == every
    assert not anna & otto
    assert mine("anna", 1) == mine("otto", 1) == every
    told(agebench("review", "list", "--by", "zoe", "--reviewers", "anna,otto", cwd=workshop), 2, "zoe")


def test_two_peoples_answers_come_together(workshop: Path, agebench: Run) -> None:
    names = [record(workshop, "keep", i) for i in range(3)]
    for i, name in enumerate(names):
        agebench("review", "decide", *name, "--keep" if i else "--reject", "--by", "anna", cwd=workshop)
    assert agebench("review", "export", "--out", "anna.jsonl", cwd=workshop).status == 0
    (workshop / FILE).unlink()
    for name in names:
        agebench("review", "decide", *name, "--keep", "--by", "otto", cwd=workshop)
    mine = (workshop / FILE).read_bytes()
    found = ok(agebench("review", "import", "anna.jsonl", "--json", cwd=workshop))
    assert (found["read"], found["added"]) == (3, 3)
    assert [(d["part"], d["path"]) for d in found["disagreements"]] == [names[0]]
    once = (workshop / FILE).read_bytes()
    assert ok(agebench("review", "import", "anna.jsonl", "--json", cwd=workshop))["added"] == 0
    assert (workshop / FILE).read_bytes() == once
    (workshop / "otto.jsonl").write_bytes(mine)
    (workshop / FILE).write_bytes((workshop / "anna.jsonl").read_bytes())
    agebench("review", "import", "otto.jsonl", cwd=workshop)
    assert (workshop / FILE).read_bytes() == once
    agreed = ok(agebench("review", "agreement", "--json", cwd=workshop))
    assert (agreed["several"], agreed["agreed"], agreed["measure"]) == (3, 2, "Cohen's kappa")
    assert "anna: reject; otto: keep" in " ".join(agebench("review", "agreement", cwd=workshop).out.split())
    agebench("curate", "imdb-wiki", cwd=workshop)
    rows = verdicts(workshop, agebench)
    assert (rows[names[0]]["verdict"], rows[names[0]]["reasons"]) == ("review", "reviewers_disagree")
    listed = ok(agebench("review", "list", "--check", "reviewers_disagree", "--json", cwd=workshop))
    assert [(r["part"], r["path"]) for r in listed["records"]] == [names[0]]
    assert "--settle" in agebench("review", "agreement", cwd=workshop).out
    told(agebench("review", "decide", *names[0], "--keep", "--settle", "--audit", cwd=workshop), 2, "--settle")
    told(agebench("review", "decide", *record(workshop, "keep", 5), "--keep", "--settle", cwd=workshop), 2, "to settle")
    found = ok(agebench("review", "decide", *names[0], "--age", 44, "--settle", "--by", "zoe", "--json", cwd=workshop))
    assert len(found["line"]["settles"]) == 2
    agebench("curate", "imdb-wiki", cwd=workshop)
    row = verdicts(workshop, agebench)[names[0]]
    assert (row["verdict"], row["age"], row["decided_by"]) == ("keep", 44, "zoe")
    assert ok(agebench("review", "agreement", "--json", cwd=workshop))["settled"] == 1


def test_answers_about_a_test_set_say_that_evaluation_keeps_its_labels(workshop: Path, agebench: Run) -> None:
    with open_manifest(workshop / "manifests" / "fg-net.duckdb") as con:
        part, path = con.execute("SELECT part, path FROM judged WHERE verdict = 'keep'").fetchall()[0]
    words = ("review", "decide", part, path, "--manifest", "fg-net")
    for answer in (("--age", 77), ("--reject",)):
        done = agebench(*words, *answer, cwd=workshop)
        assert done.status == 0
        assert "keeps its published labels" in " ".join((done.out + done.err).split())
    assert "published" not in agebench(*words, "--keep", cwd=workshop).out


def test_a_bad_file_is_refused_and_nothing_changes(workshop: Path, agebench: Run) -> None:
    agebench("review", "decide", *record(workshop, "keep"), "--keep", "--by", "anna", cwd=workshop)
    before = (workshop / FILE).read_bytes()
    (workshop / "bad.jsonl").write_bytes(before + b'{"id": 3}\n')
    told(agebench("review", "import", "bad.jsonl", cwd=workshop), 1, "bad.jsonl, line 2: id")
    (workshop / "bad.json").write_text('[{"data": {"part": "x"}}]')
    told(agebench("review", "import", "bad.json", cwd=workshop), 1, "bad.json, task 1")
    told(agebench("review", "import", "none.jsonl", cwd=workshop), 3, "none.jsonl")
    told(agebench("review", "import", "bad.json", "--format", "xml", cwd=workshop), 2, "label-studio")
    assert (workshop / FILE).read_bytes() == before
    manifest = (workshop / "manifests" / "imdb-wiki.duckdb").read_bytes()
    (workshop / FILE).write_bytes(b"{]\n" + before)
    for words in (("curate", "imdb-wiki"), ("review", "list"), ("review", "export"), ("review", "agreement"),
                  ("review", "decide", *record(workshop, "keep"), "--keep"), ("review", "audit")):  # fmt: skip
        told(agebench(*words, cwd=workshop), 1, f"{FILE}, line 1")
    assert (workshop / FILE).read_bytes() == b"{]\n" + before
    assert (workshop / "manifests" / "imdb-wiki.duckdb").read_bytes() == manifest
    (workshop / FILE).write_bytes(before + before[:40])
    told(agebench("review", "list", "--json", cwd=workshop), 0, "was cut off")
    assert (workshop / FILE).read_bytes() == before


def test_label_studio_there_and_back(workshop: Path, agebench: Run) -> None:
    export = ("review", "export", "--format", "label-studio", "--out", "tasks.json", "--json")
    notes = " ".join(ok(agebench(*export, cwd=workshop))["notes"])
    assert "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true" in notes
    [root] = re.findall(r"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=([^,]+)", notes)
    tasks = json.loads((workshop / "tasks.json").read_text())
    for one in tasks:
        address, _, picture = one["data"]["image"].partition("?d=")
        assert address == "/data/local-files/"
        assert (Path(root) / unquote(picture)).is_file()
    listed = ok(agebench("review", "list", "--limit", 999, "--json", cwd=workshop))["records"]
    assert [t["data"]["path"] for t in tasks] == [r["path"] for r in listed]
    with_face = next(t for t in tasks if t["predictions"][0]["result"])
    rectangle = with_face["predictions"][0]["result"][0]
    with_face["annotations"] = [{
        "id": 1, "completed_by": 7, "created_at": "2026-01-02T03:04:05.678Z", "was_cancelled": False,
        "result": [rectangle, {"type": "number", "from_name": "age", "to_name": "image", "value": {"number": 41}}],
    }]  # fmt: skip
    (workshop / "done.json").write_text(json.dumps(tasks))
    assert "have no annotations" in " ".join(agebench("review", "import", "tasks.json", cwd=workshop).out.split())
    assert ok(agebench("review", "import", "done.json", "--json", cwd=workshop))["added"] == 1
    assert ok(agebench("review", "import", "done.json", "--json", cwd=workshop))["added"] == 0
    agebench("curate", "imdb-wiki", cwd=workshop)
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        [row] = query(con, "SELECT * FROM curated WHERE path = ?", [with_face["data"]["path"]]).to_dicts()
    assert row["age"] == 41
    assert row["face_x"] == pytest.approx(rectangle["value"]["x"] * rectangle["original_width"] / 100, abs=0.1)
    assert row["face_no"] is not None


def test_an_imported_box_outside_the_picture_is_left_out_and_told(workshop: Path, agebench: Run) -> None:
    part, path = record(workshop, "keep")
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        [(sha256,)] = con.execute("SELECT sha256 FROM content WHERE part = ? AND path = ?", [part, path]).fetchall()
    about = {"by": "otto", "kind": "decision", "part": part, "path": path, "sha256": sha256, "answer": "age", "age": 30}
    lines = [new_decision(**about, box=box) for box in ((99999, 99999, 10, 10), (1, 1, 10, 10))]
    (workshop / "theirs.jsonl").write_bytes(b"".join(line.line() for line in lines))
    found = ok(agebench("review", "import", "theirs.jsonl", "--json", cwd=workshop))
    assert found["added"] == 1
    [note] = [note for note in found["notes"] if lines[0].id in note]
    assert "outside the picture" in note
    assert lines[0].id not in (workshop / FILE).read_text()


WRONG = {
    "two answers": (["--keep", "--reject"], "--keep and --reject contradict"),
    "no answer": ([], "expected one of"),
    "undo and answer": (["--undo", "--keep"], "--undo cannot be combined with"),
    "age 100": (["--age", 100], "0 to 99"),
    "no box": (["--face", "1,2,3"], "X,Y,W,H"),
    "flat box": (["--face", "1,2,0,3"], "above 0"),
    "box outside": (["--face", "99999,99999,3,3"], "lies outside the picture"),
    "no name": (["--keep", "--by", " "], "not a valid name"),
    "two names": (["--keep", "--by", "anna;otto"], "not a valid name"),
    "no text": (["--keep", "--by", "anna\udcff"], "not a valid name"),
    "a reading of nothing": (["--keep", "--reading", 2], "--audit"),
    "in no sample": (["--keep", "--audit"], "in no audit sample"),
    "a reading that rejects": (["--reject", "--audit"], "--wrong"),
    "a decision that says wrong": (["--wrong"], "--reject"),
    "an estimate without an audit": (["--looks", 30], "--looks"),
    "both steps at once": (["--audit", "--looks", 30, "--keep"], "contradict"),
    "looks in words": (["--audit", "--looks", "old"], "cannot-tell"),
    "nothing to settle": (["--keep", "--settle"], "nothing to settle"),
    "nothing to undo": (["--undo", "--by", "otto"], "otto has no answer"),
}


@pytest.mark.parametrize(("flags", "words"), WRONG.values(), ids=WRONG.keys())
def test_an_answer_that_cannot_be_is_wrong_usage(workshop: Path, agebench: Run, flags: list[Any], words: str) -> None:
    done = agebench("review", "decide", *record(workshop, "keep"), *flags, "--json", cwd=workshop)
    told(done, 2, words)
    assert json.loads(done.out)["command"] == "review decide"
    assert not (workshop / FILE).exists()


def test_an_unknown_record_names_the_nearest_and_a_wrong_age_is_not_kept(workshop: Path, agebench: Run) -> None:
    part, path = record(workshop, "keep")
    told(agebench("review", "decide", part, path + "x", "--keep", cwd=workshop), 2, "no record", path)
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        bad = con.execute("SELECT part, path FROM record WHERE NOT coalesce(age BETWEEN 0 AND 99, FALSE)").fetchall()
    told(agebench("review", "decide", part, "90/\udcff", "--keep", cwd=workshop), 2, "is not valid UTF-8")
    told(agebench("review", "decide", *bad[0], "--keep", cwd=workshop), 2, "cannot be kept as it is", "right age")
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        [(part, path), *_] = con.execute("SELECT part, path FROM content WHERE error IS NOT NULL").fetchall()
    for answer in (("--keep",), ("--age", 30)):
        told(agebench("review", "decide", part, path, *answer, cwd=workshop), 2, "cannot be read", "reject")
    assert not (workshop / FILE).exists()
    found = ok(agebench("review", "decide", *record(workshop, "keep"), "--keep", "--json", cwd=workshop))
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        [(claimed,)] = con.execute("SELECT age FROM record WHERE path = ?", [found["line"]["path"]]).fetchall()
    assert (found["line"]["claimed"], found["line"]["shown"]) == (claimed, None)
    told(agebench("review", "list", "--manifest", "utkface", cwd=workshop), 3, "utkface")


def test_answers_that_went_missing_stop_curation(workshop: Path, agebench: Run) -> None:
    agebench("review", "decide", *record(workshop, "keep"), "--reject", "--by", "anna", cwd=workshop)
    agebench("curate", "imdb-wiki", cwd=workshop)
    (workshop / FILE).rename(workshop / "elsewhere")
    answer = ("review", "decide", *record(workshop, "keep"), "--keep", "--by", "otto")
    for command in (("curate", "imdb-wiki"), answer, *(("review", word) for word in ("list", "agreement", "export"))):
        told(agebench(*command, cwd=workshop), 1, f"{FILE} is missing", f"touch {FILE}")
    told(agebench("review", "serve", "--port", 0, cwd=workshop), 1, f"{FILE} is missing")
    assert not (workshop / FILE).exists()
    (workshop / FILE).touch()
    told(agebench("curate", "imdb-wiki", "--json", cwd=workshop), 0, "1 of the 1 lines")


def test_the_audit_is_blind_reproducible_and_estimates(workshop: Path, agebench: Run) -> None:
    before = verdicts(workshop, agebench)
    found = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    assert {"command", "n", "readings", "wrong", "interval", "seed", "estimated_at", "curated", "to_read"} <= set(found)
    assert (found["n"], found["wrong"], found["interval"], found["current"]) == (10, None, None, True)
    assert {(row["age"], row["looks"]) for row in found["to_read"]} == {(None, None)}
    assert all(before[row["part"], row["path"]]["verdict"] == "keep" for row in found["to_read"])
    assert "wait to be folded in" not in json.dumps(ok(agebench("status", "--json", cwd=workshop)))
    text = agebench("review", "audit", "--n", 10, "--seed", 1, cwd=workshop).out
    assert "keep" not in text.replace("kept", "")
    assert "claimed" not in text
    assert f"That makes {len(found['to_read'])} readings" in " ".join(text.split())
    rng = random.Random(0)
    for row in found["to_read"]:
        flag = "--wrong" if rng.random() < 0.2 else "--keep"
        step = ("review", "decide", row["part"], row["path"], "--audit", "--by", "anna", "--reading", row["reading"])
        told(agebench(*step, flag, cwd=workshop), 2, "how old the face looks")
        assert "The claimed age" in " ".join(agebench(*step, "--looks", 30, cwd=workshop).out.split())
        assert "changes no verdict" in " ".join(agebench(*step, flag, cwd=workshop).out.split())
        told(agebench(*step, "--looks", "cannot-tell", cwd=workshop), 2, "cannot be changed")
    again = ok(agebench("review", "audit", "--by", "anna", "--json", cwd=workshop))  # the one that was drawn last
    assert (again["n"], again["seed"]) == (10, 1)
    told(agebench("review", "audit", cwd=workshop), 0)
    assert agebench("review", "audit", "--seed", -1, cwd=workshop).status == 2  # the page's address has n-seed
    assert len(list((workshop / "manifests").glob("*.audit-*"))) == 1
    again = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    assert (again["to_read"], again["readings"]) == ([], len(found["to_read"]))
    assert agebench(*step, flag, cwd=workshop).status == 0
    once = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    assert once | {"estimated_at": ""} == again | {"estimated_at": ""}
    low, high = again["interval"]
    assert 0 <= low < again["wrong"] < high <= 1
    agebench("curate", "imdb-wiki", cwd=workshop)
    assert verdicts(workshop, agebench) == before
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb") as con:
        [(kept,)] = con.execute("SELECT value FROM meta WHERE key = 'audit'").fetchall()
    assert {k: v for k, v in json.loads(kept).items() if k != "estimated_at"} == {
        k: again[k] for k in json.loads(kept) if k != "estimated_at"
    }
    trained = ok(agebench("train", "neighborhood-quick", "--set", "train.steps=2", "--set", "train.batch=8", "--set",
                          "train.warmup=1", "--json", cwd=workshop))  # fmt: skip
    assert json.loads((workshop / trained["path"] / "card.json").read_text())["provenance"]["audit"]["interval"] == [
        low,
        high,
    ]
    text = agebench("report", "--tables", "2", "--format", "markdown", cwd=workshop).out
    assert "labels still wrong by an audit of 10" in " ".join(text.split())
    name = found["to_read"][0]
    agebench("review", "decide", name["part"], name["path"], "--reject", "--by", "anna", cwd=workshop)
    agebench("curate", "imdb-wiki", cwd=workshop)
    stale = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    assert (stale["current"], stale["interval"]) == (False, again["interval"])


def test_an_audit_leaves_out_what_has_changed_since_it_was_drawn(workshop: Path, agebench: Run) -> None:
    found = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    name = {key: found["to_read"][0][key] for key in ("part", "path")}
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb", write=True) as con:
        con.execute("UPDATE content SET sha256 = ? WHERE part = ? AND path = ?",
                    ["0" * 64, *name.values()])  # fmt: skip
    after = ok(agebench("review", "audit", "--n", 10, "--seed", 1, "--json", cwd=workshop))
    assert (after["n"], after["changed"], after["current"]) == (10, 1, False)
    assert any("1 records have changed since they were drawn" in note for note in after["notes"])
    assert name not in [{key: row[key] for key in name} for row in after["to_read"]]
    done = agebench("review", "decide", *name.values(), "--looks", 30, "--audit", cwd=workshop)
    assert "has changed since the sample was drawn" in " ".join((done.out + done.err).split())


def test_every_commands_summary_is_whole_at_80_columns(agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    commands = agebench("review", "--help").out.partition("Commands:")[2]
    assert "audit" in commands
    assert not re.search(r"\.\.\.|…", commands)


def test_help_is_light_and_every_example_runs(workshop: Path, agebench: Run) -> None:
    heavy = ("polars", "duckdb", "numpy", "scipy", "sklearn", "torch")
    code = (
        "import sys; from agebench.cli import main\ntry: main()\nexcept SystemExit: pass\n"
        f"print('|', *[m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, "review", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("|")[2].split() == [], done.stderr
    assert all(command in done.stdout for command in COMMANDS)
    part, path = record(workshop, "keep")
    agebench("review", "decide", part, path, "--keep", cwd=workshop)
    assert agebench("review", "export", "--out", "answers.jsonl", cwd=workshop).status == 0
    for command in COMMANDS:
        [example] = re.findall(r"Example: (agebench .*)", agebench("review", command, "--help").out)
        words = [{"PART": part, "PATH": path}.get(word, word) for word in shlex.split(example)[1:]]
        assert words[:2] == ["review", command]
        assert agebench(*words, cwd=workshop).status == 0, example
