"""MORPH II (Ricanek and Tesafaye 2006): `Album2/009055_1M54.JPG`, photo 1 of subject 009055, a man of 54 years.

The published `morph_2008_nonCommercial.csv` (id_num, picture_num, dob, doa, race, gender, facial_hair, age, age_diff,
glasses, photo) is used if it is beside the pictures: it takes precedence over the file names.
"""

from __future__ import annotations

import polars as pl

from agebench.datasets.folders import list_pictures
from agebench.datasets.records import Release, as_records, examples, not_found
from agebench.datasets.tabular import FILE, ROW, read_rows
from agebench.errors import ReleaseError
from agebench.recipes import Card
from agebench.remote import Folder

NAME = r"(?i)(?:^|/)(\d{1,7})_(\d+)([mf])(\d{1,3})\.[a-z]+$"
GENDERS = {"m": "male", "f": "female", "male": "male", "female": "female"}
HEADERS = {  # names of the columns, in lower case without spaces and underscores
    "subject": ("idnum", "id", "subjectid", "subject"),
    "dob": ("dob", "dateofbirth", "birthdate"),
    "doa": ("doa", "dateofarrest", "photodate"),
    "gender": ("gender", "sex"),
    "age": ("age",),
    "photo": ("photo", "path", "image", "imagename", "filename", "file"),
}
DATES = {
    r"^\d{1,2}/\d{1,2}/\d{4}$": "%m/%d/%Y",
    r"^\d{4}-\d{1,2}-\d{1,2}$": "%Y-%m-%d",
    r"^\d{1,2}-[A-Za-z]{3}-\d{4}$": "%d-%b-%Y",
}


def read(card: Card, root: Folder) -> Release:
    """Every picture below `root`, and every record of the CSV if there is one, by path."""
    listing = list_pictures(root, deep=True) if root.is_dir() else None
    if listing is None:
        raise not_found(card, root, "pictures named like Album2/009055_1M54.JPG")
    table, notes = _csv(root)
    if not listing.paths and table is None:
        raise not_found(card, root, "pictures named like Album2/009055_1M54.JPG")
    records, more = _joined(pl.DataFrame({"path": listing.paths}, schema={"path": pl.Utf8}), table)
    if records["age"].null_count() == records.height:
        raise not_found(card, root, "pictures named like 009055_1M54.JPG")
    columns = {name: records[name] for name in records.columns}
    return Release(as_records(card.name, columns), {card.name: root}, listing.notes + notes + more)


def _joined(pictures: pl.DataFrame, table: pl.DataFrame | None) -> tuple[pl.DataFrame, list[str]]:
    """Pictures and CSV joined by file name, in the order of the paths; values of the CSV take precedence."""
    notes: list[str] = []
    lost = 0
    if table is not None:
        both = _keyed(pictures).join(table, on="key", how="full", coalesce=True, maintain_order="left_right")
        lost = both["path"].null_count()
        records = both.with_columns(pl.coalesce("path", "photo").alias("path"))
    else:
        records = pictures.with_columns(
            *(pl.lit(None, pl.Utf8).alias(name) for name in ("subject", "gender")),
            *(pl.lit(None, pl.Date).alias(name) for name in ("dob", "doa")),
            pl.lit(None, pl.Int32).alias("age"),
        )
    if lost:
        notes.append(f"The CSV lists {lost:,} picture(s) that are not in the folder.")
    name = pl.col("path").str
    named_age = name.extract(NAME, 4).cast(pl.Int32, strict=False)
    named_gender = name.extract(NAME, 3).str.to_lowercase().replace_strict(GENDERS, default=None, return_dtype=pl.Utf8)
    disagree = records.filter(pl.col("age") != named_age)["path"]
    if len(disagree):
        notes.append(
            f"{len(disagree)} age(s) in the CSV differ from the file names; the CSV's are used: {examples(disagree)}."
        )
    records = records.select(
        "path",
        pl.coalesce(name.extract(NAME, 1), "subject").str.zfill(6).alias("subject_id"),
        pl.coalesce("gender", named_gender).alias("gender"),
        "dob",
        pl.col("doa").dt.year().alias("photo_year"),
        pl.coalesce("age", named_age).alias("age"),
    ).sort("path")
    odd = records.filter(pl.col("age").is_null())["path"]
    if len(odd):
        notes.append(f"{len(odd)} file name(s) contain no age, expected 009055_1M54.JPG or similar: {examples(odd)}.")
    return records, notes


def _csv(root: Folder) -> tuple[pl.DataFrame | None, list[str]]:
    """(the release's CSV as key, photo, subject, gender, dob, doa, age; notes): None where no table has its columns.

    Raises ReleaseError where a file cannot be read as a table, or has some of the columns and not those that count:
    ages read from names instead would be a quiet second best.
    """
    other = []
    tables = (p for p in root.iterdir() if p.suffix.lower() in (".csv", ".tsv") and not p.name.startswith("."))
    for file in sorted(tables, key=str):
        rows, notes = read_rows(file)
        headers = [name for name in rows.columns if name not in (FILE, ROW)]
        columns = _columns(headers)
        if "photo" in columns and columns.keys() & {"age", "dob"}:
            return _cleaned(rows.rename({column: name for name, column in columns.items()})), notes
        if columns or len(headers) == 1:
            raise ReleaseError(
                f"{file} is not MORPH's CSV: expected the columns 'photo' and 'age', found {examples(headers, 12)}.",
                "Mend its header line, or move the file away to have the ages read from the file names.",
            )
        other.append(f"{file.name} is another table than MORPH's: the ages are read from the file names.")
    return None, other


def _columns(headers: list[str]) -> dict[str, str]:
    """Our name → the CSV's header, by `HEADERS`."""
    plain = {h.strip().lower().replace("_", "").replace(" ", ""): h for h in reversed(headers)}
    return {ours: plain[theirs] for ours, names in HEADERS.items() for theirs in reversed(names) if theirs in plain}


def _cleaned(raw: pl.DataFrame) -> pl.DataFrame:
    raw = raw.with_columns(pl.lit(None, pl.Utf8).alias(name) for name in HEADERS if name not in raw.columns)
    table = raw.select(
        pl.col("photo").str.replace_all("\\", "/", literal=True),
        pl.when(pl.col("subject").str.contains(r"^\d+$")).then("subject").alias("subject"),
        pl.col("gender").str.to_lowercase().replace_strict(GENDERS, default=None, return_dtype=pl.Utf8),
        _date("dob").alias("dob"),
        _date("doa").alias("doa"),
        pl.col("age").cast(pl.Float64, strict=False).floor().cast(pl.Int32, strict=False),
    )
    return _keyed(table.drop_nulls("photo"), "photo").unique("key", keep="first", maintain_order=True)


def _date(column: str) -> pl.Expr:
    """A date in any of the formats found in copies of the CSV, without the time of day."""
    text = pl.col(column).str.extract(r"^(\S+)", 1)
    return pl.coalesce(
        pl.when(text.str.contains(shape)).then(text).str.to_date(form, strict=False) for shape, form in DATES.items()
    )


def _keyed(frame: pl.DataFrame, column: str = "path") -> pl.DataFrame:
    """With the column `key`: the file's stem in lower case."""
    stem = pl.col(column).str.to_lowercase().str.extract(r"([^/]+?)(?:\.[a-z]+)?$", 1)
    return frame.with_columns(stem.alias("key"))
