"""Drawn photographs of made-up people: simple cartoon faces whose look follows age.

Nothing here is traced from a real picture. A face is found by the detectors that agebench uses, so that a synthetic
release can go the whole way.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from agebench.demo.people import Look, Person, look_at_age
from agebench.demo.sketch import Floats, Pixels, Points, Pose, Sketch, background, curve, ellipse, soft

CANVAS = 480  # pixels; every photograph is drawn at this size, then reduced
GREY, WHITE, DARK = np.array([[206.0, 204, 200], [246, 242, 238], [38, 24, 22]])
MIRROR = np.array([-1.0, 1.0])


@dataclass(frozen=True)
class Photograph:
    """pixels: (H, W, 3) RGB. points: (68, 2), FG-NET's landmarks, in pixels. box: left, top, width, height."""

    pixels: Pixels
    points: Floats
    box: tuple[float, float, float, float]


def photograph(
    person: Person, age: float, rng: np.random.Generator, size: int = 200, tight: bool = False
) -> Photograph:
    """A picture of `size` pixels square. tight: the face fills it, as in aligned chips; else it has 40 % around it."""
    roll, yaw, pitch = (rng.normal(0, 1, 3).clip(-2, 2) * (0.07, 0.15, 0.07)).tolist()
    x, y = (CANVAS * (rng.normal(0, 0.012, 2) + (0.5, 0.47 if tight else 0.49))).tolist()
    scale = CANVAS * (0.44 if tight else 0.315) * float(rng.uniform(0.94, 1.05))
    pose = Pose(x, y, scale, roll, yaw, pitch)
    look = look_at_age(person, age)
    face = landmarks(person, look, smile=float(rng.uniform(0, 0.06)))
    hair = mix(np.asarray(person.hair) * (1 + 0.25 * look.child), GREY, look.grey)
    picture = background(rng, CANVAS)
    _draw_behind(Sketch(picture, pose), person, look, face, hair, rng)
    _draw_face(picture, pose, person, look, face, hair, rng)
    _draw_before(Sketch(picture, pose), person, look, face, hair, rng)
    points = pose.pixels(face) * (size / CANVAS)
    left, top = points.min(axis=0).tolist()
    right, bottom = points.max(axis=0).tolist()
    return Photograph(_developed(picture, size, rng), points, (left, top, right - left, bottom - top))


def mix(first: Floats, second: Floats, share: float) -> Floats:
    """The colour between two colours."""
    return first + (second - first) * share


def landmarks(person: Person, look: Look, smile: float) -> Floats:
    """FG-NET's 68 points in face coordinates.

    0-14 outline, 15-26 brows, 27-36 eyes (31 and 36 the pupils), 37-47 nose, 48-66 mouth, 67 the tip of the nose; what
    comes twice begins on the picture's left.
    """
    child, sag = look.child, look.sag
    width = person.width * (0.745 + 0.10 * child)
    eye_u, eye_v = width * 0.425 * person.eye_gap, 0.15 * child
    eye_a = 0.145 * person.eye_size * (1 + 0.25 * child)
    eye_b = eye_a * (0.55 + 0.22 * child - 0.14 * sag)
    brow_v, brow = eye_v - 0.2 - 0.02 * child, 0.05 * person.brow * (1 - 0.4 * child)
    nose_a, nose_v = 0.135 * person.nose * (1 - 0.2 * child + 0.15 * sag), eye_v + 0.37 - 0.13 * child + 0.03 * sag
    mouth_a, mouth_v = 0.265 * person.mouth * (1 - 0.25 * child), nose_v + 0.22 - 0.06 * child
    turn = np.linspace(np.pi, 0, 15)
    middle = 0.02 + 0.16 * child
    jaw = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (0.75 if person.gender == "male" else 0.9)
    outline = np.stack([width * jaw, middle + (1 - middle) * np.sin(turn)], axis=1)
    one_brow = np.array([(1.3, 0.05), (0.2, -0.05), (-0.95, 0.0), (-0.95, brow), (0.2, brow - 0.05), (1.3, 0.05)])
    one_brow = one_brow * (eye_a, 1) + (eye_u, brow_v)
    one_eye = np.array([(1, 0.3 * sag), (0, -1), (-1, 0.1), (0, 1), (0, 0)]) * (eye_a, eye_b) + (eye_u, eye_v)
    side = np.array([(-0.3, eye_v), (-0.5, nose_v - 0.15), (-1, nose_v - 0.05), (-0.7, nose_v + 0.02)]) * (nose_a, 1)
    nose = [*side, (0.0, nose_v + 0.03), *(side * MIRROR)[::-1], (-0.45 * nose_a, nose_v), (0.45 * nose_a, nose_v)]
    turn = np.linspace(np.pi, 3 * np.pi, 12, endpoint=False)
    lips = 0.06 * person.lips * (1 - 0.35 * sag) * np.sin(turn) * np.where(np.sin(turn) > 0, 1.3, 1)
    u = mouth_a * np.concatenate([np.cos(turn), np.linspace(-0.7, 0.7, 7)])
    mouth = np.stack([u, mouth_v + np.concatenate([lips, np.zeros(7)]) - smile * ((u / mouth_a) ** 2 - 0.5)], axis=1)
    paired = [one_brow * MIRROR, one_brow, one_eye * MIRROR, one_eye]
    return np.concatenate([outline, *paired, nose, mouth, [(0.0, nose_v - 0.03)]])


