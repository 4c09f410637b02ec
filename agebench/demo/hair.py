"""Hair of the head and beards: they turn grey, and the hairline goes back."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from agebench.demo.canvas import Canvas, Floats, curve
from agebench.demo.people import GREY, Look, Person
from agebench.demo.shape import Shape


def hair_colour(person: Person, look: Look) -> NDArray[np.float64]:
    light = np.asarray(person.hair, dtype=np.float64) * (1 + 0.25 * look.child)
    return np.clip(light * (1 - look.grey) + np.asarray(GREY) * look.grey, 0, 250)


def _streaks(canvas: Canvas, rng: np.random.Generator, colour: NDArray[np.float64], look: Look) -> Floats:
    """A picture (H, W, 3) of strands in this colour, with some greyer ones while the hair turns."""
    height, width = canvas.picture.shape[:2]
    strands = rng.normal(0, 0.8, (8, 110, 1))
    salt = np.clip(strands, 0, 1) * 2.2 * look.grey * (1 - look.grey)
    body = colour * (1 + 0.14 * strands)
    small = np.asarray(body + (np.asarray(GREY) - body) * salt, dtype=np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def draw_hair(canvas: Canvas, person: Person, look: Look, shape: Shape, rng: np.random.Generator) -> None:
    """The hair on the head: its line goes back, first at the temples, until only the sides are left."""
    s, w = shape, shape.width
    streaks = _streaks(canvas, rng, hair_colour(person, look), look)
    thick = float(np.interp(look.age, [0, 1, 4, 50, 90], [0.02, 0.03, 0.09, 0.09, 0.05])) * (1 - 0.5 * look.bald)
    opacity = float(np.interp(look.age, [0, 0.9, 2.5], [0.30, 0.55, 1.0]))
    side_v = s.eye_v + (0.10 if person.gender == "male" else 0.22) - 0.1 * look.child
    temple = 0.60 - 0.16 * look.bald
    outer_w = w * 1.035 + thick * 0.75
    top = -1.0 - thick
    outer = curve(
        (outer_w, side_v),
        (outer_w * 1.08, -0.62),
        (outer_w * 0.80, top * 1.08),
        (0, top * 1.03),
        (-outer_w * 0.80, top * 1.08),
        (-outer_w * 1.08, -0.62),
        (-outer_w, side_v),
        n=40,
    )
    outer[:, 1] = np.where(outer[:, 1] < 0, outer[:, 1] * (abs(top) / max(abs(outer[:, 1].min()), 1e-6)), outer[:, 1])
    inner_w = w * 0.955
    if look.bald > 0.72:  # a wreath
        for sign in (-1, 1):
            wreath = np.concatenate(
                [curve((sign * outer_w, side_v), (sign * outer_w * 1.06, -0.3), (sign * outer_w * 0.93, -0.56)),
                 curve((sign * inner_w * 0.86, -0.50), (sign * inner_w * 0.97, -0.2), (sign * inner_w * 0.99, side_v))]
            )  # fmt: skip
            canvas.fill(wreath, streaks, 0.92, 0.018, flat=True)
        return
    line_v = s.hairline
    corner_v = line_v + 0.10 - 0.34 * look.bald
    fringe = person.fringe > 0.66 and look.bald < 0.1 and 2 < look.age < 70
    if fringe:
        line_v = corner_v = s.brow_v - 0.10
    part = person.parting * temple * 0.8
    left = curve((-inner_w, side_v), (-inner_w * 1.0, line_v * 0.55), (-inner_w * temple * 1.35, corner_v), n=12)
    across = curve(
        (-w * temple, corner_v - 0.04),
        (-w * temple * 0.5, line_v - 0.02),
        (part, line_v - (0.02 if fringe else 0.10)),
        (w * temple * 0.5, line_v - 0.02),
        (w * temple, corner_v - 0.04),
        n=20,
    )
    right = curve((inner_w * temple * 1.35, corner_v), (inner_w * 1.0, line_v * 0.55), (inner_w, side_v), n=12)
    across = across + np.stack([np.zeros(20), rng.normal(0, 0.008, 20)], axis=1)
    cap = np.concatenate([outer, left, across, right])
    canvas.fill(
        np.concatenate([left, across, right]) + np.array([0, 0.035]), (30, 18, 14), 0.16 * opacity, 0.04, flat=True
    )
    canvas.fill(cap, streaks, opacity, 0.014, flat=True)
    shine = curve((-w * 0.6, -0.78), (0, -1.02), (w * 0.6, -0.78))
    canvas.stroke(
        shine,
        0.09,
        np.minimum(hair_colour(person, look) * 1.5 + 14, 255),
        0.30 * opacity * (1 - look.bald),
        0.05,
        flat=True,
        within=canvas.mask(cap, 0.02, flat=True),
    )
    if person.long_hair > 0.72 and look.age > 3:  # strands before the shoulders
        length = 0.55 + 0.8 * (person.long_hair - 0.72) / 0.28
        for sign in (-1, 1):
            lock = np.concatenate(
                [curve((sign * outer_w, -0.4), (sign * outer_w * 1.12, length * 0.5), (sign * outer_w * 1.0, length)),
                 curve((sign * w * 0.80, length), (sign * w * 1.0, length * 0.5), (sign * inner_w, -0.25))]
            )  # fmt: skip
            canvas.fill(lock, streaks, 0.97, 0.016, flat=True)


def draw_beard(
    canvas: Canvas, person: Person, look: Look, shape: Shape, skin: NDArray[np.float64], face: Floats,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """The shadow of a shaven beard, or a beard, or a moustache; grey as the hair, a little later."""
    s = shape
    colour = hair_colour(person, look) * 0.85
    w = s.width
    cheek, lip = (w * 0.98, s.eye_v + 0.32), (s.mouth_a * 0.9, s.mouth_v - 0.13)
    left = curve((-cheek[0], cheek[1]), (-w * 0.75, s.mouth_v - 0.1), (-lip[0], lip[1]))
    right = curve((0, s.mouth_v - 0.17), lip, (w * 0.75, s.mouth_v - 0.1), cheek)
    chin = curve((w, 0.75), (w * 0.5, 1.08), (0, 1.1), (-w * 0.5, 1.08), (-w, 0.75))
    area = np.concatenate([left, right, chin])
    canvas.fill(area, skin * 0.6 + colour * 0.15, 0.24 * look.beard, 0.05, within=face)
    full = person.beard > 0.80 and look.age > 22
    if full or (person.beard > 0.70 and look.age > 24):
        streaks = _streaks(canvas, rng, colour, look)
        moustache = np.concatenate(
            [curve((-s.mouth_a * 1.15, s.mouth_v + 0.02), (-s.mouth_a * 0.6, s.mouth_v - 0.17), (0, s.mouth_v - 0.10)),
             curve((0, s.mouth_v - 0.10), (s.mouth_a * 0.6, s.mouth_v - 0.17), (s.mouth_a * 1.15, s.mouth_v + 0.02)),
             curve((s.mouth_a * 0.6, s.mouth_v - 0.04), (0, s.mouth_v - 0.03), (-s.mouth_a * 0.6, s.mouth_v - 0.04))]
        )  # fmt: skip
        if full:
            canvas.fill(area, streaks, 0.88, 0.03, within=face)
        else:
            canvas.fill(moustache, streaks, 0.9, 0.014)
