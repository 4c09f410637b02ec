"""Drawings of made-up people: simple cartoon faces whose appearance depends on age.

Nothing is traced from a real picture. The detectors that agebench uses find these faces, so a synthetic release can go
through every stage.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from agebench.demo.people import Look, Person, look_at_age
from agebench.demo.sketch import Floats, Pixels, Pose, Sketch, arch, background, curve, ellipse, mirrored

CANVAS = 480  # pixels; every photograph is drawn at this size, then reduced
GREY, WHITE, DARK = np.array([[206.0, 204, 200], [246, 242, 238], [38, 24, 22]])
ROSY, DULL = np.array([[1.03, 0.98, 0.97], [0.95, 0.93, 0.89]])  # the skin of children and of old people


@dataclass(frozen=True)
class Photograph:
    """pixels: (H, W, 3) RGB. points: (68, 2), FG-NET's landmarks, in pixels."""

    pixels: Pixels
    points: Floats

    @property
    def box(self) -> Floats:
        """(4,) left, top, width, height of the landmarks."""
        return np.concatenate([self.points.min(axis=0), np.ptp(self.points, axis=0)])


@dataclass(frozen=True)
class Face:
    """What is drawn: landmarks (68, 2) in face coordinates, and colours."""

    person: Person
    look: Look
    points: Floats
    skin: Floats
    hair: Floats


def photograph(person: Person, age: float, rng: Generator, size: int = 200, tight: bool = False) -> Photograph:
    """A square picture of `size` pixels. tight: the face fills it, as in aligned chips; else with a margin of 40 %."""
    x, y = rng.normal((0.5, 0.47 if tight else 0.49), 0.012) * CANVAS
    scale = (0.44 if tight else 0.315) * rng.uniform(0.94, 1.05) * CANVAS
    pose = Pose(x, y, scale, *rng.normal(0, 1, 3).clip(-2, 2) * (0.07, 0.15, 0.07))
    look = look_at_age(person, age)
    skin = np.clip(person.skin * mix(np.ones(3), ROSY, look.child) * mix(np.ones(3), DULL, look.lines), 0, 255)
    hair = mix(np.asarray(person.hair) * (1 + 0.25 * look.child), GREY, look.grey)
    face = Face(person, look, landmarks(person, look, smile=rng.uniform(0.01, 0.09)), skin, hair)
    picture = background(rng, CANVAS)
    _draw_body(Sketch(picture, pose), face, rng)
    _draw_head(picture, pose, face, rng)
    _draw_hair_and_glasses(Sketch(picture, pose), face)
    return Photograph(_developed(picture, size, rng), pose.pixels(face.points) * size / CANVAS)


def mix(first: Floats, second: Floats, share: float) -> Floats:
    """A mixture of two colours."""
    return first + (second - first) * share


