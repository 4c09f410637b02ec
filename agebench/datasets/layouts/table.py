"""Anybody's data: a table of labels, or file names that match a template, as the card's `[table]` says.

Ages are whole years. If there is no age, it is the date of the photograph minus the date of birth, in completed years.
If only the year of the photograph is known, it is that year minus the birth year, minus 1 if the birth month is July or
later; from two years, it is their difference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from agebench.datasets.dates import JULY
from agebench.datasets.folders import PICTURES, list_pictures, subfolder
from agebench.datasets.records import Release, as_records, examples, folded, not_found
from agebench.datasets.tabular import FILE, ROW, read_rows
from agebench.errors import ReleaseError, nearest
from agebench.recipes import FIELD, Card, Columns, Table, fields_of
from agebench.remote import Folder, Remote

USUAL = {  # usual names of columns, in lower case without spaces and punctuation; the first one that exists is used
    "path": (
        "path", "file", "filename", "filepath", "image", "imagename", "imagepath", "imagefile", "img", "imgname",
        "imgpath", "fullpath", "photo", "picture",
    ),
    "age": ("age", "agegt", "realage", "ageyears", "years", "ages", "apparentage", "apparentageavg"),
    "subject": ("subject", "subjectid", "identity", "identityid", "person", "personid", "celebid", "individual", "id"),
    "name": ("name", "personname", "celebrity", "celebname"),
    "gender": ("gender", "sex"),
    "born": ("born", "birth", "dob", "birthdate", "dateofbirth", "birthday", "birthyear", "yearofbirth", "yob"),
    "taken": ("taken", "photodate", "datetaken", "photoyear", "yeartaken", "phototaken", "dateofphoto", "year", "date"),
    "split": ("split", "subset", "partition"),
}  # fmt: skip


WORDS = {"male": ("male", "m", "man", "boy"), "female": ("female", "f", "woman", "girl")}


BLANK = ("nan", "none", "null", "na", "n/a", "unknown", "?", "-")


DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%Y%m%d", "%d-%b-%Y")


class Labels(NamedTuple):
    """A table as it was understood. columns: role → the column that is read for it."""

    release: Release
    columns: dict[str, str]


def read(card: Card, root: Folder) -> Release:
    """The records of the card's table, or of the pictures below `root` from their names."""
    return read_labels(card, root).release


def read_labels(card: Card, root: Folder) -> Labels:
    """Like `read`, but also returns the columns that were used.

    Raises ReleaseNotFound if there is no table, or no picture that matches the pattern; ReleaseError if it is invalid.
    """
    assert card.table is not None
    rows, notes = _from_names(card, root, card.table) if card.table.pattern else _from_files(card, root, card.table)
    columns = match_columns(card.table, rows.columns)
    rows, more = _used(rows, card.table, columns, root)
    records, repeated = _without_repetitions(_records(card.name, rows))
    folders = dict.fromkeys(records["part"].unique(maintain_order=True), root)
    used = {role: ", ".join(names) for role, names in columns.items()}
    used["path"] = card.table.pattern or card.table.columns.path or used["path"]
    return Labels(Release(records, folders, notes + more + repeated), used)


# --- where the rows are ----------------------------------------------------------------------------------------


def _from_files(card: Card, root: Folder, table: Table) -> tuple[pl.DataFrame, list[str]]:
    """The rows of the file, or of all files that match its template, with the template's fields as columns."""
    assert table.file is not None
    files = _matching(root, table.file) if fields_of(table.file) else [(f, {}) for f in _named(root, table.file)]
    if not files:
        raise not_found(card, root, table.file)
    frames, notes = [], []
    for file, words in files:
        rows, told = read_rows(file)
        frames.append(rows.with_columns(pl.lit(value).alias(name) for name, value in words.items()))
        notes += told
    return pl.concat(frames, how="diagonal"), notes


def _named(root: Folder, name: str) -> list[Folder]:
    """The file of that name in the root, else in the working directory."""
    return [file for file in (root / name, Path(name)) if file.exists() and not file.is_dir()][:1]


