"""The queue and the answers in memory, beside others who write to the same files."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench.errors import UsageError
from agebench.manifest.store import open_manifest
from agebench.review import resolution
from agebench.review.audit import read_sample
from agebench.review.decisions import append, decisions_file, new_decision, read
from agebench.review.server.given import PageAnswer, seal_of
from agebench.review.server.session import ReviewSession
from agebench.review.server.snapshot import Filters, Reviewers

MANIFEST = "manifests/imdb-wiki.duckdb"
ALL = Filters()


def given(desk: ReviewSession, record: int, answer: str = "reject") -> PageAnswer:
    shown = desk._subject(record)
    seal = seal_of(shown.part, shown.path, shown.sha256)
    return PageAnswer(record, answer, seal, face_no=0)  # type: ignore[arg-type]


def test_no_answer_is_lost_between_this_page_and_others_who_write(office: Path) -> None:
    manifest = office / MANIFEST
    desk = ReviewSession(manifest)
    ids, total, _ = desk.waiting("anna", ALL, limit=100)
    others = [desk.name(record) for record in ids[30:50]]
    stop = threading.Event()

    def elsewhere() -> None:
        for part, path in filter(None, others):
            line = new_decision(by="otto", kind="decision", part=part, path=path, sha256=None, answer="reject")
            append(decisions_file(manifest), line)

    def following() -> None:
        while not stop.is_set():
            desk.refresh()

    threads = [threading.Thread(target=elsewhere), threading.Thread(target=following)]
    for thread in threads:
        thread.start()
    for record in ids[:30]:
        desk.answer([given(desk, record)], by="anna")
        assert record not in desk.waiting("anna", ALL, limit=100)[0]
    threads[0].join()
    stop.set()
    threads[1].join()
    desk.refresh()
    lines, _ = read(decisions_file(manifest))
    assert len(lines) == 50
    known = [line for found in desk.answers.lines.values() for line in found]
    assert {line.id for line in known} == {line.id for line in lines}
    assert desk._file_stamp == desk._stamp()  # nothing is read again until somebody writes
    assert not set(ids[:30]) & set(desk.waiting("anna", ALL, limit=100)[0])
    assert desk.waiting("anna", ALL)[1] <= total - 30


def test_a_box_outside_the_picture_is_refused_on_the_page(office: Path) -> None:
    desk = ReviewSession(office / MANIFEST)
    record = next(one for one in desk.waiting("anna", ALL, limit=100)[0] if (desk._subject(one).width or 0) > 50)
    box = replace(given(desk, record, "age"), age=30, box=(99999.0, 99999.0, 10.0, 10.0))
    with pytest.raises(UsageError, match="outside the picture"):
        desk.answer([box], by="anna")
    assert desk.lines() == []
    desk.answer([replace(box, box=(1.0, 1.0, 10.0, 10.0))], by="anna")
    assert len(desk.lines()) == 1


def test_the_page_the_terminal_imports_and_folding_ask_one_rule(
    office: Path, agebench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A made-up rule, put in the one place: nobody may be rejected. What was answered before it came is folded in."""
    desk = ReviewSession(office / MANIFEST)
    one, two, *_ = desk.waiting("anna", ALL, limit=100)[0]
    first, second = desk._subject(one), desk._subject(two)
    rejects = {"by": "otto", "kind": "decision", "answer": "reject", "part": first.part, "path": first.path}
    desk.answer([given(desk, two)], by="anna")
    monkeypatch.setattr(resolution, "_misfit", lambda answer, *_: "claim" if answer == "reject" else None)
    with pytest.raises(UsageError, match="cannot be kept as it is"):
        desk.answer([given(desk, one)], by="anna")
    refused = agebench("review", "decide", first.part, first.path, "--reject", cwd=office)
    assert (refused.status, "cannot be kept as it is" in refused.err) == (2, True)
    (office / "theirs.jsonl").write_bytes(new_decision(**rejects, sha256=first.sha256).line())
    imported = json.loads(agebench("review", "import", "theirs.jsonl", "--json", cwd=office).out)
    assert (imported["added"], len(desk.lines())) == (0, 1)
    assert any("cannot be kept as it is" in note for note in imported["notes"])
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    assert agebench("export", "--rows", "verdicts", "--out", "v.jsonl", cwd=office).status == 0
    rows = {(row["part"], row["path"]): row for row in pl.read_ndjson(office / "v.jsonl").to_dicts()}
    folded = rows[second.part, second.path]
    assert (folded["verdict"], folded["reasons"].split(";")[0]) == ("review", "answer_does_not_fit")