def _draw_behind(
    sketch: Sketch, person: Person, look: Look, face: Floats, hair: Floats, rng: np.random.Generator
) -> None:
    """Hair behind the head, neck, shirt, ears."""
    skin, width = skin_colour(person, look), face[14, 0]
    if look.bald > 0.7:  # hair at the sides only
        sketch.fill(ellipse(0, -0.1, width + 0.09, 0.42), hair)
    elif look.age > 0.8:
        thick = min(0.04 + 0.03 * look.age, 0.12) * (1 - 0.5 * look.bald)
        low = 0.15 + max(0, 1.6 * (person.hair_length - 0.3)) * min(look.age / 8, 1)
        side = [(width + thick, low), (width + thick + 0.04, -0.2), (0.75 * width, -0.85 - thick), (0, -1 - thick)]
        half = curve([*side, *(np.array(side[:3]) * MIRROR)[::-1]])
        sketch.fill(half, hair * 0.8)
    neck = width * (0.55 + (0.1 if person.gender == "male" else 0)) * (1 - 0.2 * look.child)
    sketch.fill([(-neck, 0.5), (neck, 0.5), (neck, 1.6), (-neck, 1.6)], skin * 0.72)
    shoulder = 1.75 - 0.3 * look.child
    collar = curve([(-neck, 1.2), (0, 1.45), (neck, 1.2)])
    shirt = np.clip(rng.uniform(30, 225) + rng.normal(0, 38, 3), 8, 245)
    sketch.fill([*collar, (0.9 * shoulder, 1.4), (shoulder, 2.6), (-shoulder, 2.6), (-0.9 * shoulder, 1.4)], shirt)
    for sign in (-1, 1):
        sketch.fill(ellipse(sign * width, face[31, 1] + 0.1, 0.1, 0.19 + 0.05 * look.sag), skin * 0.85)


def skin_colour(person: Person, look: Look) -> Floats:
    """The skin's colour: rosier in children, duller with age."""
    skin = np.asarray(person.skin) * mix(np.ones(3), np.array([1.03, 0.98, 0.97]), look.child)
    return np.clip(skin * mix(np.ones(3), np.array([0.95, 0.93, 0.89]), look.lines), 0, 255)


def _draw_face(
    picture: Pixels, pose: Pose, person: Person, look: Look, face: Floats, hair: Floats, rng: np.random.Generator
) -> None:
    """All that lies within the outline of the face."""
    skin, width = skin_colour(person, look), face[14, 0]
    layer = np.empty_like(picture)
    layer[:] = skin
    sketch = Sketch(layer, pose)
    _draw_shades(sketch, look, face, skin)
    layer[:] = soft(layer, 0.09 * pose.scale)
    _draw_wrinkles(sketch, look, face, skin, rng)
    _draw_features(sketch, person, look, face, skin, hair, rng)
    mask = np.zeros_like(picture)
    top = np.linspace(0, np.pi, 30)
    above = np.stack([width * np.cos(top), face[14, 1] - (1 + face[14, 1]) * np.sin(top)], axis=1)
    Sketch(mask, pose).fill([*curve(face[:15]), *above], (255, 255, 255))
    inside = soft(mask, 0.35 * pose.scale) / 255  # less at the edges, where the face turns away
    light = np.linspace(1, 1 + rng.normal(0, 0.12), CANVAS)[None, :, None]
    lit = np.clip(layer * (0.68 + 0.36 * inside) * light, 0, 255)
    np.copyto(picture, (picture + (lit - picture) * (mask / 255)).astype(np.uint8))


