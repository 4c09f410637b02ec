"""Drawn photographs of made-up people: shaded cartoon faces whose look follows age.

Nothing here is traced from a real picture. A face is found by the detectors that agebench uses, so that a synthetic
release can go the whole way.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agebench.demo.canvas import Canvas, Floats, Pose, curve, ellipse
from agebench.demo.features import draw_brows, draw_eyes, draw_glasses, draw_mouth, draw_nose
from agebench.demo.hair import draw_beard, draw_hair, hair_colour
from agebench.demo.people import Look, Person, look_at_age
from agebench.demo.scenery import background
from agebench.demo.shape import Shape, landmarks, shape_of
from agebench.demo.skin import draw_cheeks, draw_wrinkles, skin_colour

SUPERSAMPLE = 2


@dataclass(frozen=True)
class Photograph:
    """pixels: (H, W, 3) RGB. points: (68, 2), FG-NET's landmarks, in pixels. box: left, top, width, height."""

    pixels: NDArray[np.uint8]
    points: NDArray[np.float64]
    box: tuple[float, float, float, float]


def photograph(
    person: Person, age: float, rng: np.random.Generator, size: int = 200, tight: bool = False
) -> Photograph:
    """A picture of `size` pixels square. tight: the face fills it, as in aligned chips; else it has 40 % around it."""
    big = size * SUPERSAMPLE
    fill = 0.44 if tight else 0.315
    pose = Pose(
        x=big * (0.5 + float(rng.normal(0, 0.012))),
        y=big * ((0.47 if tight else 0.49) + float(rng.normal(0, 0.012))),
        scale=big * fill * float(rng.uniform(0.94, 1.05)),
        roll=float(np.clip(rng.normal(0, 0.07), -0.2, 0.2)),
        yaw=float(np.clip(rng.normal(0, 0.16), -0.34, 0.34)),
        pitch=float(np.clip(rng.normal(0, 0.07), -0.14, 0.14)),
    )
    look = look_at_age(person, age)
    shape = shape_of(person, look)
    canvas = Canvas(background(rng, big, big), pose)
    _body(canvas, person, look, shape, rng)
    _head(canvas, person, look, shape, rng)
    points = landmarks(shape, pose) / SUPERSAMPLE
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    pixels = _developed(canvas.picture, size, rng)
    return Photograph(pixels, points, (left, top, right - left, bottom - top))


def _body(canvas: Canvas, person: Person, look: Look, shape: Shape, rng: np.random.Generator) -> None:
    """Long hair behind, neck, shoulders, ears."""
    skin = skin_colour(person, look)
    hair = hair_colour(person, look)
    if person.long_hair > 0.72 and look.age > 3 and look.bald < 0.3:
        length = 0.75 + 0.9 * (person.long_hair - 0.72) / 0.28
        w = shape.width * 1.2
        back = [
            (-w, -0.35),
            (-w * 1.05, length * 0.6),
            (-w * 0.95, length),
            (w * 0.95, length),
            (w * 1.05, length * 0.6),
            (w, -0.35),
        ]
        canvas.fill(np.concatenate([curve(*back[:3]), curve(*back[3:])]), hair * 0.72, blur=0.02, flat=True)
    neck = shape.width * (0.56 + (0.10 if person.gender == "male" else 0.0)) * (1 - 0.2 * look.child)
    canvas.fill([(-neck, 0.5), (neck, 0.5), (neck * 1.1, 1.7), (-neck * 1.1, 1.7)], skin * 0.80, blur=0.012, flat=True)
    shirt = np.clip(rng.uniform(30, 225) + rng.normal(0, 38, 3), 8, 245)
    slope = 1.32 - 0.07 * look.child
    wide = 1.55 - 0.25 * look.child
    body = np.concatenate(
        [curve((-wide - 0.3, 2.6), (-wide, slope + 0.25), (-neck * 1.1, slope - 0.1)),
         curve((-neck, slope), (0.0, slope + 0.42), (neck, slope)),
         curve((neck * 1.1, slope - 0.1), (wide, slope + 0.25), (wide + 0.3, 2.6))]
    )  # fmt: skip
    canvas.fill(body, shirt, blur=0.008, flat=True)
    canvas.fill(ellipse(0, 1.06, neck, 0.16), skin * 0.55, 0.55, 0.06, flat=True)  # the chin's shadow
    for i in range(int(5 * look.sag)):  # lines of the neck
        v = 1.1 + 0.07 * i
        canvas.stroke(curve((-neck * 0.7, v), (0, v + 0.06), (neck * 0.7, v)), 0.02, skin * 0.5, 0.4, 0.01, flat=True)
    ear = 0.145 * (1 + 0.3 * look.sag - 0.05 * look.child)
    for sign in (-1, 1):
        u = sign * shape.width * 1.0
        lift = shape.eye_v + 0.12
        canvas.fill(ellipse(u, lift, ear * 0.62, ear * 1.35), skin * 0.88, blur=0.008, flat=True)
        canvas.fill(ellipse(u + sign * 0.01, lift, ear * 0.32, ear * 0.85), skin * 0.62, 0.6, 0.02, flat=True)


