"""What many lines come to, whatever their order."""

from __future__ import annotations

import random
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.review.decisions import Decision, merge
from agebench.review.resolution import resolve, taken_back, without_records

A, B = "a" * 64, "b" * 64
SCHEMA = {"record_id": pl.Int32, "part": pl.Utf8, "path": pl.Utf8, "age": pl.Int32, "sha256": pl.Utf8,
          "looked": pl.Boolean}  # fmt: skip
RECORDS = pl.DataFrame(
    [(0, "p", "0", 30, A, True), (1, "p", "1", 31, None, True), (2, "p", "2", 32, None, False),
     (3, "p", "3", None, A, True)],
    schema=SCHEMA, orient="row",
)  # fmt: skip


def line(number: int, by: str = "anna", path: str = "0", answer: str | None = "keep", **values: Any) -> Decision:
    given = {"id": f"id{number:06d}", "at": f"2026-01-01T00:00:{number // 100 % 60:02d}.{number % 100:06d}Z", "by": by,
             "kind": "decision", "part": "p", "path": path, "sha256": A, "answer": answer}  # fmt: skip
    return Decision.model_validate(given | values)


def undo(number: int, undoes: int, **values: Any) -> Decision:
    return line(number, **{"kind": "undo", "answer": None, "undoes": f"id{undoes:06d}"} | values)


def only(*lines: Decision) -> dict[str, Any]:
    [row] = resolve(lines, RECORDS).to_dicts()
    return row


def test_the_latest_answer_of_a_reviewer_counts() -> None:
    row = only(line(2, answer="age", age=40), line(1, answer="reject"))
    assert row == {"record_id": 0, "status": "decided", "answer": "age", "age": 40, "box": None, "by": "anna",
                   "at": "2026-01-01T00:00:00.000002Z", "note": None, "answers": 1}  # fmt: skip


def test_an_undo_brings_back_what_was_answered_before_and_can_be_undone() -> None:
    first, second = line(1, answer="reject"), line(2, answer="keep")
    assert only(first, second)["answer"] == "keep"
    assert only(first, second, undo(3, 2))["answer"] == "reject"
    assert only(first, second, undo(3, 2), undo(4, 3))["answer"] == "keep"
    assert only(first, second, undo(3, 2), undo(4, 3), undo(5, 4))["answer"] == "reject"
    assert resolve([first, undo(3, 1)], RECORDS).is_empty()
    assert only(first, undo(3, 1), undo(4, 1), undo(5, 3), second)["answer"] == "keep"


def test_undos_that_do_not_count() -> None:
    first = line(1)
    for other in (undo(2, 1, by="otto"), undo(2, 1, path="1"), undo(2, 7), undo(2, 2)):
        assert only(first, other)["answer"] == "keep"
    assert taken_back([undo(2, 3), undo(3, 2), first]) == set()


def test_reviewers_who_disagree_decide_nothing() -> None:
    for one, two in ((("keep", None), ("reject", None)), (("age", 40), ("age", 41)), (("keep", None), ("age", 29))):
        row = only(line(1, answer=one[0], age=one[1]), line(2, "otto", answer=two[0], age=two[1]))
        assert (row["status"], row["answer"], row["age"], row["by"]) == ("conflict", None, None, "anna;otto")
    agreed = only(line(1), line(2, "otto", answer="age", age=30), line(3, "zoe", answer="face", box=(0, 0, 9, 9)))
    assert (agreed["status"], agreed["answer"], agreed["answers"]) == ("decided", "keep", 3)
    assert agreed["box"] == [0, 0, 9, 9]


def test_two_faces_are_a_disagreement_and_two_boxes_of_one_face_are_none() -> None:
    one = line(1, answer="face", box=(0, 0, 10, 10))
    assert only(one, line(2, "otto", answer="face", box=(1, 1, 10, 10)))["status"] == "decided"
    assert only(one, line(2, "otto", answer="age", age=30, box=(50, 0, 10, 10)))["status"] == "conflict"
    assert only(one, line(2, "otto"))["box"] == [0, 0, 10, 10]


def test_an_answer_about_another_picture_reopens_the_record() -> None:
    assert only(line(1, sha256=B))["status"] == "changed"
    assert only(line(1, sha256=B), line(2, "otto", answer="reject", sha256=A))["answer"] == "reject"
    assert only(line(1, path="1", sha256=None))["status"] == "decided"
    assert only(line(1, path="1", sha256=A))["status"] == "changed"
    assert only(line(1, path="2", sha256=A))["status"] == "decided"  # nobody has looked at its file since


