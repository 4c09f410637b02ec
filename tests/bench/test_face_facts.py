"""What is kept of a face: the distance of the eyes and the direction of the nose."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from agebench.bench.face_facts import pose, with_face_facts
from agebench.faces.alignment import template

FRONTAL = np.array([[30, 50], [70, 50], [50, 70], [35, 90], [65, 90]], np.float64)


def turned(pixels: float) -> np.ndarray:
    """The frontal face with its nose so many pixels to the right."""
    points = FRONTAL.copy()
    points[2, 0] += pixels
    return points


def test_a_frontal_face_has_no_yaw_and_the_nose_tells_the_side() -> None:
    distance, yaw = pose(np.stack([FRONTAL, turned(10), turned(-10), turned(24)]))
    assert distance == pytest.approx([40, 40, 40, 40])
    assert yaw[0] == pytest.approx(0)
    assert yaw[1] == pytest.approx(-yaw[2])
    assert 0 < yaw[1] < yaw[3]
    assert yaw[3] == pytest.approx(45)  # the nose as far aside as it stands before the eyes


def test_the_template_of_crops_is_frontal() -> None:
    assert abs(pose(template(112)[None])[1][0]) < 1


def test_neither_size_nor_roll_of_the_head_changes_the_yaw() -> None:
    angle = np.radians(30)
    roll = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    distance, yaw = pose(np.stack([turned(10), 3 * turned(10) @ roll.T]))
    assert distance[1] == pytest.approx(3 * distance[0])
    assert yaw[1] == pytest.approx(yaw[0])


def test_what_is_not_known_is_null() -> None:
    coincident = np.tile([5.0, 5.0], 5).tolist()
    records = pl.DataFrame(
        {"w": [80.0, None, 20.0], "h": [45.0, None, 20.0], "landmarks": [FRONTAL.ravel().tolist(), None, coincident]}
    )
    found = with_face_facts(records)
    assert found["face_size"].to_list() == [pytest.approx(60), None, pytest.approx(20)]
    assert found["interocular_distance"].to_list() == [pytest.approx(40), None, 0]
    assert found["yaw"].to_list() == [pytest.approx(0), None, None]


def test_no_face_at_all_and_no_landmarks_are_taken() -> None:
    nobody = pl.DataFrame(
        {"w": [None], "h": [None], "landmarks": [None]},
        schema={"w": pl.Float64, "h": pl.Float64, "landmarks": pl.List(pl.Float64)},
    )
    assert with_face_facts(nobody).row(0, named=True)["yaw"] is None
    bare = pl.DataFrame({"path": ["a.jpg"]})
    assert with_face_facts(bare).equals(bare)
