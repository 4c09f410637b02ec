"""Drawing with OpenCV in the face's own coordinates, and backgrounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Points = NDArray[Any] | Sequence[Sequence[float]]  # (N, 2)
Paint = Floats | Sequence[float]  # RGB, 0..255
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Pose:
    """From face coordinates (u right, v down; the head reaches from v = -1 to v = 1) to pixels.

    yaw and pitch are in radians; they move the middle of the face, which protrudes, but not the outline.
    """

    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    pitch: float

    def pixels(self, points: Points) -> Floats:
        """(N, 2) points in pixels."""
        u, v = np.asarray(points, dtype=np.float64).T
        depth = 0.6 * np.sqrt(np.clip(1 - (u / 0.85) ** 2 - v**2, 0, 1))
        u, v = u + depth * np.sin(self.yaw), v + depth * np.sin(self.pitch)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.stack([self.x + self.scale * (u * cos - v * sin), self.y + self.scale * (u * sin + v * cos)], axis=1)


@dataclass(frozen=True)
class Sketch:
    """Paints opaque, antialiased shapes, given in face coordinates, onto `picture` (H, W, 3), RGB.

    pair: draw the shape's mirror image as well.
    """

    picture: Pixels
    pose: Pose

    def fill(self, points: Points, colour: Paint, *, pair: bool = False) -> None:
        """A filled polygon."""
        paint = tuple(map(float, colour))
        for fixed in self._fixed(points, pair):
            cv2.fillPoly(self.picture, [fixed], paint, cv2.LINE_AA, SHIFT)

    def line(self, points: Points, width: float, colour: Paint, *, pair: bool = False) -> None:
        """A smooth line through the points; width is in face units."""
        paint, thickness = tuple(map(float, colour)), max(1, round(width * self.pose.scale))
        cv2.polylines(self.picture, self._fixed(curve(points), pair), False, paint, thickness, cv2.LINE_AA, SHIFT)

    def _fixed(self, points: Points, pair: bool) -> list[NDArray[np.int32]]:
        sides = [points, mirrored(points)] if pair else [points]
        return [np.round(self.pose.pixels(side) * (1 << SHIFT)).astype(np.int32) for side in sides]


def mirrored(points: Points) -> Floats:
    """The points (N, 2) on the other side of the face, in reverse order."""
    return np.asarray(points)[::-1] * (-1.0, 1.0)


def curve(points: Points, *, closed: bool = False) -> Floats:
    """A smooth curve (8 N, 2) through the points."""
    knots = np.asarray([*points, points[0]] if closed else points, dtype=np.float64)
    spline = CubicSpline(np.arange(len(knots)), knots, bc_type="periodic" if closed else "natural")
    return np.asarray(spline(np.linspace(0, len(knots) - 1, 8 * len(points))))


def ellipse(u: float, v: float, a: float, b: float) -> Floats:
    """(32, 2) points of an ellipse with half axes a and b."""
    turn = np.linspace(0, 2 * np.pi, 32)
    return np.stack([u + a * np.cos(turn), v + b * np.sin(turn)], axis=1)


def arch(width: float, low: float, high: float, power: float = 1.0) -> Floats:
    """(31, 2) points of half an ellipse, from right to left: from v = low at its feet to v = high in its middle.

    The lower the power, the more it bulges.
    """
    turn = np.linspace(0, np.pi, 31)
    cos = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** power
    return np.stack([width * cos, low + (high - low) * np.sin(turn)], axis=1)


def background(rng: np.random.Generator, size: int) -> Pixels:
    """A picture without a person (size, size, 3): a wall, stripes, shelves or blotches in random colours."""
    base = rng.uniform(50, 210) + rng.normal(0, 22, 3)
    grid = [(2, 2), (1, 12), (7, 1), (6, 6)][rng.integers(4)]
    colours = base + rng.normal(0, 9, (*grid, 3)) + rng.normal(0, 25, (*grid, 1))
    picture = cv2.resize(colours.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 5, 250).astype(np.uint8)