def test_audit_answers_decide_nothing_and_unknown_records_are_counted() -> None:
    lines = [
        line(1, kind="audit", answer="wrong", looks=30, reading=1),
        line(2, path="gone"),
        line(3, path="gone", by="otto"),
        line(4),
    ]
    assert resolve(lines, RECORDS)["record_id"].to_list() == [0]
    assert without_records(lines, RECORDS) == 1
    assert resolve([], RECORDS).is_empty()


def test_an_answer_that_cannot_be_meant_leaves_the_record_in_review() -> None:
    records = RECORDS.with_columns(
        error=pl.Series([None, "missing", None, None]), width=pl.Series([200, None, None, 200]), height=100
    )

    def status(*lines: Decision) -> tuple[str, str | None]:
        [row] = resolve(lines, records).to_dicts()
        return row["status"], row["answer"]

    assert status(line(1, path="3")) == ("unfit", None)  # it claims no age
    assert status(line(1, path="3", answer="face", box=(0, 0, 9, 9))) == ("unfit", None)
    assert status(line(1, path="3", answer="age", age=20)) == ("decided", "age")
    assert status(line(1, path="3", answer="reject")) == ("decided", "reject")
    assert status(line(1, path="3"), line(2, "otto", path="3", answer="age", age=20)) == ("decided", "age")
    assert status(line(1, path="1", sha256=None)) == ("unfit", None)  # its picture cannot be read
    assert status(line(1, path="1", sha256=None, answer="age", age=20)) == ("unfit", None)
    assert status(line(1, path="1", sha256=None, answer="reject")) == ("decided", "reject")
    assert status(line(1, answer="face", box=(300, 0, 9, 9))) == ("unfit", None)
    assert status(line(1, answer="age", age=3, box=(190, 90, 30, 30))) == ("unfit", None)
    assert status(line(1, answer="face", box=(180, 80, 30, 30))) == ("decided", "keep")
    claims = RECORDS.with_columns(age=pl.lit(2009, pl.Int32))
    assert resolve([line(1)], claims)["status"].to_list() == ["unfit"]


def test_a_keep_does_not_survive_another_claimed_age() -> None:
    assert only(line(1, claimed=30))["status"] == "decided"
    assert only(line(1, shown={"mode": "page"}))["status"] == "decided"
    for then in (31, 1930, -1):
        assert only(line(1, claimed=then))["status"] == "claim_changed"
    assert only(line(1, answer="face", box=(0, 0, 9, 9), claimed=31))["status"] == "claim_changed"
    assert only(line(1, answer="age", age=7, claimed=31))["age"] == 7
    assert only(line(1, answer="reject", claimed=31))["answer"] == "reject"
    assert only(line(1, claimed=31), line(2, "otto", answer="age", age=8))["age"] == 8


def test_of_records_with_one_name_the_first_is_meant_but_a_reject_takes_all() -> None:
    again = pl.concat([RECORDS, RECORDS.head(1).with_columns(record_id=pl.lit(9, pl.Int32), age=pl.lit(50, pl.Int32))])
    for one in (line(1), line(1, answer="age", age=7)):
        assert resolve([one], again.reverse())["record_id"].to_list() == [0]
    found = resolve([line(1, answer="reject")], again)
    assert (found["record_id"].to_list(), found["answer"].to_list()) == ([0, 9], ["reject", "reject"])
    assert resolve([line(1, answer="reject"), line(2, "otto")], again)["status"].to_list() == ["conflict"]