def _head(canvas: Canvas, person: Person, look: Look, shape: Shape, rng: np.random.Generator) -> None:
    skin = skin_colour(person, look)
    height, width = canvas.picture.shape[:2]
    u, v = canvas.pose.face_grid(height, width, 4)  # light changes slowly: a quarter of the pixels will do
    light_u, light_v = float(rng.normal(0, 0.38)), float(rng.uniform(-0.55, -0.1))
    across = np.clip(u / (shape.width * 1.03) - 0.35 * canvas.pose.yaw, -1, 1)
    bulge = np.sqrt(np.clip(1 - 0.82 * across**2 - 0.28 * np.clip(v, -1, 1) ** 2, 0.03, 1))
    shade = 0.60 + 0.44 * (bulge - 0.34 * light_u * across + 0.16 * light_v * v)
    noise = rng.normal(0, 1, (24, 24)).astype(np.float32)
    blotches = cv2.resize(noise, (u.shape[1], u.shape[0]), interpolation=cv2.INTER_CUBIC)
    shade = shade + blotches * np.float32(0.006 + 0.017 * look.lines)
    tinted = np.asarray(skin * shade[:, :, None], dtype=np.float32)
    tinted = np.asarray(cv2.resize(tinted, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    canvas.fill(shape.outline, tinted, blur=0.010, flat=True)
    face = canvas.mask(shape.outline, 0.012, flat=True)
    draw_cheeks(canvas, look, shape, skin, face, rng)
    draw_wrinkles(canvas, look, shape, skin, face, rng)
    if look.beard > 0:
        draw_beard(canvas, person, look, shape, skin, face, rng)
    draw_eyes(canvas, person, look, shape, skin, rng)
    draw_nose(canvas, look, shape, skin)
    draw_mouth(canvas, person, look, shape, skin, rng)
    draw_hair(canvas, person, look, shape, rng)
    draw_brows(canvas, person, look, shape)
    if look.age > 4 and person.glasses < 0.06 + 0.34 * float(np.clip((look.age - 35) / 35, 0, 1)) + 0.04 * (
        look.age > 8
    ):
        draw_glasses(canvas, person, look, shape)


def _developed(picture: Floats, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """From the painted canvas to the photograph: reduced, with a colour cast, uneven light, exposure and grain."""
    small = np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), dtype=np.float32)
    turn, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.16)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j].astype(np.float32)
    small *= (1 + np.float32(strength) * (x * np.float32(np.cos(turn)) + y * np.float32(np.sin(turn))))[:, :, None]
    small *= np.asarray(rng.normal(1, 0.03, 3), np.float32) * np.float32(rng.uniform(0.86, 1.1))
    small = (small - 128) * np.float32(rng.uniform(0.9, 1.12)) + 128
    small += rng.normal(0, rng.uniform(0.5, 3.0), small.shape).astype(np.float32)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)