def landmarks(person: Person, look: Look, smile: float) -> Floats:
    """FG-NET's 68 points in face coordinates.

    0-14 outline, 15-26 brows, 27-36 eyes (31 and 36 the pupils), 37-47 nose, 48-66 mouth, 67 the tip of the nose;
    pairs begin on the picture's left.
    """
    child, sag = look.child, look.sag
    width = person.width * (0.745 + 0.10 * child)
    eye_u, eye_v = width * 0.425 * person.eye_gap, 0.13 * child
    eye_a = 0.145 * person.eye_size * (1 + 0.25 * child)
    eye_b = eye_a * (0.55 + 0.22 * child - 0.14 * sag)
    brow_v, brow = eye_v - 0.2 - 0.02 * child, person.brow * (0.065 if person.man else 0.04) * (1 - 0.4 * child)
    nose_a, nose_v = 0.135 * person.nose * (1 - 0.2 * child + 0.15 * sag), eye_v + 0.37 - 0.09 * child + 0.03 * sag
    mouth_a, mouth_v = 0.265 * person.mouth * (1 - 0.25 * child), nose_v + 0.22 - 0.03 * child
    outline = arch(-width, 0.02 + 0.16 * child, 1.0, 0.75 if person.man else 0.9)[1:-1:2]
    brows = np.array([(1.3, 0.05), (0.2, -0.05), (-0.95, 0.0), (-0.95, brow), (0.2, brow - 0.05), (1.3, 0.05)])
    brows = brows * (eye_a, 1) + (eye_u, brow_v)
    eyes = np.array([(1, 0.3 * sag), (0, -1), (-1, 0.1), (0, 1), (0, 0)]) * (eye_a, eye_b) + (eye_u, eye_v)
    nose = np.array([(-0.3, eye_v), (-0.5, nose_v - 0.15), (-1, nose_v - 0.05), (-0.7, nose_v + 0.02)]) * (nose_a, 1)
    nostrils = [(-0.45 * nose_a, nose_v), (0.45 * nose_a, nose_v)]
    lip = 0.06 * person.lips * (1 - 0.35 * sag)
    upper, lower = arch(-mouth_a, 0, -lip)[:-1:5], arch(mouth_a, 0, 1.3 * lip)[:-1:5]
    mouth = np.concatenate([upper, lower, mouth_a * np.linspace((-0.7, 0), (0.7, 0), 7)])
    mouth[:, 1] += mouth_v - smile * ((mouth[:, 0] / mouth_a) ** 2 - 0.5)
    paired = [brows * (-1, 1), brows, eyes * (-1, 1), eyes]
    middle_line = [[(0, nose_v + 0.03)], mirrored(nose), nostrils, mouth, [(0, nose_v - 0.03)]]
    return np.concatenate([outline, *paired, nose, *middle_line])


def _draw_body(sketch: Sketch, face: Face, rng: Generator) -> None:
    """Hair behind the head, neck, shirt, ears."""
    person, look, width = face.person, face.look, face.points[14, 0]
    if look.bald > 0.7:  # hair at the sides only
        sketch.fill(ellipse(0, -0.1, width + 0.09, 0.42), face.hair)
    elif look.age > 0.8:
        thick = min(0.04 + 0.03 * look.age, 0.12) * (1 - 0.5 * look.bald)
        low = 0.15 if person.man else 0.15 + 1.1 * person.hair_length * min(look.age / 8, 1)
        side = [(width + thick, low), (width + thick + 0.04, -0.2), (0.75 * width, -0.85 - thick)]
        sketch.fill(curve([*side, (0, -1 - thick), *mirrored(side)]), face.hair * 0.8)
    neck, shoulder = width * (0.65 if person.man else 0.55) * (1 - 0.2 * look.child), 1.6 - 0.3 * look.child
    sketch.fill([(-neck, 0.5), (neck, 0.5), (neck, 1.6), (-neck, 1.6)], face.skin * 0.72)
    side = [(neck, 1.2), (0.8 * shoulder, 1.35), (shoulder + 0.1, 1.6), (shoulder + 0.3, 2.6)]
    shirt = np.clip(rng.uniform(30, 225) + rng.normal(0, 38, 3), 8, 245)
    sketch.fill(curve([(0, 1.4), *side, *mirrored(side)], closed=True), shirt)
    sketch.fill(ellipse(width, face.points[36, 1] + 0.1, 0.1, 0.19 + 0.05 * look.sag), face.skin * 0.85, pair=True)


def _draw_head(picture: Pixels, pose: Pose, face: Face, rng: Generator) -> None:
    """Everything inside the outline of the face, on its own layer, lit and cut out."""
    layer, mask = np.zeros_like(picture), np.zeros_like(picture)
    layer[:] = face.skin
    _draw_shades(Sketch(layer, pose), face)
    layer[:] = _soft(layer, 0.09 * pose.scale)
    _draw_wrinkles(Sketch(layer, pose), face, rng)
    _draw_features(Sketch(layer, pose), face)
    width, ear = face.points[14]
    Sketch(mask, pose).fill([*curve(face.points[:15]), *arch(width, ear, -1, 0.85)], (255, 255, 255))
    turned_away = 1 - _soft(mask, 0.35 * pose.scale) / 255
    light = np.linspace(1, rng.normal(1, 0.12), CANVAS)[:, None]
    lit = np.clip(layer * (1.04 - 0.36 * turned_away) * light, 0, 255)
    picture[:] = picture + (lit - picture) * (mask / 255)


