"""The overview's charts as coordinates in an SVG view box; the templates draw them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

LEFT, TOP, WIDTH, HEIGHT = 70.0, 14.0, 920.0, 220.0  # of the plot area inside the axes
TICKS = 4  # on the vertical axis, at most


@dataclass(frozen=True)
class Bar:
    """One age class. x, width: its place; tall: height for all records; low: height for the kept ones."""

    age: int
    records: int
    kept: int
    x: float
    width: float
    tall: float
    low: float


@dataclass(frozen=True)
class AgeChart:
    """A histogram of ages 0 to 99. ticks: (records, y); years: (age, x); base, left, right: where the axes are."""

    bars: list[Bar]
    ticks: list[tuple[int, float]]
    years: list[tuple[int, float]]
    base: float = TOP + HEIGHT
    left: float = LEFT
    right: float = LEFT + WIDTH


def age_chart(ages: pl.DataFrame) -> AgeChart:
    """The histogram of the claimed ages. ages: age (claimed), records, kept."""
    by_age = {int(age): (int(records), int(kept)) for age, records, kept in ages.iter_rows() if 0 <= age < 100}
    step = _round_step(max((records for records, _ in by_age.values()), default=1) or 1)
    most = max((records for records, _ in by_age.values()), default=1)
    top = step * -(-most // step) or step
    wide = WIDTH / 100
    bars = [
        Bar(
            age,
            records,
            kept,
            round(LEFT + age * wide, 2),
            round(wide * 0.86, 2),
            round(HEIGHT * records / top, 2),
            round(HEIGHT * kept / top, 2),
        )
        for age in range(100)
        for records, kept in [by_age.get(age, (0, 0))]
    ]
    ticks = [(number, round(TOP + HEIGHT * (1 - number / top), 2)) for number in range(0, top + 1, step)]
    return AgeChart(bars, ticks, [(age, round(LEFT + (age + 0.43) * wide, 2)) for age in range(0, 100, 10)])


def _round_step(most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, … such that `TICKS` steps reach `most`."""
    step, factors = 1, (2, 2.5, 2)
    for turn in range(60):
        if step * TICKS >= most:
            break
        step = int(step * factors[turn % 3])
    return step
