"""Files of labels as rows of text: CSV in its usual variants, JSON Lines, Parquet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter

import polars as pl

from agebench.errors import ReleaseError
from agebench.remote import Folder, read_whole

FILE, ROW = "#file", "#row"  # columns with the position of a row, for messages


WANTED = "expected CSV with a header line, JSON Lines or Parquet"


def read_rows(file: Folder) -> tuple[pl.DataFrame, list[str]]:
    """(the rows of a file, notes): every column as text with blank cells as NULL, and the columns `FILE` and `ROW`.

    Rows are numbered as in a spreadsheet: in CSV the header is row 1, in other files the first record. Empty lines are
    left out. Raises ReleaseError if the file cannot be read, is empty or has no rows.
    """
    try:
        content = read_whole(file)
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read: {error.strerror or error}.", "Mend it, or move it away.") from error
    kind = file.suffix.lower()
    notes: list[str] = []
    if kind in (".parquet", ".pq"):
        rows, first = _parquet(file, content), 1
    elif kind in (".jsonl", ".ndjson", ".json"):
        rows, first = _json_lines(file, _text(file, content, notes)), 1
    else:
        rows, first = _csv(file, _text(file, content, notes)), 2
    texts = pl.col(pl.Utf8).str.strip_chars()
    rows = rows.with_columns(pl.when(texts != "").then(texts).name.keep())
    blank = rows.select(pl.all_horizontal(pl.all().is_null())).to_series() if rows.height else pl.Series([True])
    if blank.all():
        held = f"a header ({', '.join(rows.columns)}) and no rows" if rows.columns else "no rows"
        raise ReleaseError(f"{file.name} has {held}; expected a row for each picture.", "Write the table again.")
    numbers = pl.int_range(first, rows.height + first, dtype=pl.Int64, eager=True)
    return rows.with_columns(pl.lit(file.name).alias(FILE), numbers.alias(ROW)).filter(~blank), notes


def _text(file: Folder, content: bytes, notes: list[str]) -> str:
    """The characters of a text file, with `\\n` at the end of lines; notes an encoding other than UTF-8."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8", "cp1252", "latin-1"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding in ("cp1252", "latin-1"):
            notes.append(f"{file.name} is not UTF-8 and was read as Latin-1 ({encoding}); check names with accents.")
        if not text.strip():
            raise ReleaseError(f"{file.name} is empty; {WANTED}.", "Write the table again, or name another file.")
        if "\0" in text:
            break
        return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ReleaseError(f"{file.name} is not a text file; {WANTED}.", "Save a spreadsheet as CSV (UTF-8).")


def _csv(file: Folder, text: str) -> pl.DataFrame:
    """Cells separated by commas, semicolons, tabs or bars (whichever is most frequent in the header), quoted or not."""
    header = re.sub(r'"[^"]*"', "", text.lstrip("\n").partition("\n")[0])
    separator = max(",;\t|", key=header.count)
    try:
        return pl.read_csv(text.encode(), separator=separator, infer_schema=False)
    except pl.exceptions.PolarsError:
        return _csv_with_oddities(file, text, separator)


def _csv_with_oddities(file: Folder, text: str, separator: str) -> pl.DataFrame:
    """Reads CSV that Polars refuses: stray quotation marks are kept; an error names the row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[list[str]] = []
    try:
        for cells in reader:
            rows.append(cells)
            here = [cell for cell in cells[len(rows[0]) :] if cell.strip()]
            if here:
                raise ReleaseError(
                    f"{file.name}, row {len(rows)} has {len(cells)} cells, expected {len(rows[0])} "
                    f"({', '.join(rows[0])}); '{here[0]}' has no column.",
                    f"Put cells that hold a '{separator}' in quotation marks.",
                )
    except csv.Error as error:
        raise ReleaseError(
            f"{file.name}, row {len(rows) + 1} is not a valid CSV row: {error}.", "Close or double its quotation marks."
        ) from error
    names = [f"{name}_{seen}" if seen else name for name, seen in _numbered(rows[0])]
    filled = [cells[: len(names)] + [""] * (len(names) - len(cells)) for cells in rows[1:]]
    return pl.DataFrame(filled, schema=dict.fromkeys(names, pl.Utf8), orient="row")


def _numbered(names: list[str]) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    numbered = []
    for name in names:
        numbered.append((name, seen[name]))
        seen[name] += 1
    return numbered


def _json_lines(file: Folder, text: str) -> pl.DataFrame:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            found = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ReleaseError(
                f"{file.name}, line {number} is not JSON: {error}.", "Write one object per line (JSON Lines)."
            ) from error
        if not isinstance(found, dict):
            raise ReleaseError(
                f"{file.name}, line {number} is not a JSON object; expected keys and values such as "
                '{"path": "1.jpg", "age": 34}.',
                "Write one object per line (JSON Lines).",
            )
        rows.append(
            {key: cell if isinstance(cell, str) or cell is None else json.dumps(cell) for key, cell in found.items()}
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.from_dicts(rows, schema=dict.fromkeys(names, pl.Utf8)) if names else pl.DataFrame()


def _parquet(file: Folder, content: bytes) -> pl.DataFrame:
    try:
        table = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ReleaseError(
            f"{file.name} is not a Parquet file: {str(error).splitlines()[0]}.", "Write it again."
        ) from error
    columns = []
    for column in table.iter_columns():
        nested = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
        if isinstance(nested.dtype, pl.List):
            columns.append(nested.cast(pl.List(pl.Utf8)).list.join(" "))
        elif not nested.dtype.is_nested() and nested.dtype not in (pl.Binary, pl.Object):
            columns.append(nested.cast(pl.Utf8))
    return pl.DataFrame(columns)