def _soft(picture: Pixels, reach: float) -> Pixels:
    """The picture blurred over about `reach` pixels."""
    side = 2 * round(reach) + 1
    return np.asarray(cv2.stackBlur(picture, (side, side)), dtype=np.uint8)


def _draw_shades(sketch: Sketch, face: Face) -> None:
    """Blush, hollows, eye sockets, the light and the dark side of the nose: to be blurred."""
    skin, (eye_u, eye_v), nose_v, mouth_v = face.skin, face.points[36], face.points[41, 1], face.points[63, 1]
    blush = skin * (1, 0.86 - 0.1 * face.look.child, 0.86)
    sketch.fill(ellipse(0.4, (nose_v + mouth_v) / 2 - 0.08, 0.17, 0.13), blush, pair=True)
    sketch.fill(ellipse(eye_u, eye_v - 0.04, 0.2, 0.13), skin * (0.84, 0.78, 0.77), pair=True)
    hollow = [(0.62, mouth_v - 0.3), (0.52, mouth_v - 0.05), (0.44, mouth_v + 0.1)]
    sketch.line(hollow, 0.12, skin * (1 - 0.25 * face.look.lines), pair=True)
    side = 1 if sketch.pose.yaw < 0 else -1
    sketch.line([(side * 0.06, eye_v), (side * 0.1, nose_v - 0.03)], 0.08, skin * 0.84)
    sketch.line([(0, eye_v), (0, nose_v - 0.08)], 0.06, np.minimum(skin * 1.1, 255))
    sketch.fill(ellipse(0, face.points[57, 1] + 0.07, 0.14, 0.03), skin * 0.78)


def _draw_wrinkles(sketch: Sketch, face: Face, rng: Generator) -> None:
    """Lines of the forehead, at the eyes, from nose to mouth and below it; spots of old skin."""
    lines, (u, v), brow_v = face.look.lines, face.points[36], face.points[22, 1]
    (nose_u, nose_v), (mouth_u, mouth_v) = face.points[42], face.points[54]
    groove = face.skin * (0.92 - 0.37 * lines)
    for i in range(round(4 * lines)):
        level, reach = brow_v - 0.09 - 0.09 * i, 0.45 - 0.05 * i
        sketch.line([(-reach, level + 0.03), (0, level), (reach, level + 0.03)], 0.02, groove)
    for k in range(-1, round(3 * lines) - 1):
        sketch.line([(u + 0.2, v + 0.05 * k), (u + 0.24 + 0.08 * lines, v + 0.09 * k)], 0.016, groove, pair=True)
    if lines > 0.1:
        bag = [(u - 0.12, v + 0.13), (u, v + 0.17 + 0.04 * face.look.sag), (u + 0.12, v + 0.13)]
        fold = [(1.2 * nose_u, nose_v), (mouth_u + 0.06, mouth_v - 0.1), (mouth_u + 0.09, mouth_v + 0.1 * lines)]
        sketch.line(bag, 0.02, groove, pair=True)
        sketch.line(fold, 0.024, groove, pair=True)
    if lines > 0.45:
        sketch.line([(mouth_u + 0.03, mouth_v + 0.07), (mouth_u + 0.04, mouth_v + 0.19)], 0.02, groove, pair=True)
        sketch.line([(0.045, brow_v), (0.045, brow_v + 0.1)], 0.02, groove, pair=True)
    for spot_u, spot_v in rng.uniform((-0.55, -0.6), (0.55, 0.5), (round(14 * max(0, lines - 0.5)), 2)):
        sketch.fill(ellipse(spot_u, spot_v, 0.022, 0.018), face.skin * (0.8, 0.72, 0.68))


