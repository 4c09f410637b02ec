"""MORPH II (Ricanek and Tesafaye 2006): `Album2/009055_1M54.JPG`, photo 1 of subject 009055, a man of 54 years.

The published `morph_2008_nonCommercial.csv` (id_num, picture_num, dob, doa, race, gender, facial_hair, age, age_diff,
glasses, photo), or another table with its columns, is used if it is beside the pictures: it takes precedence over the
file names.
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
RACES = {"b": "black", "w": "white", "a": "asian", "h": "hispanic", "i": "indian", "o": "other"}
HEADERS = {  # names of the columns, in lower case without spaces and underscores
    "subject": ("idnum", "id", "subjectid", "subject"),
    "dob": ("dob", "dateofbirth", "birthdate"),
    "doa": ("doa", "dateofarrest", "photodate"),
    "gender": ("gender", "sex"),
    "race": ("race", "ancestry"),
    "age": ("age",),
    "photo": ("photo", "path", "image", "imagename", "filename", "file"),
}
DATES = {  # shape → formats; where there are two, a whole column has the first unless more rows fit the second
    r"^\d{4}-\d{1,2}-\d{1,2}$": ("%Y-%m-%d",),
    r"^\d{4}/\d{1,2}/\d{1,2}$": ("%Y/%m/%d",),
    r"^\d{8}$": ("%Y%m%d",),
    r"^\d{1,2}-[A-Za-z]{3}-\d{4}$": ("%d-%b-%Y",),
    r"^\d{1,2}/\d{1,2}/\d{4}$": ("%m/%d/%Y", "%d/%m/%Y"),
    r"^\d{1,2}-\d{1,2}-\d{4}$": ("%m-%d-%Y", "%d-%m-%Y"),
    r"^\d{1,2}\.\d{1,2}\.\d{4}$": ("%d.%m.%Y", "%m.%d.%Y"),
}
AGE = r"(?i)^(\d{1,3})(?:[.,]\d+)?\s*(?:y|yrs?|years?)?(?:\s+old)?\.?$"
NOTHING = ("null", "na", "n/a", "nan", "none", "-", "?")  # besides empty cells
TABLES = (".csv", ".tsv", ".txt")
PUBLISHED = "morph_2008_noncommercial"


def read(card: Card, root: Folder) -> Release:
    """Every picture below `root`, and every record of the table if there is one, by path."""
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
            *(pl.lit(None, pl.Utf8).alias(name) for name in ("subject", "gender", "race")),
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
        "race",
        "dob",
        pl.col("doa").dt.year().alias("photo_year"),
        pl.coalesce("age", named_age).alias("age"),
    ).sort("path")
    odd = records.filter(pl.col("age").is_null())["path"]
    if len(odd):
        notes.append(f"{len(odd)} file name(s) contain no age, expected 009055_1M54.JPG or similar: {examples(odd)}.")
    return records, notes


def _csv(root: Folder) -> tuple[pl.DataFrame | None, list[str]]:
    """(the release's table as key, photo, subject, gender, dob, doa, age; notes): None if no file is one.

    All tables in the folder are looked at, so another one beside it does no harm. Raises ReleaseError if several fit,
    or if none does and one is nearly MORPH's: ages read from file names instead would be a silent second best.
    """
    found: list[tuple[Folder, pl.DataFrame, list[str]]] = []
    refused: list[ReleaseError] = []
    others: list[str] = []
    tables = (p for p in root.iterdir() if p.suffix.lower() in TABLES and not p.name.startswith("."))
    for file in sorted(tables, key=str):
        try:
            rows, notes = read_rows(file)
        except ReleaseError as error:
            if file.suffix.lower() != ".txt":
                refused.append(error)
            continue
        headers = [name for name in rows.columns if name not in (FILE, ROW)]
        columns = _columns(headers)
        if "photo" in columns and ("age" in columns or {"dob", "doa"} <= columns.keys()):
            found.append((file, rows.rename({column: name for name, column in columns.items()}), notes))
        elif file.suffix.lower() != ".txt" and (len(headers) == 1 or columns.keys() & {"photo", "age", "dob", "doa"}):
            refused.append(
                ReleaseError(
                    f"{file} is not MORPH's table: expected the columns 'photo' and 'age' (or 'dob' and 'doa'), found "
                    f"{examples(headers, 12)}.",
                    "Correct its header line, or move the file away to have the ages read from the file names.",
                )
            )
        elif file.suffix.lower() != ".txt":
            others.append(file.name)
    if not found and refused:
        raise refused[0]
    published = [one for one in found if one[0].name.lower().startswith(PUBLISHED)]
    if len(found) > 1 and len(published) != 1:
        names = ", ".join(file.name for file, _, _ in found)
        raise ReleaseError(f"{root} holds several tables of MORPH: {names}.", "Move all but one of them away.")
    if not found:
        return None, [
            f"{name} is another table than MORPH's: the ages are read from the file names." for name in others
        ]
    file, rows, notes = (published or found)[0]
    table, more = _cleaned(file, rows)
    return table, notes + more


def _columns(headers: list[str]) -> dict[str, str]:
    """Our name → the table's header, by `HEADERS`."""
    plain = {h.strip().lower().replace("_", "").replace(" ", ""): h for h in reversed(headers)}
    return {ours: plain[theirs] for ours, names in HEADERS.items() for theirs in reversed(names) if theirs in plain}


def _cleaned(file: Folder, raw: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """(key, photo, subject, gender, dob, doa, age; notes). Ages are the table's, else the full years from dob to doa.

    Raises ReleaseError with the first row whose age cannot be read.
    """
    raw = raw.with_columns(pl.lit(None, pl.Utf8).alias(name) for name in HEADERS if name not in raw.columns)
    text = pl.col(pl.Utf8)
    raw = raw.with_columns(pl.when(~text.str.to_lowercase().is_in(NOTHING)).then(text).name.keep())
    notes: list[str] = []
    dob, doa = (_dates(file, raw, column, notes) for column in ("dob", "doa"))
    stated = raw["age"].str.extract(AGE, 1).cast(pl.Int32)
    wrong = raw.filter(pl.col("age").is_not_null() & stated.is_null())
    if len(wrong):
        raise ReleaseError(
            f"{file}, row {wrong[ROW][0]}: '{wrong['age'][0]}' is not an age; {len(wrong):,} such row(s) in all.",
            "Expected years, such as 54 or 54.5.",
        )
    lived = doa.dt.year() - dob.dt.year() - (_day_of_year(doa) < _day_of_year(dob)).cast(pl.Int32)
    table = raw.select(
        pl.col("photo").str.replace_all("\\", "/", literal=True),
        pl.when(pl.col("subject").str.contains(r"^\d+$")).then("subject").alias("subject"),
        pl.col("gender").str.to_lowercase().replace_strict(GENDERS, default=None, return_dtype=pl.Utf8),
        pl.col("race").str.to_lowercase().replace_strict(RACES, default=pl.col("race").str.to_lowercase()),
        dob.alias("dob"),
        doa.alias("doa"),
        stated.fill_null(lived).alias("age"),
    )
    return _keyed(table.drop_nulls("photo"), "photo").unique("key", keep="first", maintain_order=True), notes


def _day_of_year(dates: pl.Series) -> pl.Series:
    """A number that grows from 1 January to 31 December, whether or not it is a leap year."""
    return dates.dt.month().cast(pl.Int32) * 100 + dates.dt.day()


def _dates(file: Folder, raw: pl.DataFrame, column: str, notes: list[str]) -> pl.Series:
    """A column of dates without the time of day, by `DATES`: 3/4/1950 is 4 March, as in the published table, unless
    more rows of the column can be read with the day first. A note says which rows cannot be read."""
    text = raw[column].str.extract(r"^(\S+)", 1)
    dates = pl.Series(column, [None] * len(text), dtype=pl.Date)
    for shape, formats in DATES.items():
        fitting = raw.select(pl.when(text.str.contains(shape)).then(text)).to_series()
        read = (fitting.str.to_date(form, strict=False) for form in formats)
        dates = dates.fill_null(max(read, key=lambda found: found.count()))
    unread = raw.filter(text.is_not_null() & dates.is_null())
    if len(unread):
        notes.append(
            f"{len(unread):,} date(s) in the column '{column}' of {file.name} cannot be read: row {unread[ROW][0]} has "
            f"'{unread[column][0]}'."
        )
    return dates


def _keyed(frame: pl.DataFrame, column: str = "path") -> pl.DataFrame:
    """With the column `key`: the file's stem in lower case."""
    stem = pl.col(column).str.to_lowercase().str.extract(r"([^/]+?)(?:\.[a-z]+)?$", 1)
    return frame.with_columns(stem.alias("key"))
