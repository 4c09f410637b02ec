"""Made-up people, and how age changes their looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # RGB, 0..255

SKINS: tuple[Colour, ...] = (
    (244, 208, 184),
    (233, 190, 160),
    (221, 172, 138),
    (198, 145, 108),
    (163, 112, 80),
    (118, 78, 55),
    (92, 60, 43),
)
HAIRS: tuple[Colour, ...] = (
    (28, 24, 23),
    (46, 33, 26),
    (78, 52, 34),
    (112, 78, 48),
    (176, 138, 84),
    (206, 172, 112),
    (140, 66, 34),
)
EYES: tuple[Colour, ...] = ((70, 46, 28), (98, 66, 34), (86, 104, 72), (84, 118, 150), (110, 130, 140))
GREY: Colour = (206, 204, 200)
GIVEN = {
    "male": ("James", "Łukasz", "José", "Wei", "Søren", "Amadou", "Piotr", "Ahmed", "Björn", "Kofi", "Luca", "Raj"),
    "female": ("Mary", "Zoë", "Ana", "Mei", "Ingrid", "Aïcha", "Jadwiga", "Fatma", "Ama", "Giulia", "Priya", "Chloé"),
}
FAMILY = (
    "Smith", "Nowak", "Muñoz", "Zhang", "Ødegaard", "Diop", "Żak", "Yılmaz", "Lindström", "Mensah", "Rossi", "Kumar",
    "Lefèvre", "Dvořák", "Tanaka", "Petrov", "O'Neill", "García", "Müller", "山本", "Kovács", "Nguyễn", "Brown",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    """What stays the same in all pictures of one person. Ratios are about 1, chances are 0..1."""

    name: str
    gender: str
    skin: Colour
    hair: Colour
    eyes: Colour
    width: float
    jaw: float
    eye_gap: float
    eye_size: float
    nose_width: float
    nose_length: float
    mouth_width: float
    lips: float
    brow: float
    brow_height: float
    greys_at: float  # the age at which half of the hair is grey
    balding: float
    long_hair: float
    parting: float  # where the hair parts, -1 left to 1 right
    fringe: float
    beard: float
    glasses: float
    wrinkled: float  # how early wrinkles come


def draw_person(rng: np.random.Generator, gender: str | None = None) -> Person:
    """A person at random."""
    gender = gender or str(rng.choice(["male", "female"]))
    skin = int(rng.integers(len(SKINS)))
    dark = skin >= 4
    hair = HAIRS[int(rng.integers(0, 2 if dark else len(HAIRS)))]
    eyes = EYES[int(rng.integers(0, 2 if dark else len(EYES)))]
    man = gender == "male"
    tint = rng.normal(0, 3, 3).tolist()
    near_one = rng.normal(1, 0.055, 9).clip(0.86, 1.14)
    return Person(
        name=f"{rng.choice(GIVEN[gender])} {rng.choice(FAMILY)}",
        gender=gender,
        skin=(SKINS[skin][0] + tint[0], SKINS[skin][1] + tint[1], SKINS[skin][2] + tint[2]),
        hair=hair,
        eyes=eyes,
        width=float(near_one[0]),
        jaw=float(near_one[1]) * (1.05 if man else 0.95),
        eye_gap=float(near_one[2]),
        eye_size=float(near_one[3]) * (0.97 if man else 1.06),
        nose_width=float(near_one[4]) * (1.06 if man else 0.94) * (1.12 if dark else 1),
        nose_length=float(near_one[5]),
        mouth_width=float(near_one[6]),
        lips=float(near_one[7]) * (0.9 if man else 1.12) * (1.2 if dark else 1),
        brow=float(near_one[8]) * (1.3 if man else 0.8),
        brow_height=float(rng.normal(0, 0.012)),
        greys_at=float(rng.normal(53, 4)),
        balding=float(rng.random()) if man else 0.0,
        long_hair=float(rng.random()) if man else 0.45 + 0.55 * float(rng.random()),
        parting=float(rng.uniform(-0.7, 0.7)),
        fringe=float(rng.random()),
        beard=float(rng.random()) if man else 0.0,
        glasses=float(rng.random()),
        wrinkled=float(rng.normal(0, 2.5)),
    )


@dataclass(frozen=True)
class Look:
    """What age makes of a face. All but the ages are 0..1."""

    age: float
    child: float  # 1 at birth, 0 when grown
    lines: float  # wrinkles
    sag: float
    grey: float
    bald: float
    fullness: float  # of cheeks and lips
    beard: float


def look_at_age(person: Person, age: float) -> Look:
    """How far each sign of age has come for this person at `age` years."""
    apparent = age + person.wrinkled * min(age / 40, 1)
    child = float(np.clip((17 - age) / 17, 0, 1)) ** 0.9
    grown = float(np.clip((age - 15) / 6, 0, 1))
    prone = float(np.clip((person.balding - 0.35) / 0.5, 0, 1))
    return Look(
        age=age,
        child=child,
        lines=float(np.clip((apparent - 24) / 56, 0, 1)),
        sag=float(np.clip((apparent - 42) / 45, 0, 1)),
        grey=float(1 / (1 + np.exp(-(age - person.greys_at) / 6.5))),
        bald=prone * float(np.clip((age - 26) / 38, 0, 1)),
        fullness=float(np.clip((50 - age) / 40, 0, 1)),
        beard=grown if person.gender == "male" else 0.0,
    )
