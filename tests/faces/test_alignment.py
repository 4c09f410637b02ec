"""Alignment: where the landmarks land, that the fit is the least-squares one, and that pixels follow the matrix."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.faces.alignment import ARCFACE, SHRINK, align, similarity, template, whole_picture


def transform(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def moved(size: int, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """The template's landmarks, turned (radians), scaled and shifted."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (template(size) - size / 2) @ turn.T * scale + np.array(shift)


def test_the_template_is_arcfaces_drawn_in_about_the_middle() -> None:
    points = template(112)
    assert points.shape == (5, 2)
    assert np.allclose((points - 56) / SHRINK + 56, ARCFACE * 112)
    assert np.allclose(template(224), 2 * points)
    eyes, nose, mouth = points[:2], points[2], points[3:]
    assert eyes[0, 0] < nose[0] < eyes[1, 0]
    assert eyes[:, 1].max() < nose[1] < mouth[:, 1].min()
    assert ((points > 0) & (points < 112)).all()


@given(
    angle=st.floats(-3.1, 3.1), scale=st.floats(0.1, 20), x=st.floats(-500, 3000), y=st.floats(-500, 3000),
    size=st.sampled_from([64, 112, 224]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_landmarks_of_the_templates_shape_land_on_it(angle: float, scale: float, x: float, y: float, size: int) -> None:
    points = moved(size, angle, scale, (x, y))
    assert np.allclose(transform(similarity(points, template(size)), points), template(size), atol=1e-5)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_fit_is_the_least_squares_similarity(seed: int) -> None:
    """Umeyama's closed form, and the estimate that insightface aligns with, agree with the linear solution."""
    skimage = pytest.importorskip("skimage.transform")
    rng = np.random.default_rng(seed)
    points = moved(112, rng.uniform(-1, 1), rng.uniform(0.5, 4), (200, 150)) + rng.normal(0, 8, (5, 2))
    theirs = skimage.SimilarityTransform.from_estimate(points, template(112)).params[:2]
    ours = similarity(points, template(112))
    assert np.allclose(ours, theirs, atol=1e-6)
    error = ((transform(ours, points) - template(112)) ** 2).sum()
    for _ in range(20):
        a, b, x, y = rng.normal(0, 1e-3, 4)
        other = ours + np.array([[a, -b, x], [b, a, y]])
        assert ((transform(other, points) - template(112)) ** 2).sum() >= error


def test_the_fit_agrees_with_insightfaces_own() -> None:
    face_align = pytest.importorskip("insightface.utils.face_align")
    points = np.array([[60.0, 80], [110, 76], [88, 105], [66, 130], [108, 126]])
    theirs = face_align.estimate_norm(points, 112)
    drawn_in = (transform(np.asarray(theirs), points) / 112 - 0.5) * SHRINK * 112 + 56
    assert np.allclose(transform(similarity(points, template(112)), points), drawn_in, atol=1e-3)


@pytest.mark.parametrize("angle", [0.0, 0.5, -1.2])
@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0, 9.0])
def test_dots_drawn_at_the_landmarks_are_found_at_the_template(angle: float, scale: float) -> None:
    size = 112
    points = moved(size, angle, scale, (700, 650))
    picture = np.zeros((1400, 1500, 3), np.uint8)
    for i, (x, y) in enumerate(points):
        cv2.circle(
            picture, (round(x * 16), round(y * 16)), max(3, round(4 * scale)) * 16, (255, 50 * i, 0), -1, cv2.LINE_AA, 4
        )
    crop = align(picture, points, size)
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    for x, y in template(size):
        window = crop[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9, 0].astype(float)
        rows, columns = np.mgrid[round(y) - 8 : round(y) + 9, round(x) - 8 : round(x) + 9]
        found = ((columns * window).sum() / window.sum(), (rows * window).sum() / window.sum())
        assert np.hypot(found[0] - x, found[1] - y) < 1.0


def test_a_strong_reduction_averages_and_does_not_skip() -> None:
    stripes = np.zeros((2000, 2000, 3), np.uint8)
    stripes[:, ::2] = 255
    crop = align(stripes, moved(64, 0.0, 20.0, (1000, 1000)), 64)
    assert np.abs(crop[16:48, 16:48].astype(int) - 127).max() < 30


def test_what_lies_outside_the_picture_is_black() -> None:
    crop = align(np.full((50, 50, 3), 200, np.uint8), moved(64, 0, 1, (0, 0)), 64)
    assert crop[:20, :20].max() == 0
    assert crop[-20:, -20:].min() > 150


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), 7.0), np.full((5, 2), 1e12)])
def test_landmarks_in_one_place_are_an_error(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no area"):
        align(np.zeros((20, 20, 3), np.uint8), points, 64)


@pytest.mark.parametrize("shape", [(10, 30), (300, 20), (1, 1), (5, 4000)])
def test_a_whole_picture_stands_in_the_middle_of_a_black_square(shape: tuple[int, int]) -> None:
    square = whole_picture(np.full((*shape, 3), 255, np.uint8), 64)
    assert square.shape == (64, 64, 3)
    rows, columns = np.nonzero(square[..., 0])
    long, short = (rows, columns) if shape[0] >= shape[1] else (columns, rows)
    assert (long.min(), long.max()) == (0, 63)
    assert abs(short.min() + short.max() - 63) <= 1
    assert short.max() - short.min() + 1 == max(1, round(64 * min(shape) / max(shape)))


def test_a_zoomed_face_is_larger_and_mouth_and_nose_stay_near_their_place():
    near, far = template(100, 1.5), template(100)
    assert np.allclose(np.ptp(near, axis=0), 1.5 * np.ptp(far, axis=0))
    assert np.abs(near[2:] - far[2:]).max() < 10
    assert ((near > 10) & (near < 90)).all()


def test_outside_of_the_picture_its_mirror_image_can_be_shown() -> None:
    picture = np.random.default_rng(0).integers(40, 255, (60, 60, 3), dtype=np.uint8)
    points = moved(40, 0, 1.0, (30, 30))
    black, mirrored = (align(picture, points, 80, template(80) / 2 + 20, border) for border in ("black", "mirror"))
    assert (black == 0).all(axis=2).mean() > 0.3
    assert mirrored.min() > 0
    inside = black.any(axis=2)
    assert (np.abs(black.astype(int) - mirrored)[inside] < 60).mean() > 0.9
    large = np.kron(picture, np.ones((8, 8, 1), np.uint8))  # reduced before it is aligned
    shrunk = align(large, moved(40, 0, 8.0, (240, 240)), 80, template(80) / 2 + 20, "mirror")
    assert shrunk.min() > 0


def test_a_whole_picture_is_filled_up_with_its_mirror_image() -> None:
    wide = np.random.default_rng(0).integers(40, 255, (20, 60, 3), dtype=np.uint8)
    black, mirrored = (whole_picture(wide, 60, border) for border in ("black", "mirror"))
    assert not black[:20].any()
    assert np.array_equal(black[20:40], wide)
    assert np.array_equal(mirrored, np.concatenate([wide[::-1], wide, wide[::-1]]))
