"""What the record page, the grid and the overview show, mark and remember."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from agebench.manifest.record_view import overview, tile_faces, view_record
from agebench.manifest.store import open_manifest

MANIFEST = "manifests/imdb-wiki.duckdb"
ONE_LINE = """() => [...document.querySelectorAll(
        'nav a, .actions button, .view-tools button, #left, .brand, summary, h3 .muted')]
    .filter((one) => one.checkVisibility())
    .filter((one) => {
        const text = document.createRange();
        text.selectNodeContents(one);
        return text.getBoundingClientRect().height > 34;
    }).map((one) => one.textContent)"""


def with_two_faces(folder: Path) -> int:
    """A record with several faces and other photographs of its subject."""
    with open_manifest(folder / MANIFEST) as con:
        found = con.execute(
            """SELECT min(record_id) FROM stored_evidence e WHERE age BETWEEN 0 AND 99 AND face_no IS NOT NULL
               AND (SELECT count(*) FROM face_in_force f WHERE f.sha256 = e.sha256) > 1
               AND (SELECT count(*) FROM record r WHERE r.subject_id = e.subject_id) > 1"""
        ).fetchall()
    return int(found[0][0])


@pytest.fixture
def other_faces_look_77(office: Path) -> None:
    with open_manifest(office / MANIFEST, write=True) as con:
        con.execute(
            """INSERT INTO age_estimate BY NAME
               SELECT DISTINCT f.sha256, f.face_no, 'made-up' AS estimator, 77 AS age, 5.0 AS spread,
                      NULL AS probabilities
               FROM face_in_force f JOIN stored_evidence e ON f.sha256 = e.sha256 AND f.face_no <> e.face_no"""
        )


def look_at(desk: Any, server: Any, record: int) -> None:
    desk.ready()
    desk.page.goto(f"{server.address}/#look={record}")
    desk.page.reload()
    assert desk.ready() == record


def in_grid(desk: Any, server: Any, more: str = "") -> None:
    desk.ready()
    desk.page.goto(f"{server.address}/grid{more}")
    desk.page.wait_for_function("() => tiles().length && tiles().every((t) => t.querySelector('img').complete)")


def states(desk: Any) -> list[str]:
    return list(desk.page.evaluate("() => tiles().map((tile) => tile.dataset.state)"))


# --- the face that is meant -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("other_faces_look_77")
def test_another_face_has_its_own_estimate_and_no_suspicion(office: Path) -> None:
    with open_manifest(office / MANIFEST) as con:
        view = view_record(con, with_two_faces(office))
    assert view is not None
    for face in view.faces:
        chosen = face["face_no"] == view.evidence["face_no"]
        assert face["suggested_age"] == (view.evidence["suggested_age"] if chosen else 77)
        assert face["label_suspicion"] == (0.25 if chosen else None)


@pytest.mark.usefixtures("other_faces_look_77")
def test_f_changes_estimate_suspicion_and_crop_to_the_face_that_is_meant_now(serve: Any, sit: Any) -> None:
    server = serve()
    record = with_two_faces(server.folder)
    desk = sit(server)
    look_at(desk, server, record)
    before = desk.page.locator("#estimates").inner_text()
    crop = desk.page.locator("#relatives .this img").get_attribute("src")
    assert "25\u00a0%" in before
    assert "Looks 77" not in before
    desk.press("f")
    after = desk.page.locator("#estimates").inner_text()
    assert "Looks 77" in after
    assert "25\u00a0%" not in after
    assert "only known for the face that was chosen automatically" in after
    assert "not this one" in desk.page.locator("#reasons-face").inner_text()
    assert "looks 77" in desk.page.locator("#relatives .this").inner_text()
    moved = desk.page.locator("#relatives .this img").get_attribute("src")
    assert moved != crop
    client = server.client()
    assert client.http.get(moved).content != client.http.get(crop).content
    desk.press("Shift+F")
    assert desk.page.locator("#estimates").inner_text() == before
    assert desk.page.locator("#reasons-face").is_hidden()
    assert desk.complaints == []


def test_a_face_that_an_answer_chose_is_told_apart_from_the_one_that_the_checks_judged(
    office: Path, agebench: Any, serve: Any, sit: Any
) -> None:
    record = with_two_faces(office)
    with open_manifest(office / MANIFEST) as con:
        view = view_record(con, record)
    assert view is not None
    other = next(face for face in view.faces if not face["meant"])
    box = ",".join(str(other[side]) for side in "xywh")
    assert agebench("review", "decide", view.part, view.path, "--face", box, cwd=office).status == 0
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    server = serve()
    desk = sit(server)
    look_at(desk, server, record)
    assert desk.page.evaluate("() => now.faces[face].face_no") == other["face_no"]
    assert "not this one" in desk.page.locator("#reasons-face").inner_text()
    assert "No age was estimated for this face" in desk.page.locator("#estimates").inner_text()


@pytest.mark.parametrize("estimated", [True, False])
def test_a_tile_tells_how_old_the_face_looks_that_was_chosen(
    request: pytest.FixtureRequest, serve: Any, sit: Any, estimated: bool
) -> None:
    if estimated:
        request.getfixturevalue("other_faces_look_77")
    server = serve()
    record = with_two_faces(server.folder)
    desk = sit(server)
    in_grid(desk, server)
    while not desk.page.locator(f"[data-id='{record}']").count():
        first = desk.page.evaluate("() => first")
        desk.press("s")
        desk.page.wait_for_function("(id) => !working && first !== id", arg=first)
    tile = desk.page.locator(f"[data-id='{record}']")
    before = tile.locator(".ages").inner_text()
    tile.focus()
    desk.press("f")  # the one that is marked
    assert tile.locator(".ages").inner_text() == before
    desk.press("f")
    after = tile.locator(".ages").inner_text()
    assert after.endswith("looks 77" if estimated else "this face has no estimate")
    assert after in tile.get_attribute("aria-label")


def test_a_tile_tells_which_of_its_faces_evidence_means(office: Path) -> None:
    record = with_two_faces(office)
    with open_manifest(office / MANIFEST) as con:
        tile = tile_faces(con, [record])[record]
        view = view_record(con, record)
    assert view is not None
    assert len(tile["faces"]) == len(view.faces) > 1
    assert tile["faces"][tile["meant"]]["face_no"] == view.evidence["face_no"]
    assert (tile["width"], tile["height"]) == (view.evidence["width"], view.evidence["height"])


def test_a_tile_with_several_faces_is_answered_only_after_one_was_chosen(server: Any, sit: Any) -> None:
    record = with_two_faces(server.folder)
    desk = sit(server)
    in_grid(desk, server)
    while not desk.page.locator(f"[data-id='{record}']").count():
        first = desk.page.evaluate("() => first")
        desk.press("s")
        desk.page.wait_for_function("(id) => !working && first !== id", arg=first)
    tile = desk.page.locator(f"[data-id='{record}']")
    assert tile.locator(".box.meant").count() == 1
    tile.locator(".state").click()
    assert tile.get_attribute("data-state") == ""
    assert "Choose the face" in desk.page.locator("#banner").inner_text()
    desk.page.locator("#mark-keep").click()
    assert tile.get_attribute("data-state") == ""
    desk.page.locator("#mark-none").click()
    other = tile.locator(".box:not(.meant)").first
    number = int(other.get_attribute("data-face"))
    other.evaluate("(box) => box.click()")  # faces may overlap
    tile.locator(".state").click()
    tile.locator(".state").click()
    assert tile.get_attribute("data-state") == "keep"
    with desk.page.expect_response("**/api/answer"):
        desk.page.locator("#send").click()
    [line] = server.lines()
    face = server.client().get(f"/api/record/{record}")["faces"][number]
    assert line["answer"] == "face"
    assert line["box"] == pytest.approx([face[side] for side in "xywh"])
    assert line["shown"]["mode"] == "grid"  # although it was the only one
    assert desk.complaints == []


def test_the_server_refuses_a_grid_answer_without_a_chosen_face(server: Any) -> None:
    record, client = with_two_faces(server.folder), server.client()
    one = client.given(record, "keep")
    del one["face_no"]
    refused = client.post("/api/answer", {"by": "anna", "answers": [one], "grid": True})
    assert refused.status_code == 400
    assert "which one it is about" in refused.json()["error"]["message"]
    assert server.lines() == []
    assert client.post("/api/answer", {"by": "anna", "answers": [one]}).status_code == 200


# --- the grid ---------------------------------------------------------------------------------------------------------


def test_shift_and_a_click_answer_the_tiles_in_between_alike(server: Any, sit: Any) -> None:
    desk = sit(server)
    in_grid(desk, server)
    single = desk.page.evaluate("() => tiles().flatMap((t, i) => undecided(t) ? [] : [i])")
    from_, to = single[1], single[6]
    state = desk.page.locator(".tile .state")
    state.nth(from_).click()
    state.nth(to).click(modifiers=["Shift"])
    marked = [number for number, state in enumerate(states(desk)) if state == "reject"]
    assert marked == single[1:7]
    assert desk.page.locator("#count").inner_text() == "6"


def test_the_size_of_tiles_is_remembered_and_larger_on_a_large_screen(server: Any, sit: Any) -> None:
    wide = "() => tiles()[0].getBoundingClientRect().width"
    widths = []
    for width, height in ((1280, 800), (1920, 1080)):
        desk = sit(server, viewport={"width": width, "height": height})
        in_grid(desk, server)
        widths.append(desk.page.evaluate(wide))
    assert widths[1] > widths[0] > 120
    desk.page.locator("#size").fill("400")
    assert desk.page.evaluate(wide) >= 400
    desk.page.reload()
    desk.page.wait_for_function("() => tiles().length")
    assert desk.page.evaluate(wide) >= 400


def test_a_key_enlarges_a_tile_and_closes_it_again(server: Any, sit: Any) -> None:
    desk = sit(server)
    in_grid(desk, server)
    desk.page.locator(".tile").nth(3).focus()
    desk.press("e")
    assert desk.page.locator("#large img").bounding_box()["width"] > 400
    text = desk.page.locator("#large-text").inner_text()
    assert desk.page.locator(".tile").nth(3).get_attribute("aria-label").startswith(text)
    desk.press("e")
    assert not desk.page.locator("#large").is_visible()


def test_a_tile_shows_whole_names_of_its_checks(office: Path, agebench: Any, serve: Any, sit: Any) -> None:
    recipe = office / "pipelines/everything.toml"
    recipe.write_text(recipe.read_text().replace("wiki_only", "from_wikipedia_and_named_at_length"))
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    desk = sit(server := serve(), viewport={"width": 1280, "height": 800})
    in_grid(desk, server, "?part=wiki")
    for checks in desk.page.locator(".tile > span:last-child").all_inner_texts():
        assert {"every one", "from wikipedia and named at length"} <= {name.strip() for name in checks.split(",")}
    cut = "() => tiles().some((t) => [...t.querySelectorAll('span')].some((s) => s.scrollWidth > s.clientWidth + 1))"
    assert not desk.page.evaluate(cut)


# --- one record -------------------------------------------------------------------------------------------------------


def test_one_chart_and_one_sentence_tell_the_estimate(server: Any, sit: Any) -> None:
    desk = sit(server)
    look_at(desk, server, with_two_faces(server.folder))
    assert desk.page.locator("#estimates svg").count() == 1
    assert desk.page.locator("#estimates .looks").count() == 1
    age = desk.page.evaluate("() => suggested(now).toFixed(0)")
    assert desk.page.locator("#estimates").inner_text().count(age) <= 2  # in the sentence, perhaps on the axis


def test_boxes_and_points_are_hidden_by_a_key_and_shown_again(server: Any, sit: Any) -> None:
    desk = sit(server)
    look_at(desk, server, with_two_faces(server.folder))
    box, point = (desk.page.locator(f"#boxes {mark}").first for mark in (".face", ".dot"))
    assert box.is_visible()
    assert point.is_visible()
    desk.press("b")
    assert not box.is_visible()
    assert not point.is_visible()
    assert desk.page.locator("#hide-boxes").get_attribute("aria-pressed") == "true"
    desk.press("b")
    assert box.is_visible()
    assert point.is_visible()


def test_zoom_shows_the_face_that_is_meant_larger(server: Any, sit: Any) -> None:
    desk = sit(server)
    look_at(desk, server, with_two_faces(server.folder))
    meant = desk.page.locator(".face[aria-pressed='true']")
    before = meant.bounding_box()
    desk.press("z")
    after, frame = meant.bounding_box(), desk.page.locator("#frame").bounding_box()
    assert after["width"] > 1.4 * before["width"]
    middle = after["x"] + after["width"] / 2
    assert frame["x"] < middle < frame["x"] + frame["width"]
    desk.press("z")
    assert meant.bounding_box() == pytest.approx(before, abs=1)


def test_a_key_that_came_too_early_is_told_as_ignored(server: Any, sit: Any) -> None:
    desk = sit(server)
    first = desk.ready()
    desk.press_at_once("r", "k")
    desk.page.wait_for_function("(id) => !working && now.id !== id", arg=first)
    assert re.match("K came too early", desk.page.locator("#flash").text_content())
    desk.ready()
    assert len(server.lines()) == 1


def test_the_answer_flashes_on_the_picture(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.answer("r")
    assert desk.page.locator("#flash").text_content() == "Rejected"
    desk.ready()
    desk.answer("4", "2")
    assert desk.page.locator("#flash").text_content() == "Age 42"


def test_keep_says_what_it_keeps(server: Any, sit: Any) -> None:
    client = server.client()
    shown = [client.get(f"/api/record/{record}") for record in client.queue()]
    fits = next(one for one in shown if one["readable"] and 0 <= (one["claimed"] or -1) <= 99)
    none = next(one for one in shown if one["claimed"] is None or not 0 <= one["claimed"] <= 99)
    desk = sit(server)
    look_at(desk, server, fits["id"])
    assert desk.page.locator("#keep-text").inner_text() == f"{fits['claimed']} is right"
    look_at(desk, server, none["id"])
    assert desk.page.locator("#keep").is_disabled()


def test_back_shows_the_record_before_and_takes_nothing_back(server: Any, sit: Any) -> None:
    desk = sit(server)
    first = desk.answer("r")
    second = desk.ready()
    desk.press("ArrowLeft")
    assert desk.ready() == first
    assert "anna: reject" in desk.page.locator("#answers").inner_text()
    assert [line["kind"] for line in server.lines()] == ["decision"]
    desk.press("s")
    desk.page.wait_for_function("(id) => seen()?.id === id", arg=second)
    assert [line["kind"] for line in server.lines()] == ["decision"]


def test_answers_per_minute_and_the_time_left_are_told(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    assert "a minute" not in desk.page.locator("#left").inner_text()  # of nothing there is no pace
    for _ in range(3):
        desk.answer("r")
    desk.page.wait_for_function("() => Date.now() - began > 3100")
    desk.answer("r")
    desk.page.wait_for_function("() => / · \\d+ a minute · .+ to go$/.test(byId('left').textContent)")


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1920, 1080), (390, 844)])
def test_the_buttons_stay_where_they_are_whatever_opens_above_them(
    server: Any, sit: Any, width: int, height: int
) -> None:
    desk = sit(server, viewport={"width": width, "height": height})
    places = set()
    for _ in range(6):
        desk.ready()
        places.add(round(desk.page.locator("#keep").bounding_box()["y"]))
        desk.answer("r")
    desk.page.locator("#filters summary").click()
    places.add(round(desk.page.locator("#keep").bounding_box()["y"]))
    desk.page.evaluate("() => banner('something', true)")
    places.add(round(desk.page.locator("#keep").bounding_box()["y"]))
    assert len(places) == 1


def test_twenty_records_are_answered_by_keys_without_a_lost_key(server: Any, sit: Any) -> None:
    desk = sit(server)
    given = []
    for number in range(20):
        desk.ready()
        keepable = desk.page.evaluate("() => !byId('keep').disabled")
        keys = ("k",) if number % 3 == 0 and keepable else ("r",) if number % 3 < 2 else ("3", "5")
        if not desk.page.evaluate("() => now.readable"):
            keys = ("r",)
        record = desk.answer(*keys)
        given.append((record, {"k": "keep", "r": "reject", "3": "age"}[keys[0]]))
    lines = server.lines()
    client = server.client()
    paths = [client.get(f"/api/record/{record}")["path"] for record, _ in given]
    assert [(line["path"], line["answer"]) for line in lines] == list(zip(paths, [a for _, a in given], strict=True))
    assert len({record for record, _ in given}) == 20
    assert desk.complaints == []


# --- the overview -----------------------------------------------------------------------------------------------------


def test_an_example_is_a_face_with_its_ages_and_a_link_to_its_record(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    desk.page.goto(server.address + "/overview")
    example = desk.page.locator(".examples a").first
    assert "face=true" in example.locator("img").get_attribute("src")
    assert re.search(r"claims -?\d+|no age", example.inner_text())
    assert re.search(r"looks \d+", desk.page.locator(".examples").first.inner_text())
    record = int(example.get_attribute("href").partition("look=")[2])
    example.click()
    assert desk.ready() == record
    assert desk.complaints == []


def test_checks_without_a_hit_are_one_line_and_fired_is_told_apart_from_took_first(
    office: Path, agebench: Any, serve: Any
) -> None:
    recipe = office / "pipelines/everything.toml"
    more = "".join(f'\n[[check]]\nname = "{name}"\nreview = "FALSE"\nreason = "never"\n' for name in ("idle", "lazy"))
    recipe.write_text(recipe.read_text() + more)
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    with open_manifest(office / MANIFEST) as con:
        found = {check["check"]: check for check in overview(con).checks}
    assert (found["idle"]["records"], found["idle"]["examples"]) == (0, [])
    assert found["wiki_only"]["records"] > found["wiki_only"]["first"] == 0  # each was in `every_one` before
    page = serve().client().http.get("/overview").text
    [line] = re.findall(r'<p class="idle">(.*?)</p>', page, re.DOTALL)
    assert re.search(r"idle, lazy", line)
    heads = re.findall(r"<article.*?<h3>(\w+) .*?fired on ([\d,]+), took ([\d,]+)<", page, re.DOTALL)
    assert ("wiki_only", str(found["wiki_only"]["records"]), "0") in heads
    assert "idle" not in {name for name, *_ in heads}


def test_what_cannot_be_shown_is_named_and_no_placeholder_stands_for_it(server: Any) -> None:
    client = server.client()
    page = client.http.get("/overview").text
    [unreadable] = re.findall(r"<article class=\"check\"><h3>unreadable .*?</article>", page, re.DOTALL)
    assert "No readable picture:" in unreadable
    assert "<img" not in unreadable


def test_the_histogram_has_axes(server: Any) -> None:
    page = server.client().http.get("/overview").text
    [chart] = re.findall(r'<svg class="ages".*?</svg>', page, re.DOTALL)
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", chart)
    assert {"claimed age, years", "records", "0", "10", "90"} <= set(texts)


# --- all pages --------------------------------------------------------------------------------------------------------


def test_filters_survive_a_change_of_page(server: Any, sit: Any) -> None:
    desk = sit(server)
    desk.ready()
    desk.page.goto(server.address + "/?part=wiki")
    desk.ready()
    desk.page.get_by_role("link", name="Grid").click()
    desk.page.wait_for_function("() => globalThis.tiles?.().length")
    with open_manifest(server.folder / MANIFEST) as con:
        wiki = {row[0] for row in con.execute("SELECT record_id FROM record WHERE part = 'wiki'").fetchall()}
    assert set(desk.page.evaluate("() => tiles().map((tile) => Number(tile.dataset.id))")) <= wiki
    desk.page.get_by_role("link", name="Overview").click()
    desk.page.get_by_role("link", name="Review").click()
    assert desk.ready() in wiki
    assert "wiki" in desk.page.locator("#filter-text").inner_text()
    desk.page.locator("#filters summary").click()
    desk.page.locator("#filter-clear").click()
    desk.page.get_by_role("link", name="Grid").click()
    desk.page.wait_for_function("() => globalThis.tiles?.().length")
    assert desk.page.locator("#filter-text").inner_text() == ""


def test_nothing_wraps_on_a_telephone(server: Any, sit: Any) -> None:
    desk = sit(server, viewport={"width": 390, "height": 844}, has_touch=True)
    for _ in range(4):
        desk.answer("r")
    desk.page.evaluate("() => { byId('left').textContent = '1,170 left of 1,304 · 12 a minute · about 89 min to go' }")
    assert desk.page.evaluate(ONE_LINE) == []
    assert not desk.page.locator("#help-button").is_visible()  # there are no keys
    in_grid(desk, server)
    assert desk.page.evaluate(ONE_LINE) == []
    assert not desk.page.locator(".with-keys").is_visible()
    desk.page.goto(server.address + "/overview")
    assert desk.page.evaluate(ONE_LINE) == []
