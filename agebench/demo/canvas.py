"""Painting with soft, antialiased shapes on a float picture; the coordinates are the face's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Points = NDArray[Any] | Sequence[tuple[float, float]]
Paint = Sequence[float] | NDArray[Any]
SHIFT = 4  # fractional bits of OpenCV's drawing coordinates


@dataclass(frozen=True)
class Pose:
    """From face coordinates (u right, v down; the head reaches from v = -1 to v = 1) to pixels.

    yaw and pitch (radians) move what stands out of the face more than what lies at its sides.
    """

    x: float
    y: float
    scale: float
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0

    def pixels(self, points: Points, *, flat: bool = False) -> NDArray[np.float64]:
        """(N, 2) points in pixels. flat: the outline and the hair, which turn with the roll only."""
        uv = np.asarray(points, dtype=np.float64).reshape(-1, 2)
        u, v = uv[:, 0], uv[:, 1]
        if not flat:
            out = 0.6 * np.sqrt(np.clip(1 - (u / 0.95) ** 2 - (v / 1.15) ** 2, 0, 1))
            u = u * np.cos(self.yaw) + out * np.sin(self.yaw)
            v = v * np.cos(self.pitch) + out * np.sin(self.pitch)
        cos, sin = np.cos(self.roll), np.sin(self.roll)
        return np.stack([self.x + self.scale * (u * cos - v * sin), self.y + self.scale * (u * sin + v * cos)], axis=1)

    def face_grid(self, height: int, width: int, step: int) -> tuple[Floats, Floats]:
        """u and v at every `step`-th pixel of a picture (height, width), without yaw and pitch."""
        middle = (step - 1) / 2
        x = (np.arange(0, width, step, dtype=np.float32) + middle - self.x)[None, :] / self.scale
        y = (np.arange(0, height, step, dtype=np.float32) + middle - self.y)[:, None] / self.scale
        cos, sin = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        return x * cos + y * sin, y * cos - x * sin


class Canvas:
    """A float32 RGB picture (H, W, 3), 0..255, and the pose in which the shapes are meant."""

    def __init__(self, picture: Floats, pose: Pose) -> None:
        self.picture = picture
        self.pose = pose

    def fill(
        self, points: Points, colour: Paint, opacity: float = 1.0, blur: float = 0.0, *,
        flat: bool = False, within: Floats | None = None,
    ) -> None:  # fmt: skip
        """A filled polygon; blur is in face units. colour: RGB, or a picture of the canvas's size."""
        self._blend(self.pose.pixels(points, flat=flat), None, colour, opacity, blur, within)

    def stroke(
        self, points: Points, width: float, colour: Paint, opacity: float = 1.0, blur: float = 0.0, *,
        flat: bool = False, within: Floats | None = None,
    ) -> None:  # fmt: skip
        """A line through the points; width and blur are in face units."""
        self._blend(self.pose.pixels(points, flat=flat), width, colour, opacity, blur, within)

    def mask(self, points: Points, blur: float = 0.0, *, flat: bool = False) -> Floats:
        """How much each pixel (H, W) lies in the polygon, 0..1."""
        out = np.zeros(self.picture.shape[:2], dtype=np.float32)
        found = self._mask(self.pose.pixels(points, flat=flat), None, blur)
        if found is not None:
            rows, columns, part = found
            out[rows, columns] = part
        return out

    def _mask(
        self, pixels: NDArray[np.float64], width: float | None, blur: float
    ) -> tuple[slice, slice, Floats] | None:
        height, breadth = self.picture.shape[:2]
        sigma = blur * self.pose.scale
        thick = 0 if width is None else max(1, round(width * self.pose.scale))
        margin = int(3 * sigma + thick + 2)
        low = np.floor(pixels.min(axis=0)).astype(int) - margin
        high = np.ceil(pixels.max(axis=0)).astype(int) + margin
        x0, y0 = np.clip(low, 0, (breadth, height))
        x1, y1 = np.clip(high, 0, (breadth, height))
        if x1 <= x0 or y1 <= y0:
            return None
        mask = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
        shifted = np.round((pixels - (x0, y0)) * (1 << SHIFT)).astype(np.int32)
        if width is None:
            cv2.fillPoly(mask, [shifted], 255, cv2.LINE_AA, SHIFT)
        else:
            cv2.polylines(mask, [shifted], False, 255, thick, cv2.LINE_AA, SHIFT)
        soft = mask.astype(np.float32) / np.float32(255)
        if sigma > 0.3:
            soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), sigma), dtype=np.float32)
        return slice(y0, y1), slice(x0, x1), soft

    def _blend(
        self, pixels: NDArray[np.float64], width: float | None, colour: Paint, opacity: float,
        blur: float, within: Floats | None,
    ) -> None:  # fmt: skip
        if opacity <= 0.004:
            return
        found = self._mask(pixels, width, blur)
        if found is None:
            return
        rows, columns, mask = found
        if within is not None:
            mask = mask * within[rows, columns]
        paint = np.asarray(colour, dtype=np.float32)
        if paint.ndim == 3:
            paint = paint[rows, columns]
        region = self.picture[rows, columns]
        region += (paint - region) * (mask * np.float32(opacity))[:, :, None]


def ellipse(u: float, v: float, a: float, b: float, n: int = 28, turn: float = 0.0) -> NDArray[np.float64]:
    """(n, 2) points of an ellipse with half axes a and b, turned by `turn` radians."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    x, y = a * np.cos(t), b * np.sin(t)
    return np.stack([u + x * np.cos(turn) - y * np.sin(turn), v + x * np.sin(turn) + y * np.cos(turn)], axis=1)


def curve(*points: tuple[float, float], n: int = 16) -> NDArray[np.float64]:
    """(n, 2) points of the Bézier curve with these control points."""
    control = np.asarray(points, dtype=np.float64)
    t = np.linspace(0, 1, n)[:, None, None]
    level = np.repeat(control[None], n, axis=0)
    while level.shape[1] > 1:
        level = level[:, :-1] * (1 - t) + level[:, 1:] * t
    return np.asarray(level[:, 0])
