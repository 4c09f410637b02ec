"""What decisions make of verdicts, ages and faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench.curation.compiled import CompiledCheck
from agebench.curation.verdicts import judge_apart
from agebench.errors import DecisionError
from agebench.manifest.export import plan_rows, verdict_rows
from agebench.manifest.plans import PlanFacts, curated_fingerprint, write_plan
from agebench.manifest.record_view import view_record
from agebench.manifest.renewal import made_at, read_state
from agebench.manifest.store import open_manifest, query
from agebench.manifest.summary import counts, funnel
from agebench.review.decisions import Decision, append, decisions_file, new_decision
from agebench.review.folding import answers_key, check_answers
from agebench.review.rows import answered_record, auditable_rows, queue_rows

from .judging import facts_of, fold_answers, judge_by
from .test_evidence import face, fold, part, seen

Build = Callable[..., Path]
CHECKS = [
    CompiledCheck("odd", "review", "age % 2 = 1", "'odd ' || age", "age", frozenset(), True),
    CompiledCheck("high", "reject", "age >= 4", "'high ' || age", "age", frozenset(), True),
]


def say(file: Path, number: int, answer: str, by: str = "anna", **values: Any) -> Decision:
    one = new_decision(by=by, kind="decision", part="p", path=f"{number:05d}.jpg", answer=answer, **values)
    append(decisions_file(file), one)
    return one


def judged(file: Path, checks: list[CompiledCheck] = CHECKS) -> list[dict[str, Any]]:
    judge_by(file, checks)
    with open_manifest(file) as con:
        return verdict_rows(con).to_dicts()


def test_a_decision_beats_every_verdict(build: Build) -> None:
    path = build(6)  # ages 0 to 5: 1, 3 in review, 4 rejected, 5 rejected (and odd)
    assert [r["verdict"] for r in judged(path)] == ["keep", "review", "keep", "review", "reject", "reject"]
    say(path, 0, "reject")
    say(path, 1, "keep", by="otto", note="fine")
    say(path, 3, "age", age=33)
    say(path, 5, "keep")
    rows = judged(path)
    assert [r["verdict"] for r in rows] == ["reject", "keep", "keep", "keep", "reject", "keep"]
    assert [r["reasons"] for r in rows] == ["decision", "", "", "", "high", ""]
    assert [(r["age"], r["claimed_age"]) for r in rows] == [(0, 0), (1, 1), (2, 2), (33, 3), (4, 4), (5, 5)]
    assert [r["decided_by"] for r in rows] == ["anna", "otto", None, "anna", None, "anna"]
    with open_manifest(path) as con:
        assert counts(con) == {"keep": 4, "review": 0, "reject": 2}
        assert query(con, "SELECT age FROM curated")["age"].to_list() == [1, 2, 33, 5]
        assert auditable_rows(con)["age"].to_list() == [1, 2, 33, 5]
        steps = dict(funnel(con).select("step", "records").iter_rows())
        assert steps == {"records": 6, "odd": 0, "high": 1, "decision": 1, "reviewers_disagree": 0,
                         "picture_changed": 0, "claim_changed": 0, "answer_does_not_fit": 0, "kept": 4}  # fmt: skip
        other = judge_apart(con, CHECKS[:1], recipe="r")
        assert other["verdict"].to_list() == ["reject", "keep", "keep", "keep", "keep", "keep"]
        assert other["reasons"].to_list() == ["decision", "", "", "", "", ""]
        assert (view_record(con, 1).decision or {})["note"] == "fine"
        assert view_record(con, 2).decision is None


def test_disagreement_and_a_changed_picture_leave_a_record_in_review(build: Build) -> None:
    path = build(4)
    part(path, *(seen(i) for i in range(4)))
    fold(path)
    sha = f"{2:064x}"
    say(path, 2, "reject", sha256=sha)
    say(path, 2, "keep", by="otto", sha256=sha)
    say(path, 3, "keep", sha256="f" * 64)
    say(path, 9, "keep")
    rows = judged(path)
    assert [r["verdict"] for r in rows] == ["keep", "review", "review", "review"]
    assert [r["reasons"] for r in rows] == ["", "odd", "reviewers_disagree", "picture_changed;odd"]
    assert [r["decided_by"] for r in rows] == [None] * 4
    assert facts_of(path) == {"answers": 3, "decided": 0, "conflict": 1, "unfit": 0, "claim_changed": 0, "changed": 1,
                           "gone": 1, "lines": 4}  # fmt: skip
    notes = fold_answers(path)
    assert "1 on which reviewers disagree, 1 whose picture has changed" in notes[0]
    assert "1 records that are not in this release" in notes[1]
    with open_manifest(path) as con:
        assert [(r["record_id"], r["checks"]) for r in queue_rows(con).to_dicts()] == [(1, 1), (2, 1), (3, 2)]
        assert funnel(con)["records"].sum() == 2 * 4


def test_everything_that_tells_a_verdict_tells_the_same(build: Build) -> None:
    """Every status of an answer, on records that the checks keep, doubt and reject (ages 0, 1 and 4)."""
    ages = [0, 1, 4] * 6
    path = build(18, age=ages, subject_id=["s"] * 18)
    part(path, *(seen(i) for i in range(18)))
    fold(path)
    sha = [f"{i:064x}" for i in range(18)]
    for i in range(3):  # 0 to 2: nobody answered
        say(path, 3 + i, "reject", sha256=sha[3 + i])
        say(path, 6 + i, "age", age=50, sha256=sha[6 + i])
        say(path, 9 + i, "reject", sha256=sha[9 + i])
        say(path, 9 + i, "keep", by="otto", sha256=sha[9 + i])
        say(path, 12 + i, "keep", sha256="f" * 64)
        say(path, 15 + i, "keep", claimed=77, sha256=sha[15 + i])
    exported = {i: row["verdict"] for i, row in enumerate(judged(path))}
    assert list(exported.values()) == ["keep", "review", "reject"] + ["reject"] * 3 + ["keep"] * 3 + ["review"] * 9
    with open_manifest(path) as con:
        assert dict(con.execute("SELECT record_id, verdict FROM judged").fetchall()) == exported
        assert dict(judge_apart(con, CHECKS, recipe="r").select("record_id", "verdict").iter_rows()) == exported
        views = {i: view_record(con, i) for i in range(18)}
        assert {i: view.verdict for i, view in views.items() if view} == exported
        others = {row["record_id"]: row["verdict"] for i in (0, 1) for row in views[i].relatives}  # type: ignore[union-attr]
        assert others == exported
        said = list(exported.values())
        assert counts(con) == {verdict: said.count(verdict) for verdict in ("keep", "review", "reject")}
        kept = [i for i, verdict in exported.items() if verdict == "keep"]
        for view in ("kept", "curated"):
            assert query(con, f"SELECT record_id FROM {view} ORDER BY 1")["record_id"].to_list() == kept
        assert dict(funnel(con).select("step", "records").iter_rows())["kept"] == len(kept)
        waiting = sorted(queue_rows(con)["record_id"].to_list())
        assert waiting == [i for i, verdict in exported.items() if verdict == "review"]


def test_nothing_new_costs_nothing_and_another_release_folds_anew(build: Build) -> None:
    path = build(3)
    say(path, 1, "keep")
    judged(path)
    with open_manifest(path) as con:
        before = made_at(con, "decisions")
    assert fold_answers(path) == [f"Answers folded in from {decisions_file(path)}: 1 (records: 1)."]
    with open_manifest(path) as con:
        assert made_at(con, "decisions") == before
    decisions_file(path).write_bytes(b"")
    assert [r["verdict"] for r in judged(path)] == ["keep", "review", "keep"]
    say(path, 1, "keep")
    judged(path)
    build(2)
    with open_manifest(path) as con:
        assert con.execute("SELECT count(*) FROM decision").fetchall() == [(0,)]
    assert [r["verdict"] for r in judged(path)] == ["keep", "keep"]


def test_answers_that_cannot_be_taken_say_why(build: Build) -> None:
    path = build(4, age=[2009, 2, 2, 2], part=["p"] * 4, path=["00000.jpg", "00001.jpg", "00002.jpg", "00001.jpg"])
    say(path, 0, "keep")
    say(path, 1, "reject")
    say(path, 2, "keep", claimed=3)
    rows = judged(path, [])
    assert [r["verdict"] for r in rows] == ["review", "reject", "review", "reject"]
    assert [r["reasons"] for r in rows] == ["answer_does_not_fit", "decision", "claim_changed", "decision"]
    with open_manifest(path) as con:
        assert query(con, "SELECT * FROM curated").is_empty()
        assert queue_rows(con)["record_id"].to_list() == [0, 2]
    note = fold_answers(path)[0]
    assert "3 (records: 4)" in note
    assert "1 whose answer does not fit the record, 1 whose claimed age has changed" in note


def test_a_file_of_answers_that_has_gone_stops_and_a_shorter_one_is_told(build: Build) -> None:
    path = build(3)
    say(path, 0, "reject")
    say(path, 1, "keep")
    before = judged(path)
    file = decisions_file(path)
    lines = file.read_bytes()
    file.unlink()
    for act in (fold_answers, lambda path: check_answers(path, read_state(path), answers_key(path))):
        with pytest.raises(DecisionError, match="is missing, but 2 lines of it are folded into") as error:
            act(path)
        assert "touch" in error.value.next_step
    file.write_bytes(lines)
    assert judged(path) == before
    file.write_bytes(lines.splitlines(keepends=True)[0])
    assert "1 of the 2 lines" in fold_answers(path)[0]
    judged(path)
    assert not any("gone from it" in note for note in fold_answers(path))
    file.write_bytes(b"")
    assert [r["verdict"] for r in judged(path)] == ["keep", "review", "keep"]
    file.unlink()  # nothing is folded in from it any more
    assert fold_answers(path) == []


def test_decisions_make_a_plan_stale_and_its_ages_are_those_in_force(build: Build) -> None:
    path = build(3)
    part(path, seen(0, [face(0, 0, 50, 50)]))
    fold(path)
    judged(path)
    with open_manifest(path) as con:
        before = curated_fingerprint(con)
    prints = {before}
    sha = f"{0:064x}"
    for values in ({"answer": "age", "age": 9}, {"answer": "keep"}, {"answer": "face", "box": [60, 0, 9, 9]},
                   {"answer": "reject"}):  # fmt: skip
        say(path, 0, sha256=sha, **values)
        judged(path)
        with open_manifest(path, write=True) as con:
            prints.add(curated_fingerprint(con))
            if values["answer"] == "age":
                write_plan(con, pl.DataFrame({"record_id": [0], "copies": [2]}),
                           PlanFacts("x", 1, (0, 9), 0, "2020", curated_fingerprint(con)))  # fmt: skip
                assert plan_rows(con, "x").to_dicts() == [{"part": "p", "path": "00000.jpg", "age": 9, "copies": 2}]
    assert len(prints) == 4  # a mere keep changes nothing


def test_a_box_means_the_face_that_it_overlaps_most_else_itself(build: Build) -> None:
    path = build(3, age=[0, 2, 2])
    faces = [face(0, 0, 60, 60), face(100, 20, 20, 20)]
    part(path, *(seen(i, faces) for i in range(3)))
    fold(path)
    say(path, 0, "face", box=[98, 18, 24, 24], sha256=f"{0:064x}")
    say(path, 1, "age", age=7, box=[150, 50, 30, 40], sha256=f"{1:064x}")
    judged(path)
    with open_manifest(path) as con:
        rows = query(con, "SELECT * FROM curated ORDER BY record_id").to_dicts()
    assert [r["face_no"] for r in rows[::2]] == [1, 0]
    assert (rows[0]["face_x"], rows[0]["face_w"]) == (100, 20)
    assert rows[0]["landmarks"] == pytest.approx(faces[1]["landmarks"])
    own = rows[1]
    assert (own["face_x"], own["face_y"], own["face_w"], own["face_h"]) == (150, 50, 30, 40)
    assert -32_002 < own["face_no"] < -1
    assert all(150 < x < 180 for x in own["landmarks"][::2])
    assert all(50 < y < 90 for y in own["landmarks"][1::2])


def test_the_record_that_is_answered_about(build: Build) -> None:
    path = build(2)
    part(path, seen(1))
    fold(path)
    judged(path)
    with open_manifest(path) as con:
        one = answered_record(con, "p", "00001.jpg")
        assert answered_record(con, "p", "x") is None
    assert one is not None
    assert (one.record_id, one.age, one.verdict, one.width, one.height) == (1, 1, "review", 200, 100)


def test_what_a_person_sees_who_is_asked(build: Build) -> None:
    path = build(6, subject_id=["1", "1", "1", "2", None, None], photo_year=[2003, 2001, None, 1, 1, 1])
    faces = [face(0, 0, 60, 60), face(100, 20, 20, 20)]
    part(path, seen(0, faces), seen(1, faces), seen(2, faces), seen(3, faces, sha256=f"{0:064x}"))
    fold(path)
    with open_manifest(path, write=True) as con:
        con.execute(
            "INSERT INTO age_estimate VALUES (?, 1, 'e', 33, 4, [0.5, 0.5]), (?, 0, 'e', 9, 4, NULL)", [f"{1:064x}"] * 2
        )
        con.execute("INSERT INTO near_copy SELECT i, 1, 2, 1, 'p/00001.jpg', 0 FROM (VALUES (1), (2)) t (i)")
    say(path, 1, "age", age=33, box=[98, 18, 24, 24], sha256=f"{1:064x}")
    say(path, 2, "reject", sha256=f"{2:064x}")
    judged(path)
    with open_manifest(path) as con:
        one, alone, first = view_record(con, 1), view_record(con, 5), view_record(con, 0)
        verdicts = {r["record_id"]: r["verdict"] for r in query(con, "SELECT * FROM judged").to_dicts()}
        assert {i: (view_record(con, i) or one).verdict for i in range(6)} == verdicts  # type: ignore[union-attr]
        assert view_record(con, 6) is None
        unanswered = view_record(con, 1, answered=False)
    assert one is not None
    assert alone is not None
    assert first is not None
    assert unanswered is not None
    assert (unanswered.age, unanswered.verdict, unanswered.decision) == (1, "review", None)
    assert [f["meant"] for f in unanswered.faces] == [True, False]
    assert [(r["record_id"], r["verdict"]) for r in unanswered.relatives] == [(0, "keep"), (2, "keep")]
    assert (one.age, one.verdict, [r["check"] for r in one.reasons]) == (33, "keep", ["odd"])
    assert [f["meant"] for f in one.faces] == [False, True]
    assert [(e["age"], e["probabilities"]) for e in one.meant_estimates] == [(33, [0.5, 0.5])]
    assert [(r["record_id"], r["verdict"]) for r in one.relatives] == [(0, "keep"), (2, "reject")]
    assert [r["record_id"] for r in one.duplicates] == [2]
    assert [r["record_id"] for r in first.duplicates] == [3]
    assert [(r["record_id"], r["age"]) for r in first.relatives] == [(1, 33), (2, 2)]
    assert (alone.faces, alone.relatives, alone.duplicates, alone.decision) == ([], [], [], None)
