"""The model card of a run says what is known of it, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agebench as product
from agebench.bench.model_card import FILE, model_card
from agebench.demo.releases import DemoReleases

SMALL = {"train.steps": 2, "train.batch": 8, "network.widths": [8, 8, 8, 8]}


@pytest.fixture(scope="module")
def work(
    drawn_release: DemoReleases,
    detector: str,
    succeed: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("carded")
    for name in ("imdb-wiki", "fg-net"):
        succeed(folder, "curate", name, "--root", drawn_release.roots[name], "--detector", detector)
    return folder


@pytest.fixture
def run(work: Path, monkeypatch: pytest.MonkeyPatch) -> product.Run:
    monkeypatch.chdir(work)
    return product.train("neighborhood-quick", changes=SMALL).run


def test_a_measured_run_has_its_training_errors_limits_and_licences(run: product.Run) -> None:
    text = (run.path / FILE).read_text()
    assert text == model_card(run)
    assert f"Run `{run.id}`" in text
    (evaluation,) = (json.loads(next((run.path / "predictions").glob("*.json")).read_text()),)
    assert f"| 12 | {evaluation['mae']:.2f}" in text
    assert "| true age | < 10" in text
    assert "not that release, only its layout" in text
    assert "is not known: nobody has audited them" in text
    assert "| records |" in text or "| kept | keep |" in text
    assert product.Manifest("imdb-wiki").meta["recipe"] in text
    assert (
        "non-commercial" in text.split("## Licences")[1].lower() or "research" in text.split("## Licences")[1].lower()
    )
    assert "None" not in text
    assert "nan" not in text.lower().replace("governance", "")


def test_a_run_that_was_not_measured_says_so(run: product.Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work)
    alone = product.train("median", seed=3).run
    for file in (alone.path / "predictions").iterdir():
        file.unlink()
    text = model_card(alone)
    assert "has not been measured on a test set yet" in text
    assert "Method: median" in text


@pytest.mark.parametrize(("weights", "words"), [("imagenet", "ImageNet"), ("/some/face.pth", "those of face.pth")])
def test_initial_weights_are_named_with_their_terms(run: product.Run, weights: str, words: str) -> None:
    card: dict[str, Any] = json.loads(json.dumps(run.card))
    card["recipe"]["network"]["weights"] = weights
    text = model_card(type(run)(run.id, run.path, card, run.recipe))
    assert words in text.split("## Licences")[1]
