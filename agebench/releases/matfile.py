"""Reading MATLAB structs from releases: only version 5 files, only plain data, every fault a ReleaseError.

Nothing is ever unpickled: scipy reads MATLAB's own encoding, and only the variables that are asked for.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import scipy.io

from agebench.errors import ReleaseError

UNIX_EPOCH = 719529  # MATLAB's day number of 1970-01-01: Python's ordinal + 366
FIRST_DATE = 367  # 0001-01-01
LAST_DATE = 3652425  # 9999-12-31
FARTHEST_DAY = 10_000_000  # beyond it (27,000 years) a day number is garbage and gives no year


@dataclass(frozen=True)
class Struct:
    """One struct variable: its fields as arrays, each checked to hold `n` values when it is asked for."""

    path: Path
    variable: str
    fields: dict[str, np.ndarray]
    n: int

    def numbers(self, name: str) -> np.ndarray:
        """A numeric field as float64 (n,), NaN where unknown."""
        values = self._checked(name)
        if values.dtype.kind not in "biuf":
            raise self._wrong(name, f"numbers expected, found {_kind(values)}")
        return values.astype(np.float64)

    def texts(self, name: str) -> pl.Series:
        """A cell array of strings (n,): empty cells and cells of something else are NULL."""
        cells = self._checked(name)
        if cells.dtype.kind == "O":
            try:
                return pl.Series(name, [cell[0] if cell.size else None for cell in cells], dtype=pl.Utf8)
            except (TypeError, ValueError, IndexError, AttributeError):  # cells of something else among them
                texts = [_text(cell) for cell in cells]
        elif cells.dtype.kind == "U":
            texts = [_text(cell) for cell in cells]
        else:
            raise self._wrong(name, f"strings expected, found {_kind(cells)}")
        return pl.Series(name, texts, dtype=pl.Utf8)

    def boxes(self, name: str) -> np.ndarray:
        """A cell array of four numbers each as float64 (n, 4), NaN where a cell holds something else."""
        cells = self.fields[name]
        if cells.dtype.kind in "biuf" and cells.shape == (self.n, 4):
            return cells.astype(np.float64)
        cells = self._checked(name)
        if cells.dtype.kind != "O":
            raise self._wrong(name, f"cells of four numbers expected, found {_kind(cells)}")
        shapes = {cell.shape if isinstance(cell, np.ndarray) else None for cell in cells}
        if shapes == {(1, 4)}:
            flat = np.concatenate(cells.tolist())
            if flat.dtype.kind in "biuf":
                return flat.astype(np.float64)
        usual = [isinstance(c, np.ndarray) and c.size == 4 and c.dtype.kind in "biuf" for c in cells]
        rows = [
            np.ravel(c).astype(np.float64) if good else np.full(4, np.nan) for c, good in zip(cells, usual, strict=True)
        ]
        return np.stack(rows) if rows else np.empty((0, 4))

    def _checked(self, name: str) -> np.ndarray:
        values = self.fields[name].ravel()
        if len(values) != self.n:
            raise self._wrong(name, f"{self.n:,} values expected as in the other fields, found {len(values):,}")
        return values

    def _wrong(self, name: str, what: str) -> ReleaseError:
        return ReleaseError(
            f"{self.path}, field {self.variable}.{name}: {what}.", "The file is damaged or edited: get it anew."
        )


def read_struct(path: Path, variable: str, needed: tuple[str, ...], length_of: str) -> Struct:
    """The 1×1 struct `variable` of a `.mat`; it must hold the fields `needed`. `n` is the length of `length_of`.

    Raises ReleaseError for anything that is not such a file.
    """
    _check_header(path, variable)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy's remarks on odd variables of a file; what matters is checked here
            content = scipy.io.loadmat(path, variable_names=[variable], squeeze_me=False)
    except Exception as error:  # on damaged bytes scipy raises anything from KeyError to MemoryError
        raise ReleaseError(
            f"{path} cannot be read as a MATLAB file ({type(error).__name__}: {error}): a MATLAB 5 file with the "
            f"struct '{variable}' was expected, {path.stat().st_size:,} bytes were found.",
            "It is damaged or cut off: get it anew.",
        ) from error
    value = content.get(variable)
    if value is None:
        raise ReleaseError(
            f"{path} holds no variable '{variable}': {_variables(path)}.",
            "It is another file, or cut off: the release's own file is needed.",
        )
    if not isinstance(value, np.ndarray) or not value.dtype.names or value.size != 1:
        raise ReleaseError(
            f"{path}: '{variable}' is no 1×1 struct but {_kind(value)}.", "The release's own file is needed."
        )
    names = value.dtype.names
    missing = [name for name in needed if name not in names]
    if missing:
        raise ReleaseError(
            f"{path}: the struct '{variable}' lacks the field(s) {', '.join(missing)}; it has {', '.join(names)}.",
            "The release's own file is needed.",
        )
    row = value.ravel()[0]
    fields = {name: np.asarray(row[name]) for name in names}
    return Struct(path, variable, fields, fields[length_of].size)


def birth_years_and_months(days: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Years and months of MATLAB day numbers (n,), and which of them are known: three arrays (n,).

    Fractions of a day are dropped. The calendar is the Gregorian one, extended before its beginning, so that the day
    numbers 1 and 0 lie in the years 0 and -1.
    """
    known = np.isfinite(days) & (np.abs(np.nan_to_num(days)) < FARTHEST_DAY)
    dates = _dates(days, known)
    years = dates.astype("datetime64[Y]").astype(np.int64) + 1970
    months = dates.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return years, months, known


