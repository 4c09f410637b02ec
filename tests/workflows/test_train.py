"""What a training draws from a manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import agebench as product
from agebench.demo.releases import DemoReleases
from agebench.training.resolve import resolve_recipe
from agebench.workflows.train import _crop, _source


def test_a_picture_that_a_seed_draws_and_that_is_gone_does_not_make_other_data(
    drawn_release: DemoReleases,
    detector: str,
    succeed: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = tmp_path / "release"
    shutil.copytree(drawn_release.roots["imdb-wiki"], root)
    succeed(tmp_path, "curate", "imdb-wiki", "--root", root, "--detector", detector)
    monkeypatch.chdir(tmp_path)
    curated = product.Manifest("imdb-wiki").curated
    recipe = resolve_recipe("neighborhood-quick")
    before, _ = _crop(_source("imdb-wiki", None), recipe, 0, None)
    shutil.rmtree("crops")
    Path(curated["file"][0]).unlink()
    after, notes = _crop(_source("imdb-wiki", None), recipe, 0, None)
    assert len(after.records) < len(before.records)
    assert any("could not be cropped" in note for note in notes)
    assert after.fingerprint == before.fingerprint
