"""Shapes of the overview's charts, in the units of an SVG's view box; templates draw them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

WIDTH, HEIGHT = 1000.0, 220.0


@dataclass(frozen=True)
class Bar:
    """One age class. x, width: place; tall: height of all records; kept: height of those that are kept."""

    age: int
    records: int
    kept: int
    x: float
    width: float
    tall: float
    low: float


def age_bars(ages: pl.DataFrame) -> list[Bar]:
    """Bars of the ages 0 to 99. ages: age (claimed), records, kept."""
    by_age = {int(age): (int(records), int(kept)) for age, records, kept in ages.iter_rows() if 0 <= age < 100}
    most = max((records for records, _ in by_age.values()), default=0) or 1
    step = WIDTH / 100
    return [
        Bar(
            age,
            records,
            kept,
            round(age * step, 2),
            round(step * 0.86, 2),
            round(HEIGHT * records / most, 2),
            round(HEIGHT * kept / most, 2),
        )
        for age in range(100)
        for records, kept in [by_age.get(age, (0, 0))]
    ]
