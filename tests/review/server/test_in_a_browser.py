"""What people do with the page, in a real browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench.manifest.store import open_manifest


def names(server: Any) -> dict[int, tuple[str, str]]:
    with open_manifest(server.folder / "manifests/imdb-wiki.duckdb") as con:
        return {i: (part, path) for i, part, path in con.execute("SELECT record_id, part, path FROM record").fetchall()}


def test_fifty_answers_by_keys_alone_outlive_a_killed_server(serve: Any, sit: Any, agebench: Any) -> None:
    server = serve()
    desk = sit(server)
    told: list[str] = []

    def listen(response: Any) -> None:
        if response.request.method == "POST" and response.url.endswith("/api/answer") and response.ok:
            told.extend(response.json()["recorded"])

    desk.page.on("response", listen)
    given: dict[int, str] = {}
    for number in range(50):
        keys = (("k",), ("r",), ("4", "2"), ("s",), ("f", "r"))[number % 5]
        desk.ready()
        if keys == ("k",) and not 0 <= int(desk.page.evaluate("() => now.claimed ?? -1")) <= 99:
            keys = ("r",)
        if not desk.page.evaluate("() => now.readable") and keys != ("s",):
            keys = ("r",)
        given[desk.answer(*keys)] = keys[-1]
        if keys == ("s",):  # another one then
            given.pop(next(reversed(given)))
            given[desk.answer("r")] = "r"
    desk.page.wait_for_timeout(200)
    assert len(told) == len(given) == 50
    last = desk.ready()
    assert "last: reject" in desk.page.locator("#last").inner_text()
    desk.press("u")
    desk.page.wait_for_function("(id) => seen() && now.id !== id", arg=last)
    undone = desk.ready()
    assert undone == next(reversed(given))
    assert desk.page.locator("#last").inner_text() == ""
    assert desk.answer("3", "7") == undone
    assert "last: age 37" in desk.page.locator("#last").inner_text()
    place = desk.ready()
    desk.page.reload()
    assert desk.ready() == place
    before = server.lines()
    assert [line["id"] for line in before if line["kind"] == "decision"] == told
    server.end(signal.SIGKILL)
    desk.press("r")
    desk.page.wait_for_function("() => byId('banner').textContent.includes('does not answer')")
    again = serve(port=server.port)
    assert again.lines() == before
    desk.page.wait_for_function("() => !working && byId('banner').hidden", timeout=15_000)  # by itself
    assert desk.ready() == place
    assert desk.answer("r") == place
    lines = again.lines()
    assert lines[:-1] == before
    where = names(server)
    counted = {(line["part"], line["path"]): line for line in lines if line["kind"] == "decision"}
    assert {where[record] for record in given} <= set(counted)
    assert all(line["by"] == "anna" and line["shown"]["mode"] == "page" for line in counted.values())
    assert all(set(line["shown"]) == {"mode", "suggested_age", "reasons"} for line in counted.values())
    assert all("every_one" in line["shown"]["reasons"] for line in counted.values())
    assert counted[where[undone]]["age"] == 37
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=server.folder).status == 0
    assert agebench("export", "--rows", "verdicts", "--out", "v.csv", cwd=server.folder).status == 0
    rows = {(r["part"], r["path"]): r for r in pl.read_csv(server.folder / "v.csv").to_dicts()}
    for name, line in counted.items():
        assert rows[name]["verdict"] == ("reject" if line["answer"] == "reject" else "keep"), name
        assert rows[name]["decided_by"] == "anna"
    assert rows[where[undone]]["age"] == 37
    assert [text for text in desk.complaints if "ERR_CONNECTION" not in text] == []


def test_keys_typed_in_a_row_answer_only_what_was_seen(server: Any, sit: Any) -> None:
    desk = sit(server)
    first = desk.ready()
    desk.press_at_once(*"rrrrrrrr")
    desk.page.wait_for_function("(id) => !working && now.id !== id", arg=first)
    where = names(server)
    assert [(line["part"], line["path"]) for line in server.lines()] == [where[first]]
    second = desk.ready()
    desk.page.evaluate(  # what a held key sends
        "() => { for (let i = 0; i < 5; i++)"
        " document.dispatchEvent(new KeyboardEvent('keydown', {key: 'r', repeat: true})) }"
    )
    desk.page.wait_for_timeout(100)
    assert len(server.lines()) == 1
    desk.press_at_once("4", "1", "4", "2")  # a second age before the next picture is no age of it
    desk.page.wait_for_function("(id) => !working && now.id !== id", arg=second)
    third = desk.ready()
    assert [line["age"] for line in server.lines()] == [None, 41]
    assert desk.page.evaluate("() => digits") == ""
    desk.page.dblclick("#reject")
    desk.page.wait_for_function("(id) => !working && now.id !== id", arg=third)
    desk.ready()
    assert [(line["part"], line["path"]) for line in server.lines()] == [where[first], where[second], where[third]]
    desk.press_at_once("r", "u")  # an undo waits for its turn
    desk.ready()
    assert [line["kind"] for line in server.lines()[-2:]] == ["decision", "undo"]


def test_a_slow_picture_cannot_be_answered_before_it_is_there(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    while not desk.page.evaluate("() => now.readable"):
        desk.answer("s")
    first = desk.ready()
    held: list[Any] | None = []
    desk.page.route("**/picture/*", lambda route: route.continue_() if held is None else held.append(route))
    desk.page.reload()
    desk.page.wait_for_timeout(600)
    desk.press(*"rkr42")
    assert server.lines() == []
    waiting, held = held, None
    for route in waiting:
        route.continue_()
    assert desk.ready() == first
    assert server.lines() == []


def test_a_click_means_another_face_and_the_box_goes_with_the_answer(server: Any, sit: Any) -> None:
    client = server.client()
    looks = [client.get(f"/api/record/{record}") for record in client.queue()]
    record = next(one["id"] for one in looks if len(one["faces"]) > 1 and 0 <= (one["claimed"] or -1) <= 99)
    desk = sit(server)
    desk.ready()
    desk.page.evaluate(f"() => {{ location.hash = 'record={record}' }}")
    desk.page.reload()
    assert desk.ready() == record
    other = desk.page.evaluate("() => now.faces.findIndex((f) => !f.meant)")
    desk.page.locator("#boxes .face").nth(other).click()
    box = desk.page.evaluate("() => { const f = now.faces[face]; return [f.x, f.y, f.w, f.h] }")
    desk.answer("k")
    [line] = server.lines()
    assert line["answer"] == "face"
    assert line["box"] == pytest.approx(box)


def test_a_note_goes_with_its_answer_and_not_with_the_next(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    desk.press("n")
    desk.page.keyboard.type("kr s12")
    assert server.lines() == []
    desk.answer("Enter", "r")
    desk.answer("r")
    assert [line["note"] for line in server.lines()] == ["kr s12", None]


def test_the_overview_says_what_people_answered(server: Any) -> None:
    client = server.client()
    one, two, *_ = client.queue()
    client.answer(one, "reject", by="anna")
    client.answer(two, "reject", by="anna")
    client.answer(two, "reject", by="otto")
    text = re.sub(r"<[^>]+>", "", client.http.get("/overview").text)
    assert "Records answered by anna: 2, otto: 1." in text
    assert "rejected: 2." in text
    assert "Answered by several reviewers: 1, with the same answer: 1." in text


def test_the_last_record_and_an_empty_queue(server: Any, sit: Any) -> None:
    client = server.client()
    ids = client.queue()
    body = [client.given(record, "reject") for record in ids[:-1]]
    assert client.post("/api/answer", {"by": "otto", "answers": body}).status_code == 200
    desk = sit(server)
    assert desk.ready() == ids[-1]
    desk.press("s")
    desk.page.wait_for_function("() => byId('banner').textContent.includes('No other record')")
    desk.answer("r")
    assert desk.page.locator("#empty").is_visible()
    desk.press("k", "r", "5", "5", "s")
    assert len(server.lines()) == len(ids)
    desk.press("u")
    assert desk.ready() == ids[-1]
    assert desk.page.locator("#desk").is_visible()


def test_a_new_curation_and_answers_from_elsewhere_show_by_themselves(server: Any, sit: Any, agebench: Any) -> None:
    desk = sit(server)
    for _ in range(3):
        desk.answer("r")
    desk.answer("s")
    place = desk.ready()
    where = names(server)
    part, path = where[place]
    folder = server.folder
    assert agebench("balance", "--per-class", 2, cwd=folder).status in (0, 1)
    assert agebench("report", cwd=folder).status == 0
    assert agebench("export", "--rows", "verdicts", "--out", "v.csv", cwd=folder).status == 0
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=folder).status == 0
    desk.page.wait_for_function("() => byId('banner').textContent.includes('judged again')", timeout=15_000)
    assert desk.ready() == place
    assert desk.page.evaluate("() => byId('left').textContent").startswith(f"{len(where) - 3 - gone(folder)} left")
    assert agebench("review", "decide", part, path, "--reject", "--by", "otto", cwd=folder).status == 0
    desk.page.wait_for_function("(id) => seen() && now.id !== id", arg=place, timeout=15_000)
    assert "answered elsewhere" in desk.page.locator("#banner").inner_text()
    desk.answer("r")
    desk.page.evaluate("(hash) => { location.hash = hash }", f"#record={place}")  # it has gone; its place has not
    desk.page.reload()
    assert desk.ready() != place
    assert desk.complaints == []


def gone(folder: Path) -> int:
    return pl.read_csv(folder / "v.csv").filter(pl.col("verdict") == "reject").height


def test_a_busy_manifest_is_told_and_the_page_goes_on_by_itself(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    hold = (
        "import sys\nfrom pathlib import Path\nfrom agebench.manifest.store import open_manifest\n"
        f"with open_manifest(Path({str(server.folder / 'manifests/imdb-wiki.duckdb')!r}), write=True):\n"
        "    print('held', flush=True); sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", hold], stdin=pipe, stdout=pipe, text=True) as holder:
        assert holder.stdout
        assert holder.stdin
        assert holder.stdout.readline() == "held\n"
        desk.answer("r")  # what is here already goes on, answers too
        desk.page.evaluate("() => { unload(); }")
        last = desk.ready()
        desk.press("r")
        desk.page.wait_for_function("() => byId('banner').textContent.includes('in use by process')")
        assert "tries again by itself" in desk.page.locator("#banner").inner_text()
        assert len(server.lines()) == 2
        holder.stdin.close()
    desk.page.wait_for_function("(id) => seen() && now.id !== id", arg=last)
    desk.page.wait_for_function("() => byId('banner').hidden", timeout=15_000)


def test_thirty_in_one_go_are_one_write_and_one_undo(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    desk.page.goto(server.address + "/grid")
    desk.page.wait_for_function(
        "() => tiles().length === 30 && tiles().every((tile) => tile.querySelector('img').complete)"
    )
    shown = desk.page.evaluate("() => tiles().map((tile) => Number(tile.dataset.id))")
    desk.press("r")
    desk.page.keyboard.press("ArrowRight")
    while desk.page.evaluate("() => document.activeElement.dataset.keepable") != "true":
        desk.page.keyboard.press("ArrowRight")
    desk.page.keyboard.press("Space")  # this one: keep
    kept = desk.page.evaluate("() => document.activeElement.dataset.id")
    with desk.page.expect_response("**/api/answer") as told:
        desk.press_at_once("Enter", "Enter")
    assert len(told.value.json()["recorded"]) == 30
    desk.page.wait_for_function("() => byId('banner').textContent.includes('30 answered')")
    lines = server.lines()
    where = names(server)
    assert {(line["part"], line["path"]) for line in lines} == {where[record] for record in shown}
    assert [(line["part"], line["path"]) for line in lines if line["answer"] == "keep"] == [where[int(kept)]]
    assert len({line["batch"] for line in lines}) == 1
    desk.press("u")
    desk.page.wait_for_function("() => byId('banner').textContent.includes('Undone: 30 answers')")
    assert desk.page.evaluate("() => tiles().map((tile) => Number(tile.dataset.id))") == shown
    assert [line["kind"] for line in server.lines()] == ["decision"] * 30 + ["undo"] * 30
    desk.page.evaluate("() => window.scrollTo(0, 600)")
    assert desk.page.locator("#send").bounding_box()["y"] >= 0  # the buttons go along
    desk.page.locator("#skip").click()
    desk.page.wait_for_function("(id) => Number(tiles()[0].dataset.id) !== id", arg=shown[0])
    assert desk.page.evaluate("() => tiles()[0].getBoundingClientRect().top") > 0
    assert desk.complaints == []


def test_two_reviewers_share_the_records(serve: Any, sit: Any) -> None:
    server = serve("--reviewers", "anna,otto", "--overlap", "0.3")
    seen: dict[str, set[int]] = {}
    for name in ("anna", "otto"):
        desk = sit(server, name)
        desk.ready()
        seen[name] = set(server.client().queue(name))
        assert desk.answer("r") in seen[name]
        assert desk.complaints == []
    total = len(seen["anna"] | seen["otto"])
    assert 0 < len(seen["anna"] & seen["otto"]) < 0.5 * total
    both = min(seen["anna"] & seen["otto"])
    client = server.client()
    assert client.answer(both, by="anna").status_code == 200
    assert client.get(f"/api/record/{both}")["answers"] == []  # the second answer does not know the first
    assert both in client.queue("otto")
    assert both not in client.queue("anna")
    stranger = sit(server, "zoe")
    stranger.page.wait_for_function("() => byId('banner').textContent.includes('shared among anna, otto')")
    assert client.answer(both, by="zoe").status_code == 400
    assert not stranger.page.locator("#keep").is_visible()  # there is nothing to answer
    stranger.page.select_option("#name", "otto")
    assert stranger.ready() in seen["otto"]
    assert not stranger.page.locator("#banner").is_visible()


def test_the_second_reviewer_does_not_see_which_face_the_first_one_meant(
    serve: Any, sit: Any, agebench: Any, office: Path
) -> None:
    server = serve("--reviewers", "anna,otto", "--overlap", "1")
    client = server.client()
    looks = {one: client.get(f"/api/record/{one}") for one in client.queue("anna", limit=100)}
    record = next(i for i, one in looks.items() if len(one["faces"]) > 1 and 0 <= (one["claimed"] or -1) <= 99)
    before = client.get("/api/queue", by="otto")["generation"]
    other = next(face for face in looks[record]["faces"] if not face["meant"])
    box = [other[side] for side in "xywh"]
    assert client.answer(record, "face", by="anna", box=box).status_code == 200
    curate = ("curate", "imdb-wiki", "--recipe", "everything", "--json")
    assert agebench(*curate, cwd=office).status == 0
    while client.get("/api/queue", by="otto")["generation"] == before:
        time.sleep(0.1)
    again = client.get(f"/api/record/{record}")
    for what in ("faces", "estimates", "verdict", "age", "answers", "decision"):
        assert again[what] == looks[record][what]
    desk = sit(server, "otto")
    desk.ready()
    desk.page.evaluate(f"() => {{ location.hash = 'record={record}' }}")
    desk.page.reload()
    assert desk.ready() == record
    desk.answer("k")
    assert server.lines()[-1]["box"] != box
    [found] = json.loads(agebench("review", "agreement", "--json", cwd=office).out)["disagreements"]
    assert found["path"] == again["path"]
    assert desk.complaints == []


def test_an_answer_on_the_page_settles_what_reviewers_disagree_about(
    serve: Any, sit: Any, agebench: Any, office: Path
) -> None:
    server = serve()
    client = server.client()
    record = next(one for one in client.queue() if client.get(f"/api/record/{one}")["readable"])
    name = client.get(f"/api/record/{record}")["path"]
    assert client.answer(record, "reject", by="anna").status_code == 200
    assert client.answer(record, "age", by="otto", age=30).status_code == 200
    curate = ("curate", "imdb-wiki", "--recipe", "everything", "--json")
    assert agebench(*curate, cwd=office).status == 0
    desk = sit(server, "zoe")
    while client.queue("zoe", check="reviewers_disagree") != [record]:  # the page has read the new queue
        time.sleep(0.1)
    desk.page.goto(f"{server.address}/?check=reviewers_disagree")
    desk.page.wait_for_function("(id) => seen()?.id === id", arg=record)
    said = desk.page.locator("#answers-block").inner_text()
    for text in (said, desk.page.locator("#live").text_content()):  # a screen reader is told too
        assert all(word in text for word in ("anna: reject", "otto: age 30", "your answer settles it"))
    desk.press("4", "1")
    desk.page.wait_for_function("() => !working && now === null")
    assert len(server.lines()[-1]["settles"]) == 2
    assert agebench(*curate, cwd=office).status == 0
    found = json.loads(agebench("review", "agreement", "--json", cwd=office).out)
    assert (found["disagreements"], found["settled"]) == ([], 1)
    rows = map(json.loads, agebench("export", "--rows", "curated", "--format", "jsonl", cwd=office).out.splitlines())
    assert [row["age"] for row in rows if row["path"] == name] == [41]
    assert desk.complaints == []


@pytest.fixture
def audited(office: Path, agebench: Any, serve: Any) -> Any:
    """A server with an audit of six kept records."""
    recipe = office / "pipelines/everything.toml"
    recipe.write_text(recipe.read_text().replace('review = "TRUE"', 'review = "record_id % 2 = 0"'))
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    assert agebench("review", "audit", "--n", 6, "--seed", 2, cwd=office).status == 0
    return serve()


AUDIT = "/api/audit/6-2"


def test_nothing_that_the_browser_gets_tells_the_claim_before_the_reader_has_estimated(audited: Any, sit: Any) -> None:
    desk = sit(audited)
    desk.ready()
    got: list[str] = []
    desk.page.on("response", lambda r: got.append(r.text()) if "/audit" in r.url and "/static/" not in r.url else None)
    desk.page.goto(audited.address + "/audit/6-2")
    record = desk.ready()
    _, path = names(audited)[record]
    with open_manifest(audited.folder / "manifests/imdb-wiki.duckdb") as con:
        [(name,)] = con.execute("SELECT name FROM record WHERE record_id = ?", [record]).fetchall()
    client = audited.client()
    blind = client.get(f"{AUDIT}/{record}", by="anna")
    assert set(blind) == {"id", "seal", "readable", "width", "height", "faces", "reading", "looks"}
    assert all(set(face) == set("xywh") for face in blind["faces"])
    assert len(got) >= 2  # the queue and the record
    for text in (*got, desk.page.content()):
        for secret in (path, path.rpartition("/")[2], name, "photo_year", '"age":', "every_one", "suggested"):
            assert not secret or secret not in text, secret
    assert desk.page.locator("#claimed").is_hidden()
    assert desk.page.locator("#relatives img").count() == 0
    desk.press("k", "w")  # nobody judges what they have not seen
    assert audited.lines() == []
    step = {"by": "anna", "record": record, "seal": blind["seal"], "reading": 1}
    refused = client.post(f"{AUDIT}/judge", step | {"answer": "keep"})
    assert refused.status_code == 400
    assert "how old the face looks" in refused.json()["error"]["message"]
    desk.press("3", "4")
    desk.page.wait_for_function("() => seen()?.looks === 34")
    [line] = audited.lines()
    assert (line["kind"], line["looks"], line["claimed"], line["answer"]) == ("estimate", 34, None, None)
    assert desk.page.locator("#claimed").inner_text() == str(desk.page.evaluate("() => now.claimed"))
    assert path in desk.page.locator("#path").inner_text()
    assert desk.complaints == []


def test_the_estimate_stays_and_wrong_is_logged_as_wrong(audited: Any, sit: Any) -> None:
    desk = sit(audited)
    desk.ready()
    desk.page.goto(audited.address + "/audit/6-2")
    first = desk.ready()
    desk.press("t")
    desk.page.wait_for_function("() => seen()?.looks === 'cannot tell'")
    desk.page.reload()  # the claim was shown, so it is judged and not estimated again
    assert desk.ready() == first
    assert desk.page.evaluate("() => now.looks") == "cannot tell"
    claimed = desk.page.evaluate("() => now.claimed")
    step = {"by": "anna", "record": first, "seal": desk.page.evaluate("() => now.seal"), "reading": 1}
    again = audited.client().post(f"{AUDIT}/looks", step | {"looks": 20})
    assert again.status_code == 400
    assert "cannot be changed" in again.json()["error"]["message"]
    assert desk.answer("w") == first
    line = audited.lines()[-1]
    assert (line["kind"], line["answer"], line["looks"], line["claimed"]) == ("audit", "wrong", "cannot tell", claimed)
    desk.ready()
    desk.press("u")
    desk.page.wait_for_function("(id) => seen()?.id === id", arg=first)
    assert desk.page.evaluate("() => now.looks") == "cannot tell"
    assert desk.answer("4", "1") == first
    line = audited.lines()[-1]
    assert (line["answer"], line["age"], line["looks"], line["reading"]) == ("age", 41, "cannot tell", 1)
    assert desk.complaints == []


def test_an_audit_is_read_to_its_end_and_undone_on_its_own_page(audited: Any, sit: Any) -> None:
    client = audited.client()
    drawn = client.get(AUDIT, by="anna")
    desk = sit(audited)
    reviewed = desk.answer("r")  # a decision, which the audit's undo leaves alone
    desk.page.goto(audited.address + "/audit/6-2")
    desk.ready()
    assert f"That makes {drawn['total']} readings" in desk.page.locator(".why").text_content()
    desk.press("u")
    desk.page.wait_for_function("() => byId('banner').textContent.includes('no judgement to undo')")
    skipped = desk.answer("s")
    order = []
    for done in range(drawn["total"]):
        order.append(desk.ready())
        desk.press("2", "5")
        desk.page.wait_for_function("() => seen()?.looks === 25")
        desk.press("k")
        desk.page.wait_for_function(
            f"() => !working && byId('left').textContent.startsWith('{drawn['total'] - done - 1} ')"
        )
    assert desk.page.locator("#empty").is_visible()
    assert order.index(skipped) >= len(set(order)) - 1  # it came after those that were not skipped
    kinds = [line["kind"] for line in audited.lines()]
    assert (kinds.count("estimate"), kinds.count("audit"), kinds.count("undo")) == (drawn["total"], drawn["total"], 0)
    assert client.queue().count(reviewed) == 0
    desk.page.goto(audited.address + "/overview")
    assert "95 % interval" in desk.page.locator("main").inner_text()
    other = client.queue()[0]
    step = {"by": "anna", "record": other, "seal": client.given(other)["seal"], "reading": 1}
    assert client.post(f"{AUDIT}/looks", step | {"looks": 30}).status_code == 400
    assert desk.complaints == []