def _matching(root: Folder, template: str) -> list[tuple[Folder, dict[str, str]]]:
    """The files that match a template such as `gt_{split}.csv`, by name, and the values of its fields in each."""
    above, _, name = template.rpartition("/")
    folder: Folder | None = root
    for step in above.split("/") if above else ():
        folder = subfolder(folder, step) if folder is not None else None
    shape = re.compile(_expression(name), re.IGNORECASE)
    listed: list[Folder] = sorted(folder.iterdir(), key=str) if folder is not None else []
    return [(file, match.groupdict()) for file in listed if (match := shape.fullmatch(file.name)) and not file.is_dir()]


def _from_names(card: Card, root: Folder, table: Table) -> tuple[pl.DataFrame, list[str]]:
    """The pictures below the root, with the fields of the pattern as columns: NULL if a name does not match."""
    assert table.pattern is not None
    listing = list_pictures(root, deep=True)
    stem, _, ending = table.pattern.rpartition(".")
    stem = stem if f".{ending.lower()}" in PICTURES else table.pattern
    paths = pl.Series("path", listing.paths, dtype=pl.Utf8)
    words = paths.str.extract_groups(rf"(?i)(?:^|/){_expression(stem)}\.[a-z]+$").struct.unnest()
    odd = paths.filter(words.to_series(0).is_null())
    if len(odd) == len(paths):
        raise not_found(card, root, f"pictures named {table.pattern}")
    notes = listing.notes
    if len(odd):
        notes.append(f"{len(odd)} file name(s) contain no age, expected {table.pattern}: {examples(odd)}.")
    return words.with_columns(paths, pl.lit(None, pl.Utf8).alias(FILE), pl.Series(ROW, range(len(paths)))), notes


def _expression(template: str) -> str:
    """A template as a regular expression: ages are numbers, every other field is as short as possible."""
    pieces = re.split(FIELD, template)
    shapes = [
        f"(?P<{piece}>{r'[0-9]{1,3}(?:[.][0-9]+)?' if _plain(piece) in USUAL['age'] else '[^/]+?'})" if i % 2
        else re.escape(piece)
        for i, piece in enumerate(pieces)
    ]  # fmt: skip
    return "".join(shapes)


# --- which column says what ------------------------------------------------------------------------------------


def match_columns(table: Table, there: list[str]) -> dict[str, list[str]]:
    """Role → its columns: those that the card names, else those with usual names.

    Raises ReleaseError if the card names a column that does not exist, or if there is no path or no age.
    """
    there = [name for name in there if name not in (FILE, ROW)]
    where = table.file or f"the pattern {table.pattern}"
    asked = table.columns.model_copy(update={"path": "path"} if table.pattern else {})
    found = {}
    for role in Columns.model_fields:
        given = getattr(asked, role)
        names = [given] if isinstance(given, str) else given or []
        if role == "path" and given is not None and fields_of(given):
            names = fields_of(given)
        if names:
            found[role] = [_column(name, there, where, role) for name in names]
        elif usual := next((n for n in USUAL.get(role, ()) if n in map(_plain, there)), None):
            found[role] = [next(name for name in there if _plain(name) == usual)]
    if "path" not in found:
        raise _lacks(where, "the pictures' paths", "path", there)
    if "age" not in found and not {"born", "taken"} <= found.keys():
        raise _lacks(where, "ages (nor both birth and photo dates)", "age", there)
    return found


def _plain(name: str) -> str:
    """A column's name in lower case, without spaces and punctuation; letters of every script are kept."""
    return re.sub(r"[\W_]", "", name.lower())


def _column(name: str, there: list[str], where: str, role: str) -> str:
    plain = _plain(name)
    same = [other for other in there if other == name] or [other for other in there if plain and _plain(other) == plain]
    if same:
        return same[0]
    raise ReleaseError(
        f"{where} has no column '{name}', which the card names for '{role}'; it has {_list(there)}.",
        f"{nearest(name, there)} {_named_by(role)} names another one.",
    )