def test_a_grid_answers_a_record_with_several_faces_only_if_one_was_chosen(office: Path) -> None:
    desk = ReviewSession(office / MANIFEST)
    ids = desk.waiting("anna", ALL, limit=100)[0]
    several = next(one for one in ids if desk._subject(one).faces > 1 and desk._subject(one).claimed in range(100))
    for answer in ("keep", "reject"):
        unchosen = replace(given(desk, several, answer), face_no=None)
        with pytest.raises(UsageError, match=r"shows \d faces, and the answer does not say which one it is about"):
            desk.answer([given(desk, ids[0]), unchosen], by="anna", mode="grid")
    assert desk.lines() == []  # all or none
    assert desk.answer([unchosen], by="anna", mode="page")  # one face is marked on the record's own page
    assert desk.answer([given(desk, several)], by="anna", mode="grid")


def test_an_undo_takes_a_batch_back_and_then_what_was_before(office: Path) -> None:
    desk = ReviewSession(office / MANIFEST)
    ids, total, _ = desk.waiting("anna", ALL, limit=100)
    desk.answer([given(desk, ids[0])], by="anna")
    desk.answer([given(desk, record) for record in ids[1:6]], by="anna", mode="grid")
    desk.answer([given(desk, ids[6])], by="otto")
    assert [desk.record_of(d.part, d.path) for d in desk.undo("anna")] == ids[1:6]
    assert desk.waiting("anna", ALL, limit=100)[0] == ids[1:6] + ids[7:]
    assert [desk.record_of(d.part, d.path) for d in desk.undo("anna")] == ids[:1]
    assert desk.undo("anna") == []
    assert desk.waiting("anna", ALL)[1] == total - 1
    fresh = ReviewSession(office / MANIFEST)
    assert fresh.waiting("anna", ALL, limit=100)[0] == desk.waiting("anna", ALL, limit=100)[0]


def test_a_place_survives_that_its_record_leaves_the_queue(office: Path) -> None:
    desk = ReviewSession(office / MANIFEST)
    ids, *_ = desk.waiting("anna", ALL, limit=100)
    rows = desk.snapshot.queue.rows.filter(~pl.col("record_id").is_in(ids[3:6])).drop("place").with_row_index("place")
    queue = type(desk.snapshot.queue)(office / MANIFEST, "later", (), rows)
    desk.snapshot = type(desk.snapshot)(queue, desk.snapshot.names, {}, desk.reviewers, desk.snapshot)
    assert desk.waiting("anna", ALL, after=ids[4], limit=3)[0] == ids[6:9]
    assert desk.waiting("anna", ALL, at=ids[5], limit=3)[0] == ids[6:9]
    assert desk.waiting("anna", ALL, after=ids[1], limit=3)[0] == [ids[2], ids[6], ids[7]]


def test_shares_leave_nothing_out_and_strangers_are_told(office: Path) -> None:
    whole = ReviewSession(office / MANIFEST).waiting("", ALL, limit=100)[0]
    desk = ReviewSession(office / MANIFEST, reviewers=Reviewers(("anna", "otto", "zoe"), 0.2, 4))
    shares = [desk.waiting(name, ALL, limit=100)[0] for name in ("anna", "otto", "zoe")]
    assert set().union(*shares) == set(whole)
    assert len(whole) < sum(map(len, shares)) < 1.5 * len(whole)
    desk.answer([given(desk, shares[0][0])], by="anna")
    assert desk.left("anna") == len(shares[0]) - 1
    assert desk.left() == len(whole) - 1
    with pytest.raises(UsageError, match="shared among anna, otto, zoe"):
        desk.waiting("", ALL)


def test_an_age_that_is_none_cannot_be_kept(office: Path) -> None:
    desk = ReviewSession(office / MANIFEST)
    rows = desk.snapshot.queue.rows.filter(~pl.col("age").is_between(0, 99).fill_null(False))
    record = int(rows["record_id"][0])
    with pytest.raises(UsageError, match="cannot be kept as it is"):
        desk.answer([given(desk, record, "keep")], by="anna")
    assert desk.answer([PageAnswer(record, "age", given(desk, record).seal, 30)], by="anna")


def test_what_was_read_but_is_no_picture_cannot_be_kept(office: Path) -> None:
    with open_manifest(office / MANIFEST) as con:
        [(record,)] = con.execute(
            "SELECT record_id FROM record JOIN content USING (part, path) WHERE error = 'truncated'"
        ).fetchall()
    desk = ReviewSession(office / MANIFEST)
    with pytest.raises(UsageError, match="cannot be read"):
        desk.answer([given(desk, record, "keep")], by="anna")
    assert desk.answer([given(desk, record)], by="anna")


