"""Where the parts of a face lie, by person and age."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agebench.demo.canvas import Pose
from agebench.demo.people import Look, Person


@dataclass(frozen=True)
class Shape:
    """Where the parts of a face lie, in face coordinates."""

    width: float
    eye_v: float
    eye_u: float
    eye_a: float
    eye_b: float
    brow_v: float
    nose_v: float
    nose_a: float
    mouth_v: float
    mouth_a: float
    upper_lip: float
    lower_lip: float
    hairline: float
    outline: NDArray[np.float64]  # (N, 2), from the top clockwise


def shape_of(person: Person, look: Look) -> Shape:
    child, sag = look.child, look.sag
    man = person.gender == "male"
    width = person.width * (0.745 + 0.10 * child)
    eye_v = 0.00 + 0.15 * child
    nose_v = eye_v + (0.375 - 0.13 * child + 0.03 * sag) * person.nose_length
    mouth_v = nose_v + 0.215 - 0.06 * child + 0.015 * sag
    lips = person.lips * (0.72 + 0.35 * look.fullness)
    eye_a = 0.138 * person.eye_size * (1 + 0.22 * child)
    return Shape(
        width=width,
        eye_v=eye_v,
        eye_u=width * 0.425 * person.eye_gap,
        eye_a=eye_a,
        eye_b=eye_a * (0.47 + 0.20 * child - 0.14 * sag),
        brow_v=eye_v - 0.185 - 0.02 * child + person.brow_height + 0.02 * sag * (1 if man else 0.3),
        nose_v=nose_v,
        nose_a=0.135 * person.nose_width * (1 - 0.2 * child + 0.13 * sag),
        mouth_v=mouth_v,
        mouth_a=0.265 * person.mouth_width * (1 - 0.28 * child),
        upper_lip=0.052 * lips * (1 - 0.1 * child),
        lower_lip=0.072 * lips * (1 - 0.05 * child),
        hairline=-0.60 - 0.10 * child - 0.28 * look.bald,
        outline=_outline(person, look, width),
    )


def _outline(person: Person, look: Look, width: float) -> NDArray[np.float64]:
    man = person.gender == "male"
    grown = 1 - look.child
    v = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 41))
    middle = 0.02 + 0.16 * look.child
    up = np.clip((middle - v) / (1 + middle), 0, 1)
    down = np.clip((v - middle) / (1 - middle), 0, 1)
    square = 2.2 + (0.75 if man else 0.15) * grown * person.jaw + 0.2 * look.child
    half = np.where(v < middle, (1 - up**2.35) ** (1 / 2.2), (1 - down**square) ** (1 / (1.75 + 0.25 * person.jaw)))
    half = half * width
    half *= 1 - grown * (0.06 + 0.07 * (1 - look.fullness)) * np.exp(-(((down - 0.5) / 0.22) ** 2)) * (v > middle)
    half *= 1 + (0.10 * look.sag + 0.05 * look.child) * np.exp(-(((down - 0.74) / 0.15) ** 2)) * (v > middle)
    right = np.stack([half, v], axis=1)
    left = np.stack([-half[::-1], v[::-1]], axis=1)
    return np.concatenate([right, left])


def _half_width(shape: Shape, v: float) -> float:
    right = shape.outline[: len(shape.outline) // 2]
    return float(np.interp(v, right[:, 1], right[:, 0]))


def landmarks(shape: Shape, pose: Pose) -> NDArray[np.float64]:
    """FG-NET's 68 points: 0–14 outline, 15–26 brows, 27–36 eyes (31 and 36 the pupils), 37–47 nose, 48–66 mouth, 67."""
    s = shape
    levels = s.eye_v + (0.985 - s.eye_v) * np.sin(np.linspace(0, np.pi / 2, 8))
    side = [(-_half_width(s, v), v) for v in levels[:-1]]
    outline = [*side, (0.0, 1.0), *[(-u, v) for u, v in reversed(side)]]

    def brow(sign: int) -> list[tuple[float, float]]:
        outer, inner = s.eye_u + 1.25 * s.eye_a, s.eye_u - 0.95 * s.eye_a
        top = [(outer, s.brow_v + 0.05), (s.eye_u, s.brow_v - 0.03), (inner, s.brow_v)]
        return [(sign * u, v) for u, v in [*top, (inner, s.brow_v + 0.04), (s.eye_u, s.brow_v + 0.02), top[0]]]

    def eye(sign: int) -> list[tuple[float, float]]:
        around = [(s.eye_a, 0.0), (0.0, -s.eye_b), (-s.eye_a, 0.0), (0.0, s.eye_b), (0.0, 0.0)]
        return [(sign * (s.eye_u + du), s.eye_v + dv) for du, dv in around]

    bridge = [(0.35 * s.nose_a, s.eye_v), (0.5 * s.nose_a, s.nose_v - 0.15), (s.nose_a, s.nose_v - 0.05)]
    left_side = [(-u, v) for u, v in [*bridge, (0.7 * s.nose_a, s.nose_v + 0.02)]]
    nose = [*left_side, (0.0, s.nose_v + 0.03), *[(-u, v) for u, v in reversed(left_side)]]
    nose += [(-0.5 * s.nose_a, s.nose_v), (0.5 * s.nose_a, s.nose_v)]
    angles = np.linspace(np.pi, 3 * np.pi, 12, endpoint=False)
    mouth = [
        (s.mouth_a * np.cos(t), s.mouth_v + (s.upper_lip if np.sin(t) < 0 else s.lower_lip) * np.sin(t)) for t in angles
    ]
    mouth += [(u, s.mouth_v) for u in s.mouth_a * np.linspace(-0.7, 0.7, 7)]
    front = brow(-1) + brow(1) + eye(-1) + eye(1) + nose + mouth + [(0.0, s.nose_v - 0.03)]
    return np.concatenate([pose.pixels(outline, flat=True), pose.pixels(front)])
