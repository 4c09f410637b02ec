"""IMDB-WIKI (Rothe, Timofte and Van Gool 2015): `imdb_crop/imdb.mat` and `wiki_crop/wiki.mat`.

`face_location` is `[x1 y1 x2 y2]` as in MATLAB: pixels counted from 1, both ends included. A record's box is therefore
x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1. In the published crops it refers to the picture *before* cropping.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from agebench.datasets.dates import ages_by_rule, birth_dates
from agebench.datasets.folders import subfile, subfolder
from agebench.datasets.matfile import Struct, read_struct
from agebench.datasets.records import Release, as_records, folded, not_found
from agebench.recipes import Card
from agebench.remote import Folder

PARTS = ("imdb", "wiki")
FIELDS = ("dob", "photo_taken", "full_path", "gender", "name", "face_location", "face_score", "second_face_score")


def read(card: Card, root: Folder) -> Release:
    """Both parts, or the one that exists. `root` may also be one of the two folders."""
    files = {part: file for part in PARTS if (file := _mat_file(root, part)) is not None}
    if not files:
        raise not_found(card, root, "imdb_crop/imdb.mat and wiki_crop/wiki.mat")
    tables = [_part(part, file) for part, file in files.items()]
    notes = [
        f"Only the part '{next(iter(files))}' was found in {root}: there is no {part}_crop/{part}.mat."
        for part in PARTS
        if part not in files
    ]
    records = pl.concat(tables)
    nameless = records.filter(pl.col("path") == "").height
    if nameless:
        notes.append(f"{nameless} record(s) name no picture.")
    return Release(records, {part: file.parent for part, file in files.items()}, notes)


def _mat_file(root: Folder, part: str) -> Folder | None:
    folder = subfolder(root, f"{part}_crop")
    inside = subfile(folder, f"{part}.mat") if folder is not None else None
    return inside or subfile(root, f"{part}.mat")


def _part(part: str, file: Folder) -> pl.DataFrame:
    identified = part == "imdb"
    mat = read_struct(file, part, (*FIELDS, "celeb_id") if identified else FIELDS, length_of="full_path")
    days, years = mat.numbers("dob"), mat.numbers("photo_taken")
    box = mat.rows("face_location", 4)
    dates = pl.Series("dob", birth_dates(days))
    names = mat.texts("name")
    days[np.abs(days) > 2**53] = np.nan  # not a whole number any more
    return as_records(
        part,
        {
            "path": mat.texts("full_path").fill_null(""),
            "subject_id": _subjects(mat, identified, folded(names) + "|" + dates.cast(pl.Utf8)),
            "name": pl.select(pl.when(names.str.strip_chars() != "").then(names)).to_series(),
            "gender": genders(mat.numbers("gender"), male=1, female=0),
            "dob": dates,
            "dob_day": pl.Series(np.floor(days)).fill_nan(None),
            "photo_year": pl.Series(years).fill_nan(None),
            "age": pl.Series(ages_by_rule(days, years)).fill_nan(None),
            "face_score": mat.numbers("face_score"),
            "second_face_score": mat.numbers("second_face_score"),
            "box_x": box[:, 0] - 1,
            "box_y": box[:, 1] - 1,
            "box_w": box[:, 2] - box[:, 0] + 1,
            "box_h": box[:, 3] - box[:, 1] + 1,
        },
    )


def genders(codes: np.ndarray, *, male: int, female: int) -> pl.Series:
    """Gender codes (n,) as words; NULL for any other code and for NaN."""
    words = np.full(len(codes), None, dtype=object)
    words[codes == male] = "male"
    words[codes == female] = "female"
    return pl.Series(words.tolist(), dtype=pl.Utf8)


def _subjects(mat: Struct, identified: bool, people: pl.Series) -> pl.Series:
    """`celeb:` and the release's number of a person; without a number, name and date of birth."""
    if not identified:
        return people
    numbers = pl.Series(mat.numbers("celeb_id")).fill_nan(None).cast(pl.Int64, strict=False)
    return ("celeb:" + numbers.cast(pl.Utf8)).fill_null(people)
