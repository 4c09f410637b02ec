"""The page for everybody: by keyboard alone, by screen reader, light and dark, on a desk and on a telephone."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from .test_page import ONE_LINE

PAGES = ("/", "/grid", "/audit/5-1", "/overview")
SIZES = {"desk": (1440, 900), "telephone": (390, 844)}


@pytest.fixture
def audited(office: Path, agebench: Any, serve: Any) -> Any:
    """A server with an audit, and some records kept."""
    recipe = office / "pipelines" / "everything.toml"
    recipe.write_text(recipe.read_text().replace('review = "TRUE"', 'review = "record_id % 4 > 0"'))
    assert agebench("curate", "imdb-wiki", "--recipe", "everything", cwd=office).status == 0
    assert agebench("review", "audit", "--n", 5, "--seed", 1, cwd=office).status == 0
    return serve()


def settled(desk: Any, path: str) -> None:
    if path == "/grid":
        desk.page.wait_for_function("() => tiles().length && tiles().every((t) => t.querySelector('img').complete)")
    elif path != "/overview":
        desk.ready()


@pytest.mark.parametrize(("size", "scheme"), list(itertools.product(SIZES, ("light", "dark"))))
def test_axe_finds_nothing_serious(audited: Any, sit: Any, size: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    width, height = SIZES[size]
    # bypass_csp lets the checker in; the page itself is seen to work under its policy in the other tests
    desk = sit(audited, viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True)
    for path in PAGES:
        desk.page.goto(audited.address + path)
        settled(desk, path)
        for opened in ("closed", "open"):
            if opened == "open":
                if path in ("/", "/grid"):
                    desk.page.locator("#filters summary").click()
                if path in ("/", "/audit/5-1"):
                    desk.page.keyboard.press("?")
            found = Axe().run(desk.page).response["violations"]
            serious = [
                (v["id"], v["impact"], [n["target"] for n in v["nodes"]][:3])
                for v in found
                if v["impact"] in ("serious", "critical", "moderate")
            ]
            assert serious == [], (path, opened)


def test_nothing_is_wider_than_a_small_telephone(audited: Any, sit: Any) -> None:
    desk = sit(audited, viewport={"width": 360, "height": 640})
    for path in PAGES:
        desk.page.goto(audited.address + path)
        settled(desk, path)
        if path in ("/", "/grid"):
            desk.page.locator("#filters summary").click()
        assert desk.page.evaluate("() => document.documentElement.scrollWidth") <= 360, path


def test_nothing_of_an_audit_wraps_or_is_useless_on_a_telephone(audited: Any, sit: Any) -> None:
    desk = sit(audited, viewport={"width": 390, "height": 844}, has_touch=True)
    desk.page.goto(audited.address + "/audit/5-1")
    desk.ready()
    tall = """() => [...document.querySelectorAll('.age-form label')].filter((one) => one.checkVisibility())
        .map((one) => one.getBoundingClientRect().height)"""
    heights = desk.page.evaluate(tall)
    assert desk.page.evaluate(ONE_LINE) == []
    assert not desk.page.locator("#help-button").is_visible()  # there are no keys
    desk.press("t")
    desk.page.wait_for_function("() => seen()?.looks === 'cannot tell'")
    heights += desk.page.evaluate(tall)
    assert desk.page.evaluate(ONE_LINE) == []
    assert len(heights) == 2
    assert max(heights) < 50


def test_what_is_said_of_a_record_is_in_sight(audited: Any, sit: Any) -> None:
    for width, height in ((1280, 800), (390, 844)):
        desk = sit(audited, viewport={"width": width, "height": height})
        desk.page.goto(audited.address + "/grid")
        settled(desk, "/grid")
        cut = (
            "() => tiles().some((t) => [...t.querySelectorAll('span')].some((s) => s.scrollWidth > s.clientWidth + 1))"
        )
        assert width > 390 or not desk.page.evaluate(cut)
        desk.page.goto(audited.address + "/")
        desk.ready()
        reason = desk.page.locator("#reasons li").first.bounding_box()
        buttons = desk.page.locator("#keep").bounding_box()
        assert buttons["y"] + buttons["height"] <= height
        assert reason["y"] + reason["height"] <= (height if width > 820 else buttons["y"])
    desk = sit(audited, viewport={"width": 1280, "height": 800})
    desk.ready()
    while not desk.page.locator("#relatives-block").is_visible():
        desk.answer("s")
    assert desk.page.locator("#rel-title").bounding_box()["y"] < 800


def test_the_keyboard_reaches_everything_and_the_focus_shows(audited: Any, sit: Any) -> None:
    desk = sit(audited)
    desk.ready()
    reached = []
    for _ in range(30):
        desk.page.keyboard.press("Tab")
        where = desk.page.evaluate(
            """() => { const one = document.activeElement; const style = getComputedStyle(one);
                return [one.id || one.textContent.trim().slice(0, 20), style.outlineStyle !== 'none', one.tagName] }"""
        )
        if where[2] == "BODY":
            break
        assert where[1], f"no focus to be seen on {where}"
        reached.append(where[0])
    assert reached[0] == "Skip to the content"
    for name in ("Review", "Grid", "Overview", "name", "keep", "reject", "age", "skip", "undo", "help-button"):
        assert name in reached, reached
    order = [reached.index(name) for name in ("keep", "reject", "age", "skip", "undo", "help-button")]
    assert order == sorted(order)
    desk.page.locator("#help-button").focus()
    desk.page.keyboard.press("Enter")
    assert desk.page.evaluate("() => document.activeElement.closest('dialog') !== null")
    desk.press("k", "r", "5", "5")  # no answers behind a dialog
    desk.page.keyboard.press("Escape")
    assert desk.page.evaluate("() => document.activeElement.id") == "help-button"
    assert audited.lines() == []
    while not desk.page.evaluate("() => now.readable"):  # what cannot be read gets no age
        desk.answer("s")
    record = desk.ready()
    desk.page.locator("#age").fill("41")
    desk.page.keyboard.press("Enter")
    desk.page.wait_for_function("(id) => seen() && now.id !== id", arg=record)
    [line] = audited.lines()
    assert (line["answer"], line["age"]) == ("age", 41)
    assert "Claimed age" in desk.page.locator("#live").inner_text()  # what a screen reader says
    assert desk.complaints == []


def test_fingers_do_too(audited: Any, sit: Any) -> None:
    desk = sit(audited, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    first = desk.ready()
    for name in ("keep", "reject", "skip", "undo"):
        box = desk.page.locator(f"#{name}").bounding_box()
        assert box["height"] >= 44
        assert box["y"] + box["height"] <= 844  # in reach without scrolling
    desk.page.locator("#reject").tap()
    desk.page.wait_for_function("(id) => seen() && now.id !== id", arg=first)
    desk.page.locator("#undo").tap()
    desk.page.wait_for_function("(id) => seen() && now.id === id", arg=first)
    assert [line["kind"] for line in audited.lines()] == ["decision", "undo"]
