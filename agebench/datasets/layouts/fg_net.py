"""The FG-NET Ageing Database: `images/001A02.JPG` is subject 001 at 2; a letter distinguishes pictures of one age."""

from __future__ import annotations

import polars as pl

from agebench.datasets.folders import list_pictures, subfolder
from agebench.datasets.records import Release, as_records, examples, not_found
from agebench.recipes import Card
from agebench.remote import Folder

NAME = r"(?i)^(\d{3})a(\d{1,3})[a-z]?\.[a-z]+$"


def read(card: Card, root: Folder) -> Release:
    """The pictures in `images/`, or in `root` if it is that folder. The landmarks in `points/` are not read."""
    folder = subfolder(root, "images") or root
    listing = list_pictures(folder) if folder.is_dir() else None
    if listing is None or not listing.paths:
        raise not_found(card, root, "images/001A02.JPG and the like")
    paths = pl.Series("path", listing.paths)
    ages = paths.str.extract(NAME, 2).cast(pl.Int32, strict=False)
    odd = paths.filter(ages.is_null())
    if len(odd) == len(paths):
        raise not_found(card, root, "pictures named like 001A02.JPG")
    notes = listing.notes
    if len(odd):
        notes.append(f"{len(odd)} file name(s) contain no age, expected 001A02.JPG or similar: {examples(odd)}.")
    records = as_records(card.name, {"path": paths, "subject_id": paths.str.extract(NAME, 1), "age": ages})
    return Release(records, {card.name: folder}, notes)