def birth_dates(days: np.ndarray) -> np.ndarray:
    """Dates (n,) of MATLAB day numbers; NaT where the number is no date between the years 1 and 9999."""
    floor = np.floor(days)
    known = np.isfinite(days) & (floor >= FIRST_DATE) & (floor <= LAST_DATE)
    dates = _dates(days, known)
    dates[~known] = np.datetime64("NaT")
    return dates


def _dates(days: np.ndarray, known: np.ndarray) -> np.ndarray:
    whole = np.floor(np.where(known, days, UNIX_EPOCH)).astype(np.int64)
    return (whole - UNIX_EPOCH).astype("datetime64[D]")


def _check_header(path: Path, variable: str) -> None:
    """Refuse what is no MATLAB 5 file by its first bytes, with the reason in words."""
    expected = f"a MATLAB 5 file with the struct '{variable}' was expected"
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise ReleaseError(f"{path} cannot be opened ({error.strerror}).", "Check its permissions.") from error
    if not head:
        raise ReleaseError(f"{path} is empty (zero bytes): {expected}.", "Get the file anew.")
    if head.startswith(b"\x89HDF") or head.startswith(b"MATLAB 7.3"):
        raise ReleaseError(
            f"{path} is a MATLAB 7.3 (HDF5) file: {expected}.",
            f"Use the file as published, or save it again in MATLAB: save('{path.name}', '-struct', …, '-v7').",
        )
    if len(head) < 132 or not any(head[:4]):
        raise ReleaseError(f"{path} is no MATLAB file, or cut off: {expected}.", "Get the file anew.")
    version = {b"IM": head[125], b"MI": head[124]}.get(head[126:128])
    if version != 1:
        raise ReleaseError(f"{path} is no MATLAB 5 file: {expected}, its header is of another kind.", "Get it anew.")


def _variables(path: Path) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = [str(name) for name, _, _ in scipy.io.whosmat(path)]
    except Exception:  # noqa: BLE001 - the file is damaged in any of many ways; the caller raises
        return "its variables cannot be listed"
    return "it holds " + (", ".join(f"'{name}'" for name in names) if names else "nothing")


def _text(cell: object) -> str | None:
    """The string in a cell; None for an empty cell and for anything else. Halves of UTF-16 pairs become `?`."""
    value = cell.ravel()[0] if isinstance(cell, np.ndarray) and cell.size == 1 else cell
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else None


def _kind(value: object) -> str:
    if isinstance(value, np.ndarray):
        kinds = {"O": "cells", "U": "text", "V": "a struct", "b": "logicals"}
        return f"{kinds.get(value.dtype.kind, 'numbers')} of shape {'×'.join(map(str, value.shape))}"
    return type(value).__name__
