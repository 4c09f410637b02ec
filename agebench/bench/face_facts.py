"""What is kept with every prediction about its face, so that errors can be broken down without the manifest."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

FACE_FACTS = ("gender", "race", "face_size", "interocular_distance", "yaw", "face_sharpness")
FACE_COLUMNS = ("gender", "race", "w", "h", "landmarks", "face_sharpness")  # of records, from which they are made
NOSE_DEPTH = 0.6  # how far the tip of the nose stands before the eyes, in distances between the eyes, roughly


def with_face_facts(records: pl.DataFrame) -> pl.DataFrame:
    """The records with the columns of `FACE_FACTS`, null where nothing is known.

    face_size: geometric mean of the box's sides; interocular_distance: between the eyes' centres; both in pixels of the
    picture. yaw: degrees from the frontal view, estimated from five landmarks, so only roughly. Needs w, h and
    landmarks (ten numbers, as in a manifest); gender, race and face_sharpness are taken as they are.
    """
    if "landmarks" not in records.columns:
        return records
    points = np.full((len(records), 5, 2), np.nan)
    known = records["landmarks"].is_not_null().to_numpy()
    if known.any():
        points[known] = np.asarray(records["landmarks"].drop_nulls().to_list(), np.float64).reshape(-1, 5, 2)
    distance, yaw = pose(points)
    return records.with_columns(
        face_size=(pl.col("w") * pl.col("h")).sqrt(),
        interocular_distance=pl.Series(distance, dtype=pl.Float64).fill_nan(None),
        yaw=pl.Series(yaw, dtype=pl.Float64).fill_nan(None),
    )


def pose(landmarks: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance of the eyes in pixels, and yaw in degrees, above 0 where the nose points to the right of the picture.

    landmarks: (N, 5, 2), eyes first, then the nose. Returns two of (N,), NaN where the landmarks are, or the eyes
    coincide. The yaw follows from how far the nose's tip lies off the middle of the eyes along their line.
    """
    left, right, nose = landmarks[:, 0], landmarks[:, 1], landmarks[:, 2]
    between = right - left
    distance = np.hypot(between[:, 0], between[:, 1])
    with np.errstate(invalid="ignore", divide="ignore"):
        offset = ((nose - (left + right) / 2) * between).sum(axis=1) / distance**2
    return distance, np.degrees(np.arctan(offset / NOSE_DEPTH))
