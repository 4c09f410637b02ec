"""Multinomial logistic regression: probabilities of ages from features."""

from __future__ import annotations

import numpy as np
import pytest

from agebench.training.features import Faces
from agebench.training.methods.logistic import Logistic

PICTURES = np.zeros((600, 8, 8, 3), np.uint8)


def faces_of(ages: np.ndarray, noise: float = 0.05) -> Faces:
    """Faces whose feature is a smooth curve of their age in ten dimensions."""
    rng = np.random.default_rng(0)
    curve = np.cos(ages[:, None] / 100 * np.pi * np.arange(1, 11)) + noise * rng.normal(size=(len(ages), 10))
    return Faces(PICTURES[: len(ages)], np.arange(len(ages)), {"bif": curve.astype(np.float32)})


def test_ages_are_learned_and_probabilities_tell_how_surely() -> None:
    ages = np.random.default_rng(1).integers(0, 100, 600)
    faces, method, ones = faces_of(ages), Logistic(penalty=1.0), np.ones(400)
    fitted = method.fit(faces.take(np.arange(400)), ages[:400], weights=ones, seed=0)
    found, probabilities = method.predict(fitted, faces.take(np.arange(400, 600)))
    assert abs(found - ages[400:]).mean() < 6
    assert probabilities.shape == (200, 100)
    assert probabilities.sum(1) == pytest.approx(1)
    assert found == pytest.approx(probabilities @ np.arange(100))
    spread = np.sqrt(probabilities @ np.arange(100) ** 2 - found**2)
    assert (spread > 2.5).all()  # of a target alone: 3 years


def test_a_large_penalty_leaves_the_ages_of_all() -> None:
    ages = np.repeat([20, 60], 50)
    faces = faces_of(ages)
    fitted = Logistic(penalty=1e5).fit(faces, ages, weights=np.ones(100), seed=0)
    assert Logistic().predict(fitted, faces)[0] == pytest.approx(40, abs=0.5)
    thrice = Logistic(penalty=1e5).fit(faces, ages, weights=np.where(ages == 60, 3.0, 1.0), seed=0)
    assert Logistic().predict(thrice, faces)[0] == pytest.approx(50, abs=0.5)


def test_a_face_counted_twice_is_as_good_as_two() -> None:
    ages = np.array([10, 40, 70, 30])
    faces = faces_of(ages)
    double = faces.take(np.array([0, 0, 1, 2, 3]))
    once = Logistic(penalty=0.4).fit(faces, ages, weights=np.array([2.0, 1, 1, 1]), seed=0)
    twice = Logistic(penalty=0.5).fit(double, np.array([10, 10, 40, 70, 30]), weights=np.ones(5), seed=0)
    assert Logistic().predict(once, faces)[0] == pytest.approx(Logistic().predict(twice, faces)[0], abs=0.5)
