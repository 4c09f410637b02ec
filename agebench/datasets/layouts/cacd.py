"""CACD2000 (Chen, Chen and Hsu 2014): `celebrity2000_meta.mat` and the pictures `CACD2000/53_Robin_Williams_0001.jpg`.

The age is photo year - birth year. Without the `.mat` it is read from the file names, and the years are unknown.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl

from agebench.datasets.folders import Listing, list_pictures, subfile, subfolder
from agebench.datasets.matfile import read_struct
from agebench.datasets.records import Release, as_records, examples, folded, not_found
from agebench.recipes import Card
from agebench.remote import Folder

FIELDS = ("age", "identity", "year", "birth", "name")
NAME = r"(?i)^(\d{1,3})_(.+)_\d+\.[a-z]+$"


def read(card: Card, root: Folder) -> Release:
    """The records of the `.mat`, with or without their pictures; without a `.mat`, the pictures that exist."""
    folder = subfolder(root, "CACD2000") or root
    mat = subfile(root, "celebrity2000_meta.mat") or subfile(folder, "celebrity2000_meta.mat")
    if mat is None and root.resolve().name.lower() == "cacd2000":
        mat = subfile(root.resolve().parent, "celebrity2000_meta.mat")
    listing = list_pictures(folder) if folder.is_dir() else Listing([], [])
    if mat is None and not listing.paths:
        raise not_found(card, root, "celebrity2000_meta.mat and CACD2000/53_Robin_Williams_0001.jpg and the like")
    records, notes = _from_mat(card, mat, listing) if mat is not None else _from_names(card, root, listing)
    return Release(records, {card.name: folder}, listing.notes + notes)


def _from_mat(card: Card, file: Folder, listing: Listing) -> tuple[pl.DataFrame, list[str]]:
    mat = read_struct(file, "celebrityImageData", FIELDS, length_of="name")
    years, births = mat.numbers("year"), mat.numbers("birth")
    ages = np.where(np.isfinite(years - births) & (births > 0) & (years > 0), years - births, mat.numbers("age"))
    paths = mat.texts("name").fill_null("")
    identity = pl.Series(mat.numbers("identity")).fill_nan(None).cast(pl.Int64, strict=False).cast(pl.Utf8)
    on_disk, notes = _spelled_as_on_disk(paths, listing)
    columns = {
        "path": on_disk,
        "subject_id": "celeb:" + identity,
        "name": _people(paths),
        "photo_year": pl.Series(years).fill_nan(None),
        "age": pl.Series(ages).fill_nan(None),
    }
    return as_records(card.name, columns), notes


def _from_names(card: Card, root: Folder, listing: Listing) -> tuple[pl.DataFrame, list[str]]:
    paths = pl.Series("path", listing.paths)
    ages = paths.str.extract(NAME, 1).cast(pl.Int32, strict=False)
    odd = paths.filter(ages.is_null())
    if len(odd) == len(paths):
        raise not_found(card, root, "celebrity2000_meta.mat, or pictures named like 53_Robin_Williams_0001.jpg")
    names = _people(paths)
    notes = ["There is no celebrity2000_meta.mat: ages and people are read from the file names."]
    if len(odd):
        notes.append(
            f"{len(odd)} file name(s) contain no age, expected 53_Robin_Williams_0001.jpg or similar: {examples(odd)}."
        )
    return as_records(
        card.name, {"path": paths, "subject_id": "name:" + folded(names), "name": names, "age": ages}
    ), notes


def _people(paths: pl.Series) -> pl.Series:
    return paths.str.extract(NAME, 2).str.replace_all("_", " ", literal=True)


def _spelled_as_on_disk(paths: pl.Series, listing: Listing) -> tuple[pl.Series, list[str]]:
    """The paths in the Unicode form on disk, if it differs (`é` as one character or as two)."""
    decomposed = {unicodedata.normalize("NFC", p): p for p in listing.paths if not p.isascii()}
    if not decomposed:
        return paths, []
    here = set(listing.paths)
    spelled = {
        p: decomposed[composed]
        for p in paths.to_list()
        if not p.isascii() and p not in here and (composed := unicodedata.normalize("NFC", p)) in decomposed
    }
    if not spelled:
        return paths, []
    note = f"{len(spelled)} name(s) have a different Unicode form on disk than in the .mat; the form on disk is used."
    return paths.replace(spelled), [note]
