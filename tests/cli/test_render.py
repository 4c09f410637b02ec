"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agebench.cli import render


def test_bars_on_a_terminal_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.sys.stderr, "isatty", lambda: True, raising=False)
    with render.progress("cropping", "faces") as first, render.progress("predicting", "faces") as second:
        assert not first.live.is_started  # type: ignore[attr-defined]
        for bar in (first, second, first):
            bar(1, 2)
            assert bar.live.is_started  # type: ignore[attr-defined]
            bar(2, 2)
            assert not bar.live.is_started  # type: ignore[attr-defined]


def test_a_line_tells_the_rate_since_the_work_began(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with render.progress("cropping", "faces") as say:
        now += 500
        for done in range(0, 101, 20):
            say(done, 100)
            now += 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "cropping: 60 of 100, 10.0 faces/s, 4 s left",
        "cropping: 100 of 100, 10.0 faces/s",
    ]


def test_the_next_of_several_test_sets_has_a_rate_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with render.progress("predicting", "faces") as say:
        for _ in range(2):
            for done in (50, 100):
                say(done, 100)
                now += 10
            now += 500
    assert capsys.readouterr().err.splitlines() == ["predicting: 100 of 100, 5.0 faces/s"] * 2


def test_no_rate_is_shown_before_something_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(render.sys.stderr, "isatty", lambda: True, raising=False)
    with render.progress("cropping", "faces") as bar:
        shown = []
        for done in (64, 64, 128):
            bar(done, 1000)
            shown.append(bar.tasks[0].fields["rate"])  # type: ignore[attr-defined]
            now += 2
    assert shown == ["", "", "16.0 faces/s"]


@pytest.mark.parametrize(("missing", "command"), [(None, "review serve"), ("uvicorn", "review list")])
def test_what_is_proposed_for_review_works_here(
    monkeypatch: pytest.MonkeyPatch, missing: str | None, command: str
) -> None:
    monkeypatch.setattr(render.importlib.util, "find_spec", lambda name: None if name == missing else object())
    told = render.how_to_review(Path("my manifests/a.duckdb"))
    assert f"`agebench {command} --manifest 'my manifests/a.duckdb'`" in told
    assert ("agebench[review]" in told) == (missing is not None)
