"""UTKFace: `[age]_[gender]_[race]_[date].jpg.chip.jpg`, 0 is male and 1 female; some released names are irregular."""

from __future__ import annotations

import polars as pl

from agebench.datasets.folders import list_pictures
from agebench.datasets.records import Release, as_records, examples, not_found
from agebench.recipes import Card
from agebench.remote import Folder

AGE = r"^\s*(\d{1,3})_"
RACES = {"0": "white", "1": "black", "2": "asian", "3": "indian", "4": "other"}
RACE = r"^\s*\d{1,3}_[01]_([0-4])_\d"
GENDER = r"^\s*\d{1,3}_([01])_\d_\d"  # only if no field is missing: the meaning of the 1 in `61_1_2017….jpg` is unknown


def read(card: Card, root: Folder) -> Release:
    """All pictures below `root`, with an age if the name begins with one, gender and race if the name is complete."""
    listing = list_pictures(root, deep=True) if root.is_dir() else None
    if listing is None or not listing.paths:
        raise not_found(card, root, "pictures named like 26_1_0_20170104165809116.jpg.chip.jpg")
    paths = pl.Series("path", listing.paths)
    names = paths.str.replace(r"^.*/", "")
    ages = names.str.extract(AGE, 1).cast(pl.Int32, strict=False)
    odd = paths.filter(ages.is_null())
    if len(odd) == len(paths):
        raise not_found(card, root, "pictures named like 26_1_0_20170104165809116.jpg.chip.jpg")
    gender = names.str.extract(GENDER, 1).replace_strict(
        {"0": "male", "1": "female"}, default=None, return_dtype=pl.Utf8
    )
    race = names.str.extract(RACE, 1).replace_strict(RACES, default=None, return_dtype=pl.Utf8)
    notes = listing.notes
    if len(odd):
        notes.append(f"{len(odd)} file name(s) contain no age: {examples(odd)}.")
    vague = paths.filter(gender.is_null() & ages.is_not_null())
    if len(vague):
        notes.append(f"{len(vague)} file name(s) lack a field, so the gender is unknown: {examples(vague)}.")
    return Release(
        as_records(card.name, {"path": paths, "gender": gender, "race": race, "age": ages}), {card.name: root}, notes
    )
