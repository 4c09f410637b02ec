"""Eyes, brows, nose, mouth and glasses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agebench.demo.canvas import Canvas, curve, ellipse
from agebench.demo.hair import hair_colour
from agebench.demo.people import Colour, Look, Person
from agebench.demo.shape import Shape

DARK: Colour = (38, 24, 22)


def draw_eyes(
    canvas: Canvas, person: Person, look: Look, shape: Shape, skin: NDArray[np.float64], rng: np.random.Generator
) -> None:
    s = shape
    gaze = float(rng.normal(0, 0.12)) * s.eye_a
    droop = 0.045 * look.sag
    for sign in (-1, 1):
        u, v = sign * s.eye_u, s.eye_v
        canvas.fill(
            ellipse(u, v - 0.05, s.eye_a * 1.3, s.eye_b * 1.7 + 0.035),
            skin * (0.72, 0.64, 0.62),
            0.42 + 0.15 * look.lines,
            0.045,
        )
        outer, inner = (u + sign * s.eye_a, v - 0.012 + droop), (u - sign * s.eye_a, v + 0.02)
        upper = curve(
            outer,
            (u + sign * s.eye_a * 0.45, v - s.eye_b * 1.75 + droop * 0.8),
            (u - sign * s.eye_a * 0.5, v - s.eye_b * 1.65),
            inner,
        )
        lower = curve(
            inner, (u - sign * s.eye_a * 0.3, v + s.eye_b * 1.2), (u + sign * s.eye_a * 0.5, v + s.eye_b * 1.25), outer
        )
        almond = np.concatenate([upper, lower])
        white = np.array([246.0, 242, 238]) - look.lines * np.array([12.0, 22, 34])
        canvas.fill(almond, white, blur=0.004)
        open_eye = canvas.mask(almond, 0.004)
        iris = s.eye_a * (0.50 + 0.06 * look.child)
        canvas.fill(ellipse(u + gaze, v - 0.008, iris, iris), np.asarray(person.eyes) * 0.55, 1, 0.004, within=open_eye)
        canvas.fill(
            ellipse(u + gaze, v - 0.002, iris * 0.82, iris * 0.82),
            np.asarray(person.eyes) * 1.15,
            1,
            0.008,
            within=open_eye,
        )
        canvas.fill(ellipse(u + gaze, v - 0.008, iris * 0.45, iris * 0.45), (12, 9, 9), 1, 0.004, within=open_eye)
        canvas.stroke(upper + np.array([0, 0.016]), 0.035, (90, 70, 66), 0.40, 0.014, within=open_eye)
        canvas.fill(ellipse(u + gaze - 0.03, v - 0.04, 0.022, 0.022, 10), (255, 255, 255), 0.95, 0.003)
        lash = 0.030 + (0.012 if person.gender == "female" and look.age > 14 else 0)
        canvas.stroke(upper, lash, DARK, 0.88 - 0.25 * look.lines, 0.004)
        canvas.stroke(lower, 0.012, skin * 0.5, 0.55, 0.004)
        canvas.stroke(upper - (0, 0.045 + 0.015 * look.child - 0.02 * look.sag), 0.014, skin * 0.5, 0.55, 0.006)
        if look.sag > 0.2:  # the lid hangs over the outer corner
            lid = np.concatenate([upper[:9], upper[:9][::-1] - (0, 0.05)])
            canvas.fill(lid, skin * 0.84, 0.75 * look.sag, 0.012)


def draw_brows(canvas: Canvas, person: Person, look: Look, shape: Shape) -> None:
    s = shape
    colour = hair_colour(person, look) * (0.62 + 0.25 * look.grey)
    thick = 0.052 * person.brow * (1 - 0.40 * look.child) * (1 - 0.15 * look.lines)
    for sign in (-1, 1):
        outer = (sign * (s.eye_u + 1.3 * s.eye_a), s.brow_v + 0.055)
        peak = (sign * (s.eye_u + 0.4 * s.eye_a), s.brow_v - 0.055)
        inner = (sign * (s.eye_u - 1.0 * s.eye_a), s.brow_v + 0.015)
        top = curve(outer, peak, inner)
        taper = np.linspace(0.25, 1.0, len(top))[:, None] * (0, thick)
        canvas.fill(np.concatenate([top - taper / 2, (top + taper / 2)[::-1]]), colour, 0.85 - 0.45 * look.child, 0.012)


def draw_nose(canvas: Canvas, look: Look, shape: Shape, skin: NDArray[np.float64]) -> None:
    s = shape
    side = 1 if canvas.pose.yaw >= 0 else -1
    lit = curve((side * -0.02, s.nose_v), (side * -0.02, s.nose_v - 0.15), (side * -0.01, s.eye_v - 0.05))
    dark = curve((side * -0.05, s.eye_v - 0.05), (side * -0.07, s.nose_v - 0.12), (side * -s.nose_a, s.nose_v))
    canvas.fill(np.concatenate([dark, lit]), skin * 0.66, 0.42 * (1 - 0.5 * look.child), 0.035)
    canvas.stroke(
        curve((side * 0.015, s.eye_v), (side * 0.015, s.nose_v - 0.08), n=6),
        0.055,
        np.minimum(skin * 1.16, 255),
        0.5,
        0.03,
    )
    canvas.fill(
        ellipse(0, s.nose_v - 0.035, s.nose_a * 0.62, 0.075), np.minimum(skin * (1.08, 1.0, 0.97), 255), 0.55, 0.03
    )
    canvas.fill(ellipse(side * 0.02, s.nose_v - 0.055, 0.035, 0.028), np.minimum(skin * 1.25, 255), 0.55, 0.016)
    under = curve(
        (-s.nose_a, s.nose_v + 0.005),
        (-s.nose_a * 0.4, s.nose_v + 0.06),
        (s.nose_a * 0.4, s.nose_v + 0.06),
        (s.nose_a, s.nose_v + 0.005),
    )
    canvas.stroke(under, 0.03, skin * 0.52, 0.6, 0.016)
    for sign in (-1, 1):
        wing = curve(
            (sign * s.nose_a * 0.9, s.nose_v - 0.09),
            (sign * s.nose_a * 1.22, s.nose_v - 0.03),
            (sign * s.nose_a * 0.9, s.nose_v + 0.025),
        )
        canvas.stroke(wing, 0.022, skin * 0.52, 0.65, 0.010)
        canvas.fill(ellipse(sign * s.nose_a * 0.48, s.nose_v + 0.014, s.nose_a * 0.24, 0.022), (46, 26, 24), 0.8, 0.008)


def draw_mouth(
    canvas: Canvas, person: Person, look: Look, shape: Shape, skin: NDArray[np.float64], rng: np.random.Generator
) -> None:
    s = shape
    made_up = person.gender == "female" and 16 < look.age < 80 and rng.random() < 0.45
    lips = skin * ((0.92, 0.46, 0.46) if made_up else (0.92, 0.66, 0.64))
    lips = lips * (1 - 0.2 * look.lines) + skin * 0.2 * look.lines
    smile = float(rng.uniform(-0.015, 0.065))
    a, v = s.mouth_a, s.mouth_v
    opened = float(rng.uniform(0.02, 0.06)) if smile > 0.035 and rng.random() < 0.6 else 0.0
    left, right = (-a, v - smile), (a, v - smile)
    low = v + smile * 0.4
    top = np.concatenate(
        [
            curve(left, (-a * 0.45, v - s.upper_lip * 2), (0, v - s.upper_lip * 0.7)),
            curve((0, v - s.upper_lip * 0.7), (a * 0.45, v - s.upper_lip * 2), right),
        ]
    )
    line = curve(right, (a * 0.5, low + 0.01), (-a * 0.5, low + 0.01), left)
    lower_edge = curve(
        right,
        (a * 0.55, low + s.lower_lip * 1.5 + opened * 1.6),
        (-a * 0.55, low + s.lower_lip * 1.5 + opened * 1.6),
        left,
    )
    canvas.fill(np.concatenate([top, lower_edge]), lips, 0.92, 0.010)
    canvas.fill(np.concatenate([top, line]), lips * 0.80, 0.75, 0.010)
    if opened:
        gap = curve(left, (-a * 0.5, low + opened * 1.5), (a * 0.5, low + opened * 1.5), right)
        hole = np.concatenate([line, gap])
        canvas.fill(hole, (62, 22, 24), 1, 0.006)
        if look.age > 1:
            teeth = np.array([240.0, 236, 226]) - look.lines * np.array([26.0, 34, 54])
            canvas.fill(
                ellipse(0, low + opened * 0.35, a * 0.66, opened * 0.55),
                teeth,
                0.95,
                0.008,
                within=canvas.mask(hole, 0.006),
            )
    else:
        canvas.stroke(line, 0.022, (70, 34, 34), 0.75, 0.006)
    canvas.fill(
        ellipse(0, low + s.lower_lip * 0.6 + opened, a * 0.32, s.lower_lip * 0.26),
        np.minimum(lips * 1.3, 255),
        0.55,
        0.018,
    )
    canvas.stroke(
        curve(
            (-a * 0.5, v + s.lower_lip + 0.075 + opened),
            (0, v + s.lower_lip + 0.10 + opened),
            (a * 0.5, v + s.lower_lip + 0.075 + opened),
        ),
        0.045,
        skin * 0.62,
        0.42,
        0.025,
    )
    for sign in (-1, 1):
        canvas.fill(ellipse(sign * a * 1.02, v - smile, 0.022, 0.022, 10), skin * 0.5, 0.6, 0.012)


def draw_glasses(canvas: Canvas, person: Person, look: Look, shape: Shape) -> None:
    s = shape
    frame = (34, 30, 32) if person.glasses * 97 % 1 < 0.6 else (120, 92, 60)
    a, b = s.eye_a * 1.55, s.eye_a * 1.18
    for sign in (-1, 1):
        rim = ellipse(sign * s.eye_u, s.eye_v + 0.03, a, b, 32)
        canvas.fill(rim, (255, 255, 255), 0.05)
        canvas.stroke(np.concatenate([rim, rim[:1]]), 0.030, frame, 0.92, 0.003)
        canvas.stroke(
            [(sign * (s.eye_u + a), s.eye_v), (sign * s.width * 0.99, s.eye_v - 0.02)], 0.028, frame, 0.9, 0.003
        )
    canvas.stroke(
        curve((-s.eye_u + a, s.eye_v + 0.01), (0, s.eye_v - 0.04), (s.eye_u - a, s.eye_v + 0.01)),
        0.028,
        frame,
        0.92,
        0.003,
    )