def _draw_features(sketch: Sketch, face: Face) -> None:
    """Beard, brows, eyes, nose and mouth."""
    look, points, skin, eyes = face.look, face.points, face.skin, np.asarray(face.person.eyes)
    (u, v), (a, b) = points[36], np.ptp(points[32:36], axis=0) / 2
    if look.beard and look.age > 22 and face.person.beard > 0.7:
        side = [(0.8, 1.1), (0.8, v + 0.3), points[54] + np.array([0.18, -0.1])]
        sketch.fill([*side, (0, points[41, 1] + 0.08), *mirrored(side)], face.hair * 0.85)
    sketch.fill(curve(points[21:26], closed=True), mix(skin, face.hair * 0.75, 0.9 - 0.4 * look.child), pair=True)
    lids = curve(points[32:36], closed=True)
    sketch.fill(lids, mix(WHITE, skin, 0.15 * look.lines), pair=True)
    for share, colour in ((0.6, eyes * 0.5), (0.5, eyes), (0.28, DARK * 0.4)):
        disc = ellipse(u, v, share * a, share * a)
        sketch.fill(disc.clip((-1, v - 0.95 * b), (1, v + 0.95 * b)), colour, pair=True)
    sketch.fill(ellipse(u - 0.03, v - 0.035, 0.022, 0.022), (255, 255, 255), pair=True)
    sketch.line(lids[:17], 0.032, mix(DARK, skin, 0.3 * look.lines), pair=True)
    sketch.line(lids[16:], 0.012, skin * 0.55, pair=True)
    sketch.line(lids[:17] - np.array([0, 0.05]), 0.014, skin * 0.6, pair=True)
    sketch.line(points[39:44], 0.024, skin * 0.58)
    sketch.fill(ellipse(points[47, 0], points[47, 1] + 0.015, 0.035, 0.02), DARK, pair=True)
    lips = mix(skin * (0.92, 0.58, 0.57), skin, 0.3 * look.lines)
    sketch.fill(curve(points[48:60], closed=True), lips)
    sketch.line(points[60:67], 0.022, lips * 0.45)


def _draw_hair_and_glasses(sketch: Sketch, face: Face) -> None:
    """Whatever is in front of the head."""
    person, look, width, (u, v) = face.person, face.look, face.points[14, 0], face.points[36]
    if look.bald < 0.7:
        fringe = person.fringe > 0.65 and look.age > 2 and look.bald < 0.1
        line = v - 0.28 if fringe else -0.58 - 0.12 * look.child - 0.3 * look.bald
        temple = line if fringe else line + 0.12 - 0.3 * look.bald
        colour = mix(face.skin, face.hair, min(0.35 + 0.3 * look.age, 1))
        side = [(-0.93 * width, v + 0.05), (-0.88 * width, -0.3), (-0.6 * width, temple)]
        parting = (0.3 * width * (person.hair_length - 0.5), line)
        sketch.fill([*arch(1.03 * width, v + 0.05, -1.04), *curve([*side, parting, *mirrored(side)])], colour)
        sketch.line([(-0.5 * width, -0.82), (0, -0.96), (0.5 * width, -0.82)], 0.03, np.minimum(colour * 1.25, 255))
    if look.age > 4 and person.glasses < 0.1 + 0.3 * look.lines:
        sketch.line(ellipse(u, v + 0.02, 0.22, 0.17), 0.03, DARK, pair=True)
        sketch.line([(u + 0.22, v), (width, v - 0.03)], 0.03, DARK, pair=True)
        sketch.line([(0.22 - u, v), (0, v - 0.04), (u - 0.22, v)], 0.03, DARK)


def _developed(picture: Pixels, size: int, rng: Generator) -> Pixels:
    """Turn the drawing into a photograph: reduced, with a colour cast, exposure, contrast and grain."""
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
    small *= rng.normal(1, 0.03, 3) * rng.uniform(0.86, 1.1)
    small = (small - 128) * rng.uniform(0.9, 1.1) + 128 + rng.normal(0, rng.uniform(0.5, 3), small.shape)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)