def test_a_settling_answer_decides_until_somebody_says_otherwise() -> None:
    lines = [line(1, "ann"), line(2, "bob", answer="age", age=52), line(3, "carol", answer="age", age=52)]
    assert only(*lines)["status"] == "conflict"
    named = [one.id for one in lines]
    settled = [*lines, line(4, "dora", answer="age", age=52, settles=named, note="passport")]
    row = only(*settled)
    assert (row["status"], row["answer"], row["age"], row["by"], row["answers"]) == ("decided", "age", 52, "dora", 4)
    assert row["note"] == "passport"
    own = [*lines, line(4, "ann", answer="reject", settles=named)]
    assert (only(*own)["answer"], only(*own)["by"]) == ("reject", "ann")
    assert only(*settled, line(5, "ann", answer="age", age=52))["status"] == "decided"
    for later in (line(5, "ann", answer="reject"), line(5, "ann"), line(5, "eve", answer="age", age=51)):
        assert only(*settled, later)["status"] == "conflict"
    assert only(*settled, undo(5, 4, by="dora"))["status"] == "conflict"
    again = [*settled, line(5, "ann", answer="reject")]
    again.append(line(6, "bob", answer="age", age=40, settles=[d.id for d in again]))
    assert (only(*again)["age"], only(*again)["by"]) == (40, "bob")
    assert only(*lines, line(4, "dora", settles=["id000001"]))["status"] == "conflict"
    assert only(*lines, line(4, "dora", sha256=B, settles=named))["status"] == "conflict"  # about another picture
    assert only(*lines, line(4, "dora", shown={"settles": named, "claimed": 99}))["status"] == "conflict"  # a remark
    boxes = [line(1, answer="face", box=(0, 0, 9, 9)), line(2, "otto", answer="face", box=(50, 0, 9, 9))]
    assert only(*boxes, line(3, "zoe", settles=["id000001", "id000002"]))["box"] is None


def naive(lines: list[Decision]) -> dict[int, tuple[Any, ...]]:
    """The same, one line after another."""

    def dead(one: Decision) -> bool:
        return any(u.undoes == one.id and (u.by, u.path) == (one.by, one.path) and not dead(u) for u in lines)

    found = {}
    for record in RECORDS.to_dicts():
        last: dict[str, Decision] = {}
        for one in sorted(lines, key=lambda d: (d.at, d.id)):
            if one.kind == "decision" and one.path == record["path"] and not dead(one):
                last[one.by] = one
        current = [d for d in last.values() if not record["looked"] or d.sha256 == record["sha256"]]
        fit = [d for d in current if d.answer != "keep" or record["age"] is not None]
        outcomes = {"reject" if d.answer == "reject" else d.age or record["age"] for d in fit}
        if last:
            status = (
                "changed" if not current else "unfit" if not fit else "conflict" if len(outcomes) > 1 else "decided"
            )
            found[record["record_id"]] = (status, next(iter(outcomes)) if status == "decided" else None)
    return found


@st.composite
def histories(draw: st.DrawFn) -> list[Decision]:
    lines: list[Decision] = []
    for number in range(draw(st.integers(0, 14))):
        by, path = draw(st.sampled_from("xyz")), draw(st.sampled_from("0123"))
        if lines and draw(st.booleans()):
            target = draw(st.sampled_from(lines))
            lines.append(undo(number, int(target.id[2:]), by=draw(st.sampled_from([target.by, by])), path=target.path))
        else:
            answer = draw(st.sampled_from(["keep", "reject", "age"]))
            age = draw(st.integers(30, 32)) if answer == "age" else None
            lines.append(line(number, by, path, answer, age=age, sha256=draw(st.sampled_from([A, B, None])),
                              at=f"2026-01-01T00:00:00.00000{draw(st.integers(0, 9))}Z"))  # fmt: skip
    return lines


@settings(max_examples=150, deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_it_is_what_a_plain_reading_says_in_any_order(lines: list[Decision], rng: random.Random) -> None:
    mixed = rng.sample(lines, len(lines))
    found = resolve(mixed, RECORDS)
    assert found.equals(resolve(lines, RECORDS))
    half = len(lines) // 2
    assert found.equals(resolve(merge(mixed[half:], mixed[:half]), RECORDS))
    in_force = {
        row["record_id"]: (
            row["status"],
            None
            if row["status"] != "decided"
            else "reject"
            if row["answer"] == "reject"
            else row["age"] or RECORDS["age"][row["record_id"]],
        )
        for row in found.to_dicts()
    }
    assert in_force == naive(lines)


def test_a_hundred_thousand_lines_are_resolved() -> None:
    n = 100_000
    lines = [line(i, "anna" if i % 3 else "otto", f"{i % 60_000}") for i in range(n)]
    records = pl.DataFrame(
        {"record_id": range(60_000), "part": "p", "path": [str(i) for i in range(60_000)], "age": 30, "sha256": A,
         "looked": True}, schema_overrides={"record_id": pl.Int32, "age": pl.Int32},
    )  # fmt: skip
    assert len(resolve(lines, records)) == 60_000
