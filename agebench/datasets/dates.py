"""Converts MATLAB day numbers into dates and ages. A day number is Python's date ordinal + 366."""

from __future__ import annotations

import numpy as np

UNIX_EPOCH = 719529  # the day number of 1970-01-01
FIRST_DATE = 367  # 0001-01-01
LAST_DATE = 3652425  # 9999-12-31
FARTHEST_DAY = 10_000_000  # a larger day number (over 27,000 years) is garbage and gives no year
JULY = 7


def ages_by_rule(days: np.ndarray, photo_years: np.ndarray) -> np.ndarray:
    """Ages (n,) in whole years, NaN if unknown, of birth day numbers and photo years (both (n,) float64).

    Photo year - birth year, minus 1 if the birth month is July or later. Ages are not clipped.
    """
    years, months, known = birth_years_and_months(days)
    ages = photo_years - years - (months >= JULY)
    return np.where(known & np.isfinite(photo_years), ages, np.nan)


def birth_years_and_months(days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Years and months of day numbers (n,), and which of them are known: three arrays (n,).

    Fractions of a day are dropped. The calendar is the proleptic Gregorian one, so the day numbers 1 and 0 are in the
    years 0 and -1.
    """
    known = np.isfinite(days) & (np.abs(np.nan_to_num(days)) < FARTHEST_DAY)
    dates = _dates(days, known)
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    months = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return years, months, known


def birth_dates(days: np.ndarray) -> np.ndarray:
    """Dates (n,) of day numbers (n,); NaT if the number is not a date between the years 1 and 9999."""
    floor = np.floor(days)
    known = np.isfinite(days) & (floor >= FIRST_DATE) & (floor <= LAST_DATE)
    dates = _dates(days, known)
    dates[~known] = np.datetime64("NaT")
    return dates


def _dates(days: np.ndarray, known: np.ndarray) -> np.ndarray:
    whole = np.floor(np.where(known, days, UNIX_EPOCH)).astype(np.int64)
    return (whole - UNIX_EPOCH).astype("datetime64[D]")
