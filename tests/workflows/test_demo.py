"""The demo tells its caller how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from agebench.workflows import demo as workflow


def test_the_demo_counts_the_pictures_that_it_draws_and_observes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trains(Exception):
        pass

    def train(*_: object, **__: object) -> None:
        raise Trains

    monkeypatch.setattr(workflow, "train", train)
    last: dict[str, tuple[int, int]] = {}

    def count(what: str, done: int, total: int) -> None:
        last[what] = done, total

    with pytest.raises(Trains):
        workflow.demo(tmp_path, workflow.DemoSize(40, 2, 2), workers=1, on_progress=count)
    assert list(last) == ["drawing", *(f"observing {name}" for name in ("imdb-wiki", "fg-net", "morph", "cacd"))]
    assert all(done == total > 0 for done, total in last.values())
