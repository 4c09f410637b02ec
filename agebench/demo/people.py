"""Made-up people, and how age changes their appearance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]  # RGB, 0..255

SKINS: tuple[Colour, ...] = (
    (244, 208, 184), (233, 190, 160), (221, 172, 138), (198, 145, 108), (163, 112, 80), (126, 84, 60), (104, 70, 50),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (34, 28, 26), (50, 36, 28), (78, 52, 34), (112, 78, 48), (176, 138, 84), (206, 172, 112), (140, 66, 34),
)  # fmt: skip
EYES: tuple[Colour, ...] = ((70, 46, 28), (98, 66, 34), (86, 104, 72), (84, 118, 150), (110, 130, 140))
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
    """What stays the same in all pictures of one person."""

    name: str
    gender: str
    skin: Colour
    hair: Colour
    eyes: Colour
    # ratios, about 1
    width: float
    eye_gap: float
    eye_size: float
    nose: float
    mouth: float
    lips: float
    brow: float
    # chances, 0..1
    balding: float
    hair_length: float
    fringe: float
    beard: float
    glasses: float
    # years
    greys_at: float  # the age at which half of the hair is grey
    wrinkled: float  # how much older the skin looks

    @property
    def man(self) -> bool:
        """Whether the face is drawn as a man's."""
        return self.gender == "male"


def draw_person(rng: np.random.Generator) -> Person:
    """A person at random."""
    gender = str(rng.choice(["male", "female"]))
    name = f"{rng.choice(GIVEN[gender])} {rng.choice(FAMILY)}"
    skin = int(rng.integers(len(SKINS)))
    hair = HAIRS[rng.integers(2 if skin >= 4 else len(HAIRS))]
    eyes = EYES[rng.integers(2 if skin >= 4 else len(EYES))]
    traits = [*rng.normal(1, 0.06, 7).clip(0.85, 1.15), *rng.random(5), *rng.normal((53, 0), (4, 2.5))]
    return Person(name, gender, SKINS[skin], hair, eyes, *map(float, traits))


@dataclass(frozen=True)
class Look:
    """The effects of age on a face. All values except the age are 0..1."""

    age: float
    child: float  # 1 at birth, 0 for adults
    lines: float  # wrinkles
    sag: float
    grey: float
    bald: float
    beard: float


def look_at_age(person: Person, age: float) -> Look:
    """The strength of each sign of age for this person at `age` years."""

    def ramp(start: float, end: float, value: float = age) -> float:
        return float(np.clip((value - start) / (end - start), 0, 1))

    apparent = age + person.wrinkled * min(age / 40, 1)
    return Look(
        age=age,
        child=1 - ramp(0, 17),
        lines=ramp(24, 80, apparent),
        sag=ramp(42, 87, apparent),
        grey=float(1 / (1 + np.exp(-(age - person.greys_at) / 6.5))),
        bald=ramp(0.35, 0.85, person.balding) * ramp(26, 64) * person.man,
        beard=ramp(15, 21) * person.man,
    )