def _lacks(where: str, what: str, role: str, there: list[str]) -> ReleaseError:
    others = {name for names in USUAL.values() for name in names}
    near = [n for n in there if _plain(n) not in others and get_close_matches(_plain(n), USUAL[role], cutoff=0.7)]
    if any(re.fullmatch(r"[0-9.]+", name) or Path(name).suffix.lower() in PICTURES for name in there):
        return ReleaseError(
            f"{where} has no column for {what}: its first row reads {_list(there)}, which looks like a record.",
            "Start the table with a header line, such as path,age.",
        )
    return ReleaseError(
        f"{where} has no column for {what}; it has {_list(there)}.",
        f"{f'Is it {_list(near)}? ' if near else ''}{_named_by(role)} names it.",
    )


def _named_by(role: str) -> str:
    return f"`--map {role}=COLUMN` of `agebench add`, or `{role}` under [table.columns] in the card,"


def _list(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# --- what the cells say ----------------------------------------------------------------------------------------


def _used(
    rows: pl.DataFrame, table: Table, columns: Mapping[str, list[str]], root: Folder
) -> tuple[pl.DataFrame, list[str]]:
    """(rows with the values read: path, age, subject_id, name, gender, dob, photo_year, part, box_x …; notes)."""
    notes: list[str] = []
    cells = {role: names[0] for role, names in columns.items()}
    if table.unlabelled and "age" in cells:
        left_out = pl.col(cells["age"]).is_in(table.unlabelled).fill_null(False)
        notes += _counted(rows.filter(left_out), "row(s) have no label and were left out")
        rows = rows.filter(~left_out)
    path = _paths(rows, table.columns.path, columns["path"], root, notes)
    no_dates: list[str] = []
    dates = {role: _dates(rows, cells[role], no_dates) for role in ("born", "taken") if role in cells}
    ages = [_claimed(rows, cells["age"], notes)] if "age" in cells else []
    ages += [_by_dates(dates["born"], dates["taken"])] if len(dates) == 2 else []
    if no_dates and "age" not in cells and ages[0].null_count() == len(ages[0]):
        raise ReleaseError(
            f"'{cells['born']}' and '{cells['taken']}' give no age: {' '.join(no_dates)}",
            "Write dates as 1984-07-14 or 14.07.1984, or years alone.",
        )
    notes += no_dates
    read = {
        "path": path,
        "age": ages[0] if len(ages) == 1 else ages[0].zip_with(ages[0].is_not_null(), ages[1]),
        "subject_id": _subjects(rows, cells),
        "name": rows[cells["name"]] if "name" in cells else None,
        "gender": _genders(rows, table, cells["gender"], notes) if "gender" in cells else None,
        "dob": dates["born"]["date"] if "born" in dates else None,
        "photo_year": dates["taken"]["year"] if "taken" in dates else None,
        "part": rows[cells["split"]] if "split" in cells else None,
        **_boxes(rows, columns, notes),
    }
    return pl.DataFrame([values.alias(role) for role, values in read.items() if values is not None]), notes


def _paths(rows: pl.DataFrame, template: str | None, names: list[str], root: Folder, notes: list[str]) -> pl.Series:
    """Paths with `/`, made relative to the root if they begin with it; a row without a path gets the empty path."""
    shape = re.sub(FIELD, "{}", template) if template and fields_of(template) else "{}"
    whole = pl.format(shape, *(pl.col(name) for name in names))
    path = whole.str.replace_all("\\", "/", literal=True).str.replace(r"^(?:\./+)+", "")
    if not isinstance(root, Remote):
        path = path.str.strip_prefix(f"{root.resolve().as_posix()}/").str.strip_prefix(f"{root.absolute().as_posix()}/")
    paths = rows.select(path=path.fill_null("")).to_series()
    notes += _counted(rows.filter(paths == ""), "row(s) name no picture")
    away = paths.str.contains(r"^(?:/|[A-Za-z]:)|(?:^|/)\.\.(?:/|$)")
    notes += _counted(rows.filter(away), "path(s) lead out of the root and are not opened", paths.filter(away))
    return paths


def _claimed(rows: pl.DataFrame, column: str, notes: list[str]) -> pl.Series:
    """The whole years of the ages in a column. Raises ReleaseError if it has text and not one age."""
    text = _said(rows, column)
    number = text.str.replace(r"^(-?\d+),(\d+)$", "$1.$2").cast(pl.Float64, strict=False)
    ages = number.set(~number.is_between(-(2.0**31), 2.0**31 - 1), None).floor().cast(pl.Int32)
    words = text.is_not_null() & ages.is_null()
    decimals = (number != ages).fill_null(False)
    if words.any() and ages.null_count() == len(ages):
        raise ReleaseError(
            f"'{column}' has no age in {words.sum():,} row(s): {_places(rows.filter(words), text.filter(words))}; "
            "expected years such as 34.",
            f"{_named_by('age')} names another column.",
        )
    said = "value(s) are not numbers and give no age; expected years such as 34"
    notes += _counted(rows.filter(words), said, text.filter(words))
    notes += _counted(rows.filter(decimals), "age(s) have decimals and were rounded down", text.filter(decimals))
    return ages


def _by_dates(born: pl.DataFrame, taken: pl.DataFrame) -> pl.Series:
    """Ages in whole years, by the rule at the top of this file. born, taken: frames with date and year."""
    birth, photo = pl.col("date"), pl.col("photo_date").dt
    before_the_day = photo.month() * 100 + photo.day() < birth.dt.month() * 100 + birth.dt.day()
    less = pl.coalesce(before_the_day, birth.dt.month() >= JULY, pl.lit(False)).cast(pl.Int32)
    both = born.hstack(taken.select(photo_date="date", photo_year="year"))
    return both.select(age=pl.col("photo_year") - pl.col("year") - less).to_series()


def _dates(rows: pl.DataFrame, column: str, notes: list[str]) -> pl.DataFrame:
    """The dates and years of a column, without times of day; a year alone gives no date."""
    text = _said(rows, column).str.extract(r"^([^T\s]+)", 1)
    found = pl.DataFrame({"text": text}).select(
        date=pl.coalesce(pl.col("text").str.to_date(form, strict=False) for form in DATES),
        year=pl.col("text").str.extract(r"^(\d{4})(?:\.0)?$", 1).cast(pl.Int32),
    )
    found = found.with_columns(year=pl.coalesce(pl.col("date").dt.year(), "year"))
    odd = text.is_not_null() & found["year"].is_null()
    said = f"cell(s) of '{column}' are not dates; expected 1984-07-14 or a year"
    notes += _counted(rows.filter(odd), said, text.filter(odd))
    return found


def _said(rows: pl.DataFrame, column: str) -> pl.Series:
    """The cells of a column, with words for unknown values as NULL."""
    unknown = pl.col(column).str.to_lowercase().is_in(BLANK)
    return rows.select(pl.when(~unknown).then(pl.col(column))).to_series()


def _subjects(rows: pl.DataFrame, cells: Mapping[str, str]) -> pl.Series | None:
    """The table's own subjects, else name and birth date. Row numbers in a column `id` are not subjects."""
    if "subject" in cells and not (_plain(cells["subject"]) == "id" and rows[cells["subject"]].is_unique().all()):
        return rows[cells["subject"]]
    if "name" not in cells:
        return None
    born = pl.col(cells["born"]).fill_null("") if "born" in cells else pl.lit("")
    return rows.with_columns(folded(rows[cells["name"]]).alias(ROW)).select(pl.format("{}|{}", ROW, born)).to_series()


def _genders(rows: pl.DataFrame, table: Table, column: str, notes: list[str]) -> pl.Series:
    """Genders as words; NULL, with a note, if a cell is neither a usual word nor one of the card's."""
    codes = {word: gender for gender, words in WORDS.items() for word in words}
    codes |= {word.lower(): gender for gender in WORDS for word in getattr(table, gender)}
    text = _said(rows, column).str.to_lowercase().str.replace(r"^(\d+)\.0$", "$1")
    words = text.replace_strict(codes, default=None, return_dtype=pl.Utf8)
    odd = text.filter(text.is_not_null() & words.is_null())
    if len(odd):
        notes.append(
            f"{len(odd):,} cell(s) of '{column}' are not known genders: {examples(odd.unique().sort(), 5)}; "
            "`--map male=VALUE` of `agebench add`, or `male` and `female` under [table] in the card, define them."
        )
    return words


def _boxes(rows: pl.DataFrame, columns: Mapping[str, list[str]], notes: list[str]) -> dict[str, pl.Series]:
    """The face's box as x, y, width and height."""
    role = next((role for role in ("box", "corners") if role in columns), None)
    if role is None:
        return {}
    names = columns[role]
    if len(names) == 1:
        four = rows[names[0]].str.extract_all(r"-?\d+(?:\.\d+)?").cast(pl.List(pl.Float64))
        numbers = [four.list.get(i, null_on_oob=True) for i in range(4)]
    else:
        numbers = [rows[name].cast(pl.Float64, strict=False) for name in names]
    whole = pl.select(pl.all_horizontal(number.is_not_null() for number in numbers)).to_series()
    said = rows.select(pl.any_horizontal(pl.col(name).is_not_null() for name in names)).to_series()
    notes += _counted(rows.filter(said & ~whole), f"row(s) have no box with four numbers in {_list(names)}")
    x, y, w, h = numbers
    if role == "corners":
        w, h = w - x, h - y
    return {"box_x": x, "box_y": y, "box_w": w, "box_h": h}


def _counted(rows: pl.DataFrame, what: str, cells: pl.Series | None = None) -> list[str]:
    """A note with the number of such rows and the first few of them; nothing if there are none."""
    return [f"{rows.height:,} {what}: {_places(rows, cells)}."] if rows.height else []


def _places(rows: pl.DataFrame, cells: pl.Series | None = None) -> str:
    """The positions of the first rows, with the content of their cells."""
    shown = []
    for i, (file, row) in enumerate(rows.head(3).select(FILE, ROW).iter_rows()):
        place = f"{file} row {row}" if file is not None else ""
        shown.append(f"{place} '{cells[i]}'".strip() if cells is not None else place)
    return ", ".join(shown) + (", …" if rows.height > len(shown) else "")


# --- records ---------------------------------------------------------------------------------------------------


def _records(dataset: str, rows: pl.DataFrame) -> pl.DataFrame:
    given: dict[str, Any] = {name: rows[name] for name in rows.columns if name != "part"}
    records = as_records(dataset, given)
    return records.with_columns(part=rows["part"].fill_null(dataset)) if "part" in rows.columns else records


def _without_repetitions(records: pl.DataFrame) -> tuple[pl.DataFrame, list[str]]:
    """A picture that is listed twice with the same age and box counts once; with different ages, each row is a
    record."""
    same = ["part", "path", "age", "box_x", "box_y", "box_w", "box_h"]
    extra = ~records.select(pl.struct(same).is_first_distinct() | (pl.col("path") == "")).to_series()
    notes = []
    if extra.any():
        shown = examples(records["path"].filter(extra))
        notes.append(f"{extra.sum():,} row(s) repeat a picture with the same age and count once: {shown}.")
        records = records.filter(~extra)
    named = records.filter(pl.col("path") != "").group_by("part", "path", maintain_order=True)
    several = named.agg(pl.col("age").n_unique()).filter(pl.col("age") > 1)["path"]
    if len(several):
        notes.append(
            f"{len(several):,} picture(s) have several ages, each in its own record: {examples(several)}; the checks "
            "of copies judge them."
        )
    return records, notes
