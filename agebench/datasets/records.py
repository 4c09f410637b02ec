"""The table of records into which every release is read, and the errors that all layouts share."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from agebench.errors import ReleaseNotFound
from agebench.recipes import Card
from agebench.remote import Folder

SCHEMA: dict[str, Any] = {
    "part": pl.Utf8,
    "path": pl.Utf8,
    "subject_id": pl.Utf8,
    "name": pl.Utf8,
    "gender": pl.Utf8,
    "race": pl.Utf8,  # as the release says it, in its own categories
    "dob": pl.Date,
    "dob_day": pl.Int64,
    "photo_year": pl.Int32,
    "age": pl.Int32,
    "face_score": pl.Float64,
    "second_face_score": pl.Float64,
    "box_x": pl.Float64,
    "box_y": pl.Float64,
    "box_w": pl.Float64,
    "box_h": pl.Float64,
}


@dataclass(frozen=True)
class Release:
    """A release as read.

    records: one row per labelled picture, columns as in `SCHEMA`. folders: part → the folder that `path` is relative
    to. notes: sentences for the user (a missing part, file names that could not be parsed).
    """

    records: pl.DataFrame
    folders: dict[str, Folder]
    notes: list[str] = field(default_factory=list)


def as_records(part: str, columns: Mapping[str, Any]) -> pl.DataFrame:
    """Columns (sequences, arrays or Series of one length) as a table of records; missing columns are NULL.

    NaN becomes NULL, infinities stay.
    """
    n = len(columns["path"])
    series = []
    for name, kind in SCHEMA.items():
        given = pl.repeat(part, n, dtype=pl.Utf8, eager=True) if name == "part" else columns.get(name)
        if given is None:
            given = pl.repeat(None, n, dtype=kind, eager=True)
        series.append(pl.Series(name, given).cast(kind, strict=False))
    numbers = [name for name, kind in SCHEMA.items() if kind == pl.Float64]
    return pl.DataFrame(series).with_columns(pl.col(numbers).fill_nan(None))


def folded(names: pl.Series) -> pl.Series:
    """Names (n,) without case, accents and double spaces, so that spellings of one name match; blank names are NULL."""
    plain = [name if name is None or name.isascii() else _plain(name) for name in names.to_list()]
    text = pl.Series(plain, dtype=pl.Utf8).str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.select(pl.when(text != "").then(text)).to_series()


def _plain(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))


def not_found(card: Card, root: Folder, looked_for: str) -> ReleaseNotFound:
    """The error for a missing release: what was looked for, what was found, where to get the release."""
    fetch = f"`agebench fetch {card.name}` downloads it. " if card.download else f"{card.by_hand or ''} ".lstrip()
    return ReleaseNotFound(
        f"No {card.title} in {root}: looked for {looked_for}, {_found(root)}.",
        f"The release is available from {card.source} ({card.licence}). {fetch}Expected layout: {card.files} "
        f"Name its folder with `--root DIR`, or try `agebench demo` on a synthetic release.",
    )


def examples(names: pl.Series | list[str], most: int = 3) -> str:
    """The first few names, for a note."""
    shown = ", ".join(f"'{name}'" for name in list(names[:most]))
    return shown + (", …" if len(names) > most else "")


def _found(root: Folder) -> str:
    if not root.exists():
        return "the folder does not exist"
    if not root.is_dir():
        return "found a file, not a folder"
    try:
        entries: list[Folder] = [*root.iterdir()]
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in entries)
        links = sum(isinstance(entry, Path) and entry.is_symlink() for entry in entries)
    except OSError as error:
        return f"the folder cannot be read ({error.strerror})"
    if not names:
        return "the folder is empty"
    told = f"; {links} of them are links, which are not followed out of the folder: link the folder itself, or copy it"
    return f"found {len(names)} other entries ({examples(names, 5)}{told if links else ''})"