def _draw_shades(sketch: Sketch, look: Look, face: Floats, skin: Floats) -> None:
    """Blush, hollows, eye sockets, the side of the nose: to be blurred."""
    nose_v, mouth_v = face[41, 1], face[63, 1]
    sketch.fill(ellipse(0, -0.42, 0.32, 0.14), np.minimum(skin * 1.08, 255))
    for sign, eye in ((-1, face[31]), (1, face[36])):
        sketch.fill(ellipse(sign * 0.4, (nose_v + mouth_v) / 2 - 0.08, 0.17, 0.13), skin * (1, 0.86 - 0.1 * look.child, 0.86))
        sketch.fill(ellipse(eye[0], eye[1] - 0.04, 0.2, 0.13), skin * (0.84, 0.78, 0.77))
        hollow = curve([(sign * 0.62, mouth_v - 0.3), (sign * 0.52, mouth_v - 0.05), (sign * 0.44, mouth_v + 0.1)])
        sketch.line(hollow, 0.12, skin * (1 - 0.25 * look.lines))
    side = 1 if sketch.pose.yaw < 0 else -1
    sketch.line([(side * 0.06, face[31, 1]), (side * 0.1, nose_v - 0.03)], 0.08, skin * 0.84)
    sketch.line([(0, face[31, 1]), (0, nose_v - 0.08)], 0.06, np.minimum(skin * 1.1, 255))
    sketch.fill(ellipse(0, face[57, 1] + 0.07, 0.14, 0.03), skin * 0.78)


def _draw_wrinkles(sketch: Sketch, look: Look, face: Floats, skin: Floats, rng: np.random.Generator) -> None:
    """Lines of the forehead, at the eyes, from nose to mouth and below it; spots of old skin."""
    lines = look.lines
    colour = mix(skin, skin * 0.5, min(0.15 + 0.75 * lines, 1))
    brow_v, mouth = face[16, 1], face[54]
    for i in range(round(4 * lines)):
        v, reach = brow_v - 0.09 - 0.09 * i, (0.45 - 0.05 * i)
        sketch.line(curve([(-reach, v + 0.03), (0, v + rng.normal(0, 0.01)), (reach, v + 0.03)]), 0.02, colour)
    for sign, (u, v) in ((-1, face[31]), (1, face[36])):
        for k in range(-1, round(3 * lines) - 1):
            sketch.line([(u + sign * 0.2, v + 0.05 * k), (u + sign * (0.24 + 0.08 * lines), v + 0.09 * k)], 0.016, colour)
        if lines > 0.1:
            sketch.line(curve([(u - 0.12, v + 0.13), (u, v + 0.17 + 0.04 * look.sag), (u + 0.12, v + 0.13)]), 0.02, colour)
            fold = [(sign * face[43, 0] * 1.2, face[41, 1] - 0.05), (sign * (mouth[0] + 0.06), face[41, 1] + 0.1)]
            sketch.line(curve([*fold, (sign * (mouth[0] + 0.09), mouth[1] + 0.1 * lines)]), 0.024, colour)
        if lines > 0.45:
            sketch.line([(sign * mouth[0] * 1.1, mouth[1] + 0.06), (sign * mouth[0] * 1.15, mouth[1] + 0.2)], 0.022, colour)
            sketch.line([(sign * 0.045, brow_v), (sign * 0.045, brow_v + 0.1)], 0.02, colour)
    for u, v in rng.uniform((-0.55, -0.6), (0.55, 0.5), (round(14 * max(0, lines - 0.5)), 2)):
        sketch.fill(ellipse(u, v, 0.022, 0.018), skin * (0.8, 0.72, 0.68))


