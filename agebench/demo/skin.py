"""The skin: its colour, and the marks that age leaves on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agebench.demo.canvas import Canvas, Floats, curve, ellipse
from agebench.demo.people import Look, Person
from agebench.demo.shape import Shape


def skin_colour(person: Person, look: Look) -> NDArray[np.float64]:
    """The skin's colour: rosier in children, duller and yellower with age."""
    skin = np.asarray(person.skin, dtype=np.float64)
    rosy = np.clip(skin * (1.03, 0.985, 0.98), 0, 255)
    dull = skin * (0.945, 0.93, 0.89)
    return (
        skin * (1 - look.child - look.lines * (1 - look.child))
        + rosy * look.child
        + dull * look.lines * (1 - look.child)
    )


def draw_cheeks(
    canvas: Canvas, look: Look, shape: Shape, skin: NDArray[np.float64], face: Floats, rng: np.random.Generator
) -> None:
    """Blush of the young, freckles of age, light on the forehead, hollows under old cheekbones."""
    low = (shape.eye_v + shape.mouth_v) / 2 + 0.06
    for sign in (-1, 1):
        u = sign * shape.width * 0.56
        canvas.fill(ellipse(u, low, 0.2, 0.15), skin * (1.06, 0.83, 0.80), 0.22 + 0.4 * look.child, 0.08, within=face)
        canvas.fill(ellipse(u * 0.95, low - 0.06, 0.13, 0.08), np.minimum(skin * 1.16, 255), 0.35, 0.06, within=face)
        hollow = curve((u * 1.25, low + 0.02), (u * 1.08, low + 0.2), (u * 0.9, low + 0.34))
        canvas.stroke(hollow, 0.13, skin * 0.62, 0.10 + 0.5 * (1 - look.fullness) * (1 - look.child), 0.07, within=face)
    canvas.fill(ellipse(0, -0.42, 0.32, 0.16), np.minimum(skin * 1.15, 255), 0.38, 0.12, within=face)
    canvas.fill(ellipse(0, 0.86, 0.13, 0.07), np.minimum(skin * 1.12, 255), 0.35, 0.05, within=face)
    for _ in range(int(rng.poisson(16 * max(0.0, look.lines - 0.45) * 2))):
        u, v = rng.uniform(-0.6, 0.6), rng.uniform(-0.75, 0.6)
        r = rng.uniform(0.012, 0.035)
        canvas.fill(ellipse(u, v, r, r * 0.8, 10), skin * (0.72, 0.62, 0.55), 0.45, 0.008, within=face)
    for _ in range(int(rng.poisson(8)) if 12 <= look.age <= 19 else 0):  # spots of adolescence
        u, v = rng.uniform(-0.55, 0.55), rng.uniform(-0.5, 0.85)
        canvas.fill(ellipse(u, v, 0.016, 0.016, 10), skin * (1.0, 0.66, 0.62), 0.55, 0.008, within=face)


def draw_wrinkles(
    canvas: Canvas, look: Look, shape: Shape, skin: NDArray[np.float64], face: Floats, rng: np.random.Generator
) -> None:
    """Lines of the forehead, at the eyes, from nose to mouth and below it; each is a groove with a lit lower lip."""
    lines, s = look.lines, shape
    groove, ridge = skin * 0.50, np.minimum(skin * 1.13, 255)

    def line(points: NDArray[np.float64], strength: float, width: float = 0.022) -> None:
        canvas.stroke(points + np.array([0, width * 0.9]), width, ridge, 0.45 * strength, 0.012, within=face)
        canvas.stroke(points, width, groove, strength, 0.010, within=face)

    top, bottom = s.hairline + 0.14, s.brow_v - 0.10
    many = int(np.ceil(5 * np.clip((lines - 0.12) / 0.75, 0, 1)))
    for i in range(many):
        v = bottom - (i + 0.4) * (bottom - max(top, -0.7)) / 5.5
        reach = s.width * (0.38 + 0.2 * lines) * (1 - 0.06 * i)
        wave = float(rng.normal(0, 0.012))
        points = curve(
            (-reach, v + 0.03),
            (-reach / 2, v - 0.03 + wave),
            (0, v + 0.02),
            (reach / 2, v - 0.03 - wave),
            (reach, v + 0.03),
        )
        line(points, 0.16 + 0.62 * lines)
    for sign in (-1, 1):
        u = sign * s.eye_u
        corner = (u + sign * s.eye_a * 1.12, s.eye_v)
        for k in range(int(np.ceil(4 * np.clip((lines - 0.16) / 0.6, 0, 1)))):
            spread = (-0.07, 0.0, 0.06, 0.11)[k]
            end = (corner[0] + sign * (0.07 + 0.09 * lines), corner[1] + spread * 1.7)
            line(curve((corner[0], corner[1] + spread * 0.4), end, n=6), 0.14 + 0.62 * lines, 0.016)
        bag = curve((u - s.eye_a, s.eye_v + 0.07), (u, s.eye_v + 0.16 + 0.05 * look.sag), (u + s.eye_a, s.eye_v + 0.06))
        line(bag, 0.06 + 0.60 * lines * (1 - look.child), 0.026)
        if look.sag > 0.15:
            canvas.fill(
                ellipse(u, s.eye_v + 0.125, s.eye_a * 0.9, 0.05), skin * (0.82, 0.70, 0.70), 0.5 * look.sag, 0.025
            )
        fold = curve(
            (sign * s.nose_a * 1.1, s.nose_v - 0.06), (sign * (s.mouth_a + 0.03), s.nose_v + 0.04),
            (sign * (s.mouth_a + 0.09), s.mouth_v + 0.02 + 0.08 * lines),
        )  # fmt: skip
        line(fold, 0.10 + 0.62 * lines * (1 - look.child), 0.028)
        if lines > 0.35:
            corner_fold = curve(
                (sign * s.mouth_a * 1.05, s.mouth_v + 0.03), (sign * s.mouth_a * 1.16, s.mouth_v + 0.22), n=6
            )
            line(corner_fold, 0.75 * (lines - 0.25), 0.024)
        if lines > 0.25:
            line(
                curve((sign * 0.045, s.brow_v - 0.02), (sign * 0.04, s.brow_v + 0.10), n=5), 0.6 * (lines - 0.15), 0.02
            )
        if look.sag > 0.1:  # jowls
            jowl = curve((sign * s.width * 0.66, 0.66), (sign * s.width * 0.52, 0.84), (sign * 0.22, 0.90))
            canvas.stroke(jowl, 0.05, skin * 0.55, 0.5 * look.sag, 0.03, within=face)
    for k in range(int(5 * np.clip((lines - 0.55) / 0.4, 0, 1))):  # above the lips
        u = (k - 2) * s.mouth_a * 0.35
        line(
            curve((u, s.mouth_v - s.upper_lip - 0.02), (u * 1.1, s.mouth_v - s.upper_lip - 0.09), n=4),
            0.5 * lines,
            0.012,
        )
