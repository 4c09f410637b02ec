"""What people say of one copy of a photograph tells on the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from agebench.curation.compiled import CompiledCheck
from agebench.manifest.export import verdict_rows
from agebench.manifest.store import open_manifest
from agebench.review.decisions import append, decisions_file, new_decision

from .judging import judge_by
from .test_evidence import fold, part, seen

Build = Callable[..., Path]
CHECKS = [
    CompiledCheck("exact", "reject", "copy_rank > 1 AND copies_age_gap <= 2", "copy_of", "copies", frozenset(), True),
    CompiledCheck("exact_disagree", "review", "copies_age_gap > 2", "'far'", "copies", frozenset(), True),
    CompiledCheck("near", "reject", "near_rank > 1 AND near_age_gap <= 2", "near_of", "near_rank", frozenset(), True),
    CompiledCheck("near_disagree", "review", "near_age_gap > 2", "'far'", "near_rank", frozenset(), True),
]


def say(file: Path, number: int, answer: str, **values: Any) -> None:
    path, sha256 = f"{number:05d}.jpg", values.pop("sha256")
    one = new_decision(by="anna", kind="decision", part="p", path=path, answer=answer, sha256=sha256, **values)
    append(decisions_file(file), one)


def judged(file: Path) -> list[tuple[str, str]]:
    """(verdict, reasons in words) of every record, judged as `curate` does."""
    judge_by(file, CHECKS)
    with open_manifest(file) as con:
        return list(verdict_rows(con).select("verdict", "details").iter_rows())


def near(file: Path, *groups: list[int]) -> None:
    rows = [
        {"record_id": number, "near_group": group[0], "near_copies": len(group), "near_rank": rank,
         "near_of": f"p/{group[0]:05d}.jpg", "near_age_gap": 0}
        for group in groups for rank, number in enumerate(group, 1)
    ]  # fmt: skip
    with open_manifest(file, write=True) as con:
        con.register("rows", pl.DataFrame(rows).to_arrow())
        con.execute("INSERT INTO near_copy BY NAME SELECT * FROM rows")


def test_where_the_copy_that_stays_is_rejected_the_next_one_stays(build: Build) -> None:
    path = build(3, age=[30, 30, 30])
    same = "a" * 64
    part(path, seen(0, sha256=same), seen(1, sha256=same), seen(2))
    fold(path)
    assert [v for v, _ in judged(path)] == ["keep", "reject", "keep"]
    say(path, 0, "reject", sha256=same)
    rows = judged(path)
    assert [v for v, _ in rows] == ["reject", "keep", "keep"]


def test_where_another_copy_is_kept_it_is_the_one_that_stays(build: Build) -> None:
    path = build(2, age=[30, 30])
    same = "a" * 64
    part(path, seen(0, sha256=same), seen(1, sha256=same))
    fold(path)
    say(path, 1, "keep", sha256=same)
    assert judged(path)[0] == ("reject", "p/00001.jpg")
    assert judged(path)[1][0] == "keep"


def test_near_copies_follow_people_too_and_a_settled_age_settles_the_group(build: Build) -> None:
    path = build(4, age=[30, 30, 20, 40])
    part(path, *(seen(i) for i in range(4)))
    fold(path)
    near(path, [0, 1], [2, 3])
    assert [v for v, _ in judged(path)] == ["keep", "reject", "review", "review"]
    sha256 = [f"{i:064x}" for i in range(4)]
    say(path, 0, "reject", sha256=sha256[0])
    say(path, 3, "age", age=20, sha256=sha256[3])
    assert [v for v, _ in judged(path)] == ["reject", "keep", "reject", "keep"]
