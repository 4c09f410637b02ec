"""What is measured on pixels, on pictures whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.curation.observing.measures import INSETS, _reduced, copy_hashes, face_sharpness, measure, perceptual_hash

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)


def distance(one: int, two: int) -> int:
    return (one ^ two).bit_count()


def test_tones_of_a_flat_picture() -> None:
    facts = measure(np.full((50, 80, 3), 90, np.uint8))
    assert facts["brightness"] == 90
    assert facts["contrast"] == facts["sharpness"] == 0
    assert facts["grayscale"] is True


def test_grayscale_is_told_from_colour_and_survives_jpeg() -> None:
    gray = np.repeat(SMOOTH[..., :1], 3, axis=2)
    stored = cv2.imdecode(cv2.imencode(".jpg", gray)[1], cv2.IMREAD_COLOR)
    assert measure(gray)["grayscale"] is True
    assert measure(stored.astype(np.uint8))["grayscale"] is True
    assert measure(SMOOTH)["grayscale"] is False


def test_blur_lowers_sharpness_and_size_does_not() -> None:
    picture = RNG.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 4).astype(np.uint8)
    assert measure(blurred)["sharpness"] < measure(picture)["sharpness"] / 10
    large = cv2.resize(SMOOTH, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    assert measure(large)["sharpness"] == pytest.approx(measure(SMOOTH)["sharpness"], rel=0.3)


def test_the_perceptual_hash_survives_scaling_and_jpeg_and_tells_pictures_apart() -> None:
    gray = SMOOTH[..., 0]
    half = cv2.resize(gray, (160, 120), interpolation=cv2.INTER_AREA).astype(np.uint8)
    stored = cv2.imdecode(cv2.imencode(".jpg", gray, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)
    assert distance(perceptual_hash(gray), perceptual_hash(half)) <= 3
    assert distance(perceptual_hash(gray), perceptual_hash(stored.astype(np.uint8))) <= 3
    assert distance(perceptual_hash(gray), perceptual_hash(np.ascontiguousarray(gray[:, ::-1]))) > 10


@given(st.integers(1, 40), st.integers(1, 3000))
@settings(max_examples=30, deadline=None)
def test_any_shape_is_measured(height: int, width: int) -> None:
    facts = measure(np.full((height, width, 3), 7, np.uint8))
    assert 0 <= facts["phash"] < 2**64
    assert all(np.isfinite(np.asarray(v, dtype=float)).all() for v in facts.values())
    assert (len(facts["inset_phash"]), len(facts["edges"])) == (4, 20)


def test_a_face_box_outside_the_picture_has_no_sharpness() -> None:
    assert face_sharpness(SMOOTH, 400, 10, 50, 50) is None
    assert face_sharpness(SMOOTH, -30, -30, 31, 31) is None
    assert face_sharpness(SMOOTH, -30, -30, 100, 100) is not None


def edge_hash(gray: np.ndarray) -> list[int]:
    return copy_hashes(gray)[1][:4]


def test_hashes_of_the_inner_picture_meet_those_of_a_crop() -> None:
    gray = np.ascontiguousarray(SMOOTH[..., 0])
    hashes, edges = copy_hashes(gray)
    assert (len(hashes), len(edges)) == (len(INSETS), 4 * len(INSETS))
    assert hashes[0] == perceptual_hash(gray)
    for n, share in enumerate(INSETS):
        y, x = round(gray.shape[0] * share), round(gray.shape[1] * share)
        crop = gray[y : gray.shape[0] - y, x : gray.shape[1] - x]
        assert distance(hashes[n], perceptual_hash(crop)) <= 1  # a sum in another order may tip a bit
        assert sum(map(distance, edges[4 * n : 4 * n + 4], edge_hash(crop))) <= 1


def test_edges_are_what_gets_lighter_to_the_right_and_downwards() -> None:
    ramp = np.tile(np.linspace(0, 240, 120), (110, 1)).astype(np.uint8)
    bits = "".join(f"{word:064b}" for word in edge_hash(ramp))
    assert bits[:121] == "1" * 121
    assert bits[121:] == "0" * 135
    down = "".join(f"{word:064b}" for word in edge_hash(np.ascontiguousarray(ramp.T)))
    assert down[:121] == "0" * 121
    assert down[121:241] == "1" * 120
    assert edge_hash(ramp[:, ::-1].copy()) == edge_hash(np.full((9, 9), 7, np.uint8)) == [0, 0, 0, 0]


def test_the_reduced_picture_is_opencvs() -> None:
    gray = np.ascontiguousarray(SMOOTH[:150, :211, 0])
    ours = _reduced(gray.astype(np.float32), 32, 32)[0]
    assert np.abs(ours - cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA)).max() <= 1