def _draw_features(
    sketch: Sketch, person: Person, look: Look, face: Floats, skin: Floats, hair: Floats, rng: np.random.Generator
) -> None:
    """Beard, brows, eyes, nose and mouth."""
    mouth, nose_v = face[48:60], face[41, 1]
    if look.beard and person.beard > 0.7 and look.age > 22:
        chin = [(-0.8, face[31, 1] + 0.3), (-0.45, mouth[0, 1] - 0.1), (0, nose_v + 0.08)]
        sketch.fill([*curve([*chin, *(np.array(chin[:2]) * MIRROR)[::-1]]), (0.8, 1.1), (-0.8, 1.1)], hair * 0.85)
    for brow in (face[15:21], face[21:27]):
        sketch.fill(curve(brow[:5], closed=True), mix(skin, hair * 0.75, 0.9 - 0.4 * look.child))
    gaze = float(rng.normal(0, 0.015))
    for eye in (face[27:32], face[32:37]):
        (u, v), (a, b) = eye[4], np.ptp(eye[:4], axis=0) / 2
        lids = curve(eye[:4], closed=True)
        sketch.fill(lids, mix(WHITE, skin, 0.15 * look.lines))
        for share, colour in ((0.6, np.asarray(person.eyes) * 0.5), (0.5, np.asarray(person.eyes)), (0.28, DARK * 0.4)):
            disc = ellipse(u + gaze, v, share * a, share * a)
            sketch.fill(np.clip(disc, (-1, v - 0.95 * b), (1, v + 0.95 * b)), colour)
        sketch.fill(ellipse(u + gaze - 0.03, v - 0.035, 0.022, 0.022), (255, 255, 255))
        sketch.line(lids[:20], 0.032, mix(DARK, skin, 0.3 * look.lines))
        sketch.line(lids[20:], 0.012, skin * 0.55)
        sketch.line(lids[:20] - (0, 0.05), 0.014, skin * 0.6)
    sketch.line(curve(face[[39, 40, 41, 42, 43]]), 0.024, skin * 0.58)
    for u, v in face[46:48]:
        sketch.fill(ellipse(u, v + 0.015, 0.035, 0.02), (46, 26, 24))
    lips = mix(skin * (0.92, 0.58, 0.57), skin, 0.3 * look.lines)
    inner = curve(face[60:67])
    sketch.fill(curve(mouth, closed=True), lips)
    if rng.random() < 0.4:
        sketch.fill([*inner, *(inner + (0, 0.04))[::-1]], WHITE if look.age > 1 else lips * 0.5)
    sketch.line(inner, 0.022, lips * 0.45)


def _draw_before(
    sketch: Sketch, person: Person, look: Look, face: Floats, hair: Floats, rng: np.random.Generator
) -> None:
    """Hair before the head, and glasses."""
    width, brow_v = face[14, 0], face[16, 1]
    if look.bald < 0.7:
        fringe = person.fringe > 0.65 and 2 < look.age and look.bald < 0.1
        line = brow_v - 0.08 if fringe else -0.58 - 0.12 * look.child - 0.3 * look.bald
        temple = line + (0 if fringe else 0.12 - 0.3 * look.bald)
        low = face[31, 1] + 0.05
        top = np.linspace(0, np.pi, 30)
        over = np.stack([1.03 * width * np.cos(top), low - (1.04 + low) * np.sin(top)], axis=1)
        hairline = [(-0.93 * width, low), (-0.88 * width, -0.3), (-0.6 * width, temple), (0.3 * width * (person.fringe - 0.5), line)]
        right = (np.array(hairline[:3]) * MIRROR)[::-1]
        colour = mix(skin_colour(person, look), hair, min(0.35 + 0.3 * look.age, 1))
        sketch.fill([*over, *curve([*hairline, *right])], colour)
        shine = curve([(-0.5 * width, -0.82), (0, -0.96), (0.5 * width, -0.82)])
        sketch.line(shine, 0.03, np.minimum(colour * 1.25, 255))
    if look.age > 4 and person.glasses < 0.1 + 0.3 * look.lines:
        frame = (34, 30, 32) if person.fringe < 0.6 else (120, 92, 60)
        for sign, (u, v) in ((-1, face[31]), (1, face[36])):
            sketch.line(ellipse(u, v + 0.02, 0.22, 0.17), 0.03, frame)
            sketch.line([(u + sign * 0.22, v), (sign * width, v - 0.03)], 0.03, frame)
        sketch.line(curve([(face[31, 0] + 0.22, v), (0, v - 0.04), (face[36, 0] - 0.22, v)]), 0.03, frame)


def _developed(picture: Pixels, size: int, rng: np.random.Generator) -> Pixels:
    """From the drawing to the photograph: reduced, with a colour cast, exposure, contrast and grain."""
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA).astype(np.float64)
    small *= rng.normal(1, 0.03, 3) * rng.uniform(0.86, 1.1)
    small = (small - 128) * rng.uniform(0.9, 1.1) + 128 + rng.normal(0, rng.uniform(0.5, 3), small.shape)
    return np.clip(np.round(small), 0, 255).astype(np.uint8)
