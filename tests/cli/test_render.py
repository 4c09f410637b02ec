"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import time

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
