"""Backgrounds of the drawn photographs."""

from __future__ import annotations

import cv2
import numpy as np

from agebench.demo.canvas import Floats


def background(rng: np.random.Generator, height: int, width: int) -> Floats:
    """A picture without a face, (height, width, 3) float32: walls, skies, stripes, blurred lights."""
    base = rng.uniform(55, 215) + rng.normal(0, 22, 3)
    other = np.clip(base + rng.normal(0, 18, 3) + rng.normal(0, 35), 10, 245)
    turn = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:1:8j, 0:1:8j]
    ramp = np.clip(0.5 + (x - 0.5) * np.cos(turn) + (y - 0.5) * np.sin(turn), 0, 1)[:, :, None]
    small = np.asarray(base * (1 - ramp) + other * ramp, dtype=np.float32)
    picture = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    kind = int(rng.integers(4))
    if kind == 1:  # lights or leaves out of focus
        for _ in range(int(rng.integers(6, 16))):
            centre = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
            colour = tuple(float(c) for c in np.clip(base + rng.normal(0, 25, 3) + rng.normal(0, 40), 0, 255))
            cv2.circle(picture, centre, int(rng.uniform(0.03, 0.13) * width), colour, -1, cv2.LINE_AA)
    elif kind == 2:  # shelves, panels, curtains
        edge = 0
        while edge < width:
            step = int(rng.uniform(0.04, 0.16) * width) + 2
            colour = tuple(float(c) for c in np.clip(other + rng.normal(0, 10, 3) + rng.normal(0, 22), 0, 255))
            cv2.rectangle(picture, (edge, 0), (edge + step, height), colour, -1)
            edge += step
    elif kind == 3:  # a horizon
        level = int(rng.uniform(0.4, 0.75) * height)
        picture[level:] = (
            picture[level:] * 0.6 + np.asarray(rng.uniform(20, 110) + rng.normal(0, 15, 3), np.float32) * 0.4
        )
    if kind:
        quarter = cv2.resize(picture, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
        quarter = cv2.GaussianBlur(quarter, (0, 0), max(width, height) / 4 * 0.018 + 0.3)
        picture = np.asarray(cv2.resize(quarter, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    return picture
