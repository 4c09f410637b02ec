"""The queue: what is worth most first, look-alikes together, an order that stays while people work."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from agebench.manifest.renewal import mark_made
from agebench.manifest.store import create, open_manifest, set_meta
from agebench.review.decisions import Decision, new_decision
from agebench.review.queue import Answers, Queue, assigned, in_order, load_queue

SCHEMA = {"record_id": pl.Int32, "part": pl.Utf8, "path": pl.Utf8, "age": pl.Int32, "subject_id": pl.Utf8,
          "group_id": pl.Int32, "near_group": pl.Int32, "sha256": pl.Utf8, "error": pl.Utf8, "reasons": pl.Utf8,
          "checks": pl.Int64, "label_suspicion": pl.Float64, "suggested_age": pl.Float64, "in_class": pl.Int64,
          "largest_class": pl.Int64, "per_class": pl.Int32, "width": pl.Int32, "height": pl.Int32,
          "faces": pl.Int64}  # fmt: skip
PLAIN = {"part": "p", "age": 30, "sha256": "a" * 64, "reasons": "odd", "checks": 1, "in_class": 10, "largest_class": 10}


def rows(*changed: dict[str, Any]) -> pl.DataFrame:
    every = [{"record_id": i, "path": str(i)} | PLAIN | row for i, row in enumerate(changed)]
    return pl.DataFrame([{name: row.get(name) for name in SCHEMA} for row in every], schema=SCHEMA)


def order(*changed: dict[str, Any]) -> list[int]:
    return in_order(rows(*changed))["record_id"].to_list()


def queue(*changed: dict[str, Any]) -> Queue:
    return Queue(Path("m"), "2026-01-01T00:00:00.000000+00:00", (), in_order(rows(*changed)))


def said(path: str, by: str = "anna", **values: Any) -> Decision:
    return new_decision(
        **{"by": by, "kind": "decision", "part": "p", "path": path, "answer": "keep", "sha256": "a" * 64} | values
    )


def test_what_is_surely_wrong_comes_first_then_what_several_checks_doubt() -> None:
    assert order({}, {"label_suspicion": 0.4}, {"label_suspicion": 0.99}, {"checks": 3}) == [2, 3, 1, 0]
    found = in_order(rows({"label_suspicion": 0.4, "checks": 2}))
    assert found["certainty"].item() == pytest.approx(1 - 0.6 / 4)
    assert order({"label_suspicion": 0.9}, {"reasons": "reviewers_disagree"}, {"reasons": "picture_changed;odd"}) == [
        1,
        2,
        0,
    ]


def test_rare_ages_come_first_by_the_plan_or_else_by_the_largest_class() -> None:
    assert order({"in_class": 9}, {"in_class": 2}, {"in_class": 0}) == [2, 1, 0]
    assert order({"in_class": 3, "per_class": 2}, {"in_class": 9, "per_class": 2}, {"in_class": 1, "per_class": 2}) == [
        2,
        0,
        1,
    ]
    assert order({}, {"age": None, "in_class": 0}, {"age": -3, "in_class": 0}) == [0, 1, 2]
    assert in_order(rows({"largest_class": None, "in_class": 0}))["rarity"].to_list() == [0]


def test_one_subject_and_its_duplicates_stay_together() -> None:
    found = order(
        {"group_id": 1, "near_group": 5}, {"label_suspicion": 0.8}, {"group_id": 1, "label_suspicion": 0.9},
        {"group_id": 1, "near_group": 5, "label_suspicion": 0.5}, {"group_id": 2, "label_suspicion": 0.1},
    )  # fmt: skip
    assert found == [2, 3, 0, 1, 4]


def test_the_order_depends_on_nothing_but_the_records() -> None:
    rng = np.random.default_rng(0)
    many = rows(
        *({"label_suspicion": float(rng.choice([0, 0.5])), "group_id": int(rng.integers(20))} for _ in range(300))
    )
    assert in_order(many).equals(in_order(many.sample(fraction=1, shuffle=True, seed=2)))


def test_answered_records_drop_out_and_the_others_keep_their_order() -> None:
    q = queue(*({"label_suspicion": i / 10} for i in range(6)))
    answers = Answers([said("3"), said("1", sha256="b" * 64), said("0", kind="audit", looks=30, reading=1)])
    assert answers.answered(q) == {("p", "3")}
    before = q.left()["path"].to_list()
    assert q.left(answers.answered(q))["path"].to_list() == [p for p in before if p != "3"]
    assert answers.answered(q, "otto") == set()
    last = said("4", by="otto")
    answers.add(last)
    answers.add(last)
    assert answers.answered(q, "otto") == {("p", "4")}
    answers.add(new_decision(by="otto", kind="undo", part="p", path="4", undoes=last.id))
    assert answers.answered(q, "otto") == set()
    assert (answers.latest(("p", "3"), "anna") or last).path == "3"
    assert answers.latest(("p", "4"), "otto") is None
    assert [d.kind for d in answers.latest_of("anna", "audit")] == ["audit"]
    assert answers.latest_of("otto") == []


def test_what_reviewers_disagree_about_waits_until_somebody_answers_again() -> None:
    q = queue({"reasons": "reviewers_disagree;odd"})
    old = said("0", at="2025-12-31T00:00:00.000000Z")
    assert Answers([old]).answered(q) == set()
    assert Answers([old, said("0", by="otto")]).answered(q) == {("p", "0")}
    assert Answers([old, said("0", by="otto")]).answered(q, "anna") == set()


def test_an_answer_that_does_not_fit_does_not_take_its_record_out_of_the_queue() -> None:
    for reason in ("answer_does_not_fit", "claim_changed"):
        q = queue({"reasons": f"{reason};odd"}, {"label_suspicion": 0.9})
        assert q.rows["record_id"].to_list() == [0, 1]
        assert Answers([said("0", at="2025-12-31T00:00:00.000000Z")]).answered(q) == set()
        assert Answers([said("0")]).answered(q) == {("p", "0")}


def test_filters() -> None:
    q = queue({"reasons": "odd;high", "age": 20}, {"part": "q", "age": None}, {"subject_id": "7", "age": 40})
    assert q.left(check="high")["record_id"].to_list() == [0]
    assert sorted(q.left(check="odd")["record_id"]) == [0, 1, 2]
    assert q.left(ages=(20, 39))["record_id"].to_list() == [0]
    assert q.left(part="q")["record_id"].to_list() == [1]
    assert q.left(subject="7", ages=(40, 40))["record_id"].to_list() == [2]
    q = queue({"subject_id": "celeb:7"}, {"subject_id": "celeb:77"}, {"subject_id": "name:ann|1970"})
    assert q.left(subject="7")["record_id"].to_list() == q.left(subject="celeb:7")["record_id"].to_list() == [0]
    assert q.left(subject="ann|1970")["record_id"].to_list() == [2]


def test_records_are_shared_out_evenly_and_an_overlap_goes_to_two() -> None:
    names = [("p", f"{i}.jpg") for i in range(6000)]
    found = [assigned(name, ["anna", "otto", "zoe"], overlap=0.2, seed=3) for name in names]
    assert found == [assigned(name, ["zoe", "anna", "otto", "zoe"], overlap=0.2, seed=3) for name in names]
    assert sum(len(who) == 2 for who in found) == pytest.approx(1200, abs=120)
    assert all(len(set(who)) == len(who) for who in found)
    first = Counter(who[0] for who in found)
    second = Counter(who[1] for who in found if len(who) == 2)
    assert all(n == pytest.approx(2000, abs=160) for n in first.values())
    assert all(n == pytest.approx(400, abs=80) for n in second.values())
    assert assigned(names[0], ["anna"], overlap=1) == ("anna",)
    assert found != [assigned(name, ["anna", "otto", "zoe"], overlap=0.2, seed=4) for name in names]


def test_half_a_million_records_are_each_in_the_order_once() -> None:
    n = 500_000
    rng = np.random.default_rng(0)
    many = pl.DataFrame(
        {"record_id": np.arange(n), "part": "p", "path": [str(i) for i in range(n)], "age": rng.integers(0, 99, n),
         "subject_id": None, "group_id": rng.integers(0, 30_000, n), "near_group": None, "sha256": None, "error": None,
         "reasons": "odd;high", "checks": 2, "label_suspicion": rng.random(n), "suggested_age": None,
         "width": None, "height": None, "faces": 1, "in_class": 5, "largest_class": 10, "per_class": None},
        schema_overrides=SCHEMA,
    )  # fmt: skip
    ordered = in_order(many)
    assert len(ordered) == n
    assert ordered["record_id"].n_unique() == n


def test_a_snapshot_knows_when_the_manifest_was_judged_again(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    create(path, "fg-net")
    with open_manifest(path, write=True) as con:
        mark_made(con, "verdicts", "1")
    found = load_queue(path)
    assert found.rows.is_empty()
    assert not found.changed()
    with open_manifest(path, write=True) as con:
        set_meta(con, other="x")
    assert not found.changed()
    with open_manifest(path, write=True) as con:
        mark_made(con, "verdicts", "2")
    assert found.changed()