def test_an_audit_shows_the_age_that_was_drawn_although_another_was_decided_since(
    office: Path, agebench: Any, serve: Any
) -> None:
    recipe = office / "pipelines/everything.toml"
    kept = recipe.read_text().replace('review = "TRUE"', 'review = "FALSE"')
    recipe.write_text(kept.replace("file_error = 'truncated'", "file_error IS NOT NULL OR age IS NULL"))
    curate = ("curate", "imdb-wiki", "--recipe", "everything")
    assert agebench(*curate, cwd=office).status == 0
    assert agebench("review", "audit", "--n", 5, "--seed", 2, cwd=office).status == 0
    one = read_sample(office / "manifests/imdb-wiki.audit-5-2.json").records[0]
    other = (one["age"] + 20) % 100
    assert agebench("review", "decide", one["part"], one["path"], "--age", other, cwd=office).status == 0
    assert agebench(*curate, cwd=office).status == 0
    client = serve().client()
    audit = "/api/audit/5-2"
    [record, *_] = [waits["record"] for waits in client.get(audit, by="anna")["waiting"]]
    assert client.get(f"/api/record/{record}")["age"] == other
    blind = client.get(f"{audit}/{record}", by="anna")
    step = {"by": "anna", "record": record, "seal": blind["seal"], "reading": 1}
    opened = client.post(f"{audit}/looks", step | {"looks": 30}).json()
    assert (opened["path"], opened["claimed"]) == (one["path"], one["age"])
    assert client.post(f"{audit}/judge", step | {"answer": "keep"}).status_code == 200
    assert client.server.lines()[-1]["claimed"] == one["age"]
    left = client.get(audit, by="anna")["left"]
    for _ in range(2):  # sent again, as after a lost reply: it takes the place of the first
        assert client.post(f"{audit}/judge", step | {"answer": "keep"}).status_code == 200
        assert client.get(audit, by="anna")["left"] == left
    assert client.http.get(f"/api/audit/5-3/{record}").status_code == 400


def test_a_photograph_that_waits_to_be_read_is_not_shown_with_its_age_beside_another(
    office: Path, agebench: Any, serve: Any
) -> None:
    recipe = office / "pipelines/everything.toml"
    recipe.write_text(recipe.read_text().replace('review = "TRUE"', 'review = "age IS NULL"'))
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    assert agebench("review", "audit", "--n", 500, "--seed", 2, cwd=office).status == 0  # all of them
    client = serve().client()
    audit = "/api/audit/500-2"
    waiting = {waits["record"] for waits in client.get(audit, by="anna")["waiting"]}
    first = next(one for one in waiting if waiting & others_of(client, one))
    second = min(waiting & others_of(client, first))
    shown = []
    for record in (first, second):
        seal = client.get(f"{audit}/{record}", by="anna")["seal"]
        step = {"by": "anna", "record": record, "seal": seal, "reading": 1, "looks": 30}
        opened = client.post(f"{audit}/looks", step).json()
        shown.append({other["record_id"] for other in opened["relatives"]})
    assert not shown[0] & waiting
    assert first in shown[1]


def others_of(client: Any, record: int) -> set[int]:
    return {other["record_id"] for other in client.get(f"/api/record/{record}")["relatives"]}


def test_a_second_answer_is_asked_for_although_the_first_was_folded_in(office: Path, agebench: Any, serve: Any) -> None:
    shared = ("--reviewers", "anna,otto", "--overlap", "1")
    client = serve(*shared).client()
    one, two, *_ = client.queue("otto")
    before = client.get("/api/queue", by="otto")["generation"]
    assert client.answer(one, "reject", by="anna").status_code == 200
    assert client.answer(two, "age", by="anna", age=33).status_code == 200
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    for page in (client, serve(*shared).client()):  # the page that was open, and one that is opened now
        for _ in range(100):
            if page.get("/api/queue", by="otto")["generation"] != before:
                break
            time.sleep(0.1)
        assert {one, two} <= set(page.queue("otto"))
        assert not {one, two} & set(page.queue("anna"))
        assert page.get(f"/api/record/{two}")["claimed"] != 33
        assert page.get(f"/api/record/{two}")["answers"] == []
    found = json.loads(agebench("review", "list", *shared, "--by", "otto", "--limit", 100, "--json", cwd=office).out)
    assert found["left"] == len(client.queue("otto"))
    assert client.answer(one, "reject", by="otto").status_code == 200
    assert one not in client.queue("otto")
    alone = json.loads(agebench("review", "list", "--limit", 100, "--json", cwd=office).out)
    assert alone["left"] == found["left"] - 2  # nobody asks again where the work is not shared
