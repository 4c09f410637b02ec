"""Reading the structs of MATLAB 5 files as in releases: fields of numbers, of strings, and of small matrices.

We have our own reader because a file of half a million records has millions of cells and may be damaged:
`scipy.io.loadmat` makes an array of every cell, allocates whatever a damaged length asks for, and was seen to crash the
process on single changed bytes. Here the cells of a field are found in one pass over their lengths and decoded
together, and every length is checked against the available bytes. Nothing is unpickled: only numbers and characters are
read.

The format is MathWorks' "MAT-File Format": an element is a tag (type, number of bytes) and data, padded to 8 bytes.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from agebench.errors import ReleaseError
from agebench.remote import Folder, read_whole

MATRIX, COMPRESSED = 14, 15  # element types
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
CHARACTERS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
CELL, STRUCT, CHAR = 1, 2, 4  # classes of matrices
NUMERIC = range(6, 16)
KINDS = {CELL: "cells", STRUCT: "a struct", 3: "an object", CHAR: "text", 5: "a sparse matrix"}
LARGEST = 1 << 31  # bytes of a variable; the largest published one has a tenth of this


class Damaged(ValueError):
    """The bytes are not MATLAB 5 data; the message says where."""


@dataclass(frozen=True)
class Tag:
    """An element: its type, and the position of its data in bytes."""

    kind: int
    start: int
    size: int
    after: int  # where the next element begins


@dataclass(frozen=True)
class Matrix:
    """A matrix element: its class, shape and name, and the position of its contents in bytes."""

    kind: int
    shape: tuple[int, ...]
    name: str
    start: int
    end: int

    def __str__(self) -> str:
        what = KINDS.get(self.kind, "numbers" if self.kind in NUMERIC else "something unknown")
        return f"{what} of shape {'×'.join(map(str, self.shape))}"


@dataclass(frozen=True)
class Bytes:
    """Bytes of a file, readable as elements. All offsets are checked against `len(raw)`."""

    raw: bytes

    def word(self, at: int) -> int:
        if at < 0 or at + 4 > len(self.raw):
            raise Damaged(f"the data end at byte {len(self.raw):,}, but more were expected")
        return int.from_bytes(self.raw[at : at + 4], "little")

    def tag(self, at: int, end: int) -> Tag:
        """The element at `at`, which must lie before `end`."""
        first = self.word(at)
        if first >> 16:  # up to four bytes of data lie inside the tag itself
            found = Tag(first & 0xFFFF, at + 4, first >> 16, at + 8)
            whole = found.size <= 4
        else:
            size = self.word(at + 4)
            padding = 0 if first == COMPRESSED else -size % 8
            found = Tag(first, at + 8, size, at + 8 + size + padding)
            whole = True
        if not whole or found.start + found.size > min(end, len(self.raw)):
            raise Damaged(f"the element at byte {at:,} is longer ({found.size:,} bytes) than the available data")
        return found

    def matrix(self, at: int, end: int) -> Matrix:
        """The matrix element at `at`. An element without bytes is an empty matrix."""
        tag = self.tag(at, end)
        if tag.kind != MATRIX:
            raise Damaged(f"expected a matrix at byte {at:,}, found an element of type {tag.kind}")
        stop = tag.start + tag.size
        if tag.size == 0:
            return Matrix(NUMERIC[0], (0, 0), "", tag.start, stop)
        flags = self.tag(tag.start, stop)
        shape = self.tag(flags.after, stop)
        name = self.tag(shape.after, stop)
        if flags.size != 8 or shape.size % 4 or not 8 <= shape.size <= 128:
            raise Damaged(f"the matrix at byte {at:,} has no valid header")
        sizes = tuple(self.word(shape.start + 4 * i) for i in range(shape.size // 4))
        label = self.raw[name.start : name.start + name.size].decode("latin-1")
        return Matrix(self.word(flags.start) & 0xFF, sizes, label, name.after, stop)

    def numbers(self, matrix: Matrix) -> np.ndarray:
        """The numbers of a numeric matrix, flat, as float64; the real parts of complex numbers."""
        count = math.prod(matrix.shape)
        if count == 0:
            return np.empty(0)
        tag = self.tag(matrix.start, matrix.end)
        kind = NUMBERS.get(tag.kind)
        if kind is None or np.dtype(kind).itemsize * count != tag.size:
            raise Damaged(f"the numbers at byte {tag.start:,} do not match the shape {matrix.shape}")
        return np.frombuffer(self.raw, "<" + kind, count, tag.start).astype(np.float64)

    def text(self, matrix: Matrix) -> str | None:
        """The text of a matrix of characters; None if it is empty or another kind of matrix."""
        if matrix.kind != CHAR or math.prod(matrix.shape) == 0:
            return None
        tag = self.tag(matrix.start, matrix.end)
        codec = CHARACTERS.get(tag.kind)
        if codec is None:
            raise Damaged(f"the text at byte {tag.start:,} has an unknown encoding ({tag.kind})")
        return self.raw[tag.start : tag.start + tag.size].decode(codec, "replace")

    def cells(self, matrix: Matrix) -> Cells:
        """The positions of the cells of a cell array, found in one pass over their lengths."""
        words = np.frombuffer(self.raw, "<u4", len(self.raw) // 4)
        view = words.data
        at, end = matrix.start // 4, matrix.end // 4
        found = []
        while at + 1 < end:
            if view[at] != MATRIX:
                raise Damaged(f"expected a cell at byte {4 * at:,}, found an element of type {view[at]}")
            found.append(at)
            at += 2 + (view[at + 1] + 7 >> 3 << 1)
        if at != end or len(found) != math.prod(matrix.shape):
            raise Damaged(f"the cells at byte {matrix.start:,} do not match the shape {matrix.shape}")
        return Cells(self, words, np.array(found, dtype=np.int64), end)


class Cells:
    """The cells of one cell array (n,), decoded together.

    `kind`, `size`, `start` are the type, number of bytes and position of each cell's data. They are found at once for
    all cells with the usual header (two dimensions, no name), and one by one for the others.
    """

    def __init__(self, source: Bytes, words: np.ndarray, at: np.ndarray, end: int) -> None:
        self.source, n = source, len(at)
        self.kind, self.size, self.start = (np.zeros(n, dtype=np.int64) for _ in range(3))
        self.classes = np.zeros(n, dtype=np.int64)
        if n == 0:
            return
        bytes_in = words[at + 1].astype(np.int64)
        head = words[np.minimum(at[:, None] + np.arange(2, 14), len(words) - 1)]
        usual = (bytes_in >= 48) & np.all(head[:, [0, 1, 4, 5, 8, 9]] == [6, 8, 5, 8, 1, 0], axis=1)
        first = head[:, 10].astype(np.int64)
        small = first >> 16 > 0
        self.kind[usual] = np.where(small, first & 0xFFFF, first)[usual]
        self.size[usual] = np.where(small, first >> 16, head[:, 11])[usual]
        self.start[usual] = (4 * at + np.where(small, 52, 56))[usual]
        self.classes[usual] = head[usual, 2] & 0xFF
        if np.any(usual & ((self.start + self.size > 4 * at + 8 + bytes_in) | (small & (self.size > 4)))):
            raise Damaged("a cell's data are longer than the cell")
        for i in np.flatnonzero(~usual & (bytes_in > 0)):
            matrix = source.matrix(4 * int(at[i]), 4 * end)
            if (matrix.kind == CHAR or matrix.kind in NUMERIC) and matrix.end > matrix.start and 0 not in matrix.shape:
                tag = source.tag(matrix.start, matrix.end)
                self.kind[i], self.size[i], self.start[i] = tag.kind, tag.size, tag.start
                self.classes[i] = matrix.kind

    def texts(self) -> list[str | None]:
        """Each cell's text; None if it is empty or something else."""
        raw = self.source.raw
        out: list[str | None] = [None] * len(self.kind)
        is_text = (self.classes == CHAR) & (self.size > 0)
        for kind in np.unique(self.kind[is_text]).tolist():
            if kind not in CHARACTERS:
                raise Damaged(f"text with an unknown encoding ({kind})")
            codec = CHARACTERS[kind]
            rows = np.flatnonzero(is_text & (self.kind == kind))
            ends = (self.start + self.size)[rows].tolist()
            for i, a, b in zip(rows.tolist(), self.start[rows].tolist(), ends, strict=True):
                out[i] = raw[a:b].decode(codec, "replace")
        return out

    def rows(self, width: int) -> np.ndarray:
        """Each cell's numbers as float64 (n, width); NaN if a cell has another number of them or something else."""
        raw = np.frombuffer(self.source.raw, np.uint8)
        out = np.full((len(self.kind), width), np.nan)
        for kind, code in NUMBERS.items():
            dtype = np.dtype("<" + code)
            length = width * dtype.itemsize
            fits = (self.kind == kind) & (self.size == length) & np.isin(self.classes, NUMERIC)
            if fits.any():
                picked = raw[self.start[fits][:, None] + np.arange(length)]
                out[fits] = np.ascontiguousarray(picked).view(dtype)
        return out


@dataclass(frozen=True)
class Struct:
    """A 1×1 struct variable. Each field is checked to have `n` values when it is read."""

    path: Folder
    variable: str
    source: Bytes
    fields: dict[str, Matrix]
    n: int

    def numbers(self, name: str) -> np.ndarray:
        """A numeric field as float64 (n,), NaN if unknown."""
        matrix = self._checked(name)
        if matrix.kind not in NUMERIC:
            raise self._wrong(name, f"expected numbers, found {matrix}")
        try:
            return self.source.numbers(matrix)
        except Damaged as error:
            raise self._wrong(name, str(error)) from error

    def texts(self, name: str) -> pl.Series:
        """A cell array of strings (n,): empty cells and cells of something else are NULL."""
        matrix = self._checked(name)
        if matrix.kind != CELL:
            raise self._wrong(name, f"expected strings, found {matrix}")
        try:
            return pl.Series(name, self.source.cells(matrix).texts(), dtype=pl.Utf8)
        except Damaged as error:
            raise self._wrong(name, str(error)) from error

    def rows(self, name: str, width: int) -> np.ndarray:
        """A cell array of small numeric matrices as float64 (n, width), NaN if a cell holds something else."""
        matrix = self._checked(name)
        if matrix.kind != CELL:
            raise self._wrong(name, f"expected cells of {width} numbers, found {matrix}")
        try:
            return self.source.cells(matrix).rows(width)
        except Damaged as error:
            raise self._wrong(name, str(error)) from error

    def _checked(self, name: str) -> Matrix:
        matrix = self.fields[name]
        count = math.prod(matrix.shape)
        if count != self.n:
            raise self._wrong(name, f"expected {self.n:,} values as in the other fields, found {count:,}")
        return matrix

    def _wrong(self, name: str, what: str) -> ReleaseError:
        return ReleaseError(
            f"{self.path}, field {self.variable}.{name}: {what}.", "The file is damaged or edited: download it again."
        )


def read_struct(path: Folder, variable: str, needed: tuple[str, ...], length_of: str) -> Struct:
    """The 1×1 struct `variable` of a `.mat`; it must have the fields `needed`. `n` is the length of `length_of`.

    Raises ReleaseError for anything that is not such a file.
    """
    try:
        content = read_whole(path)
    except OSError as error:
        raise ReleaseError(
            f"{path} cannot be read: {error.strerror or error}.", "The release's own file is needed."
        ) from error
    _check_header(content[:128], path, variable)
    others = []
    try:
        for source, matrix in _variables(Bytes(content)):
            if matrix.name == variable:
                return _struct(path, source, matrix, needed, length_of)
            others.append(matrix.name)
    except (Damaged, zlib.error) as error:
        raise ReleaseError(
            f"{path} is damaged or cut off: {error}; expected a MATLAB 5 file with the struct '{variable}', "
            f"found {len(content):,} bytes.",
            "Download the file again.",
        ) from error
    holds = ", ".join(f"'{name}'" for name in others) if others else "nothing"
    raise ReleaseError(
        f"{path} has no variable '{variable}': it has {holds}.",
        "It is a different file, or cut off: use the release's own file.",
    )


def _struct(path: Folder, source: Bytes, matrix: Matrix, needed: tuple[str, ...], length_of: str) -> Struct:
    if matrix.kind != STRUCT or math.prod(matrix.shape) != 1:
        raise ReleaseError(f"{path}: '{matrix.name}' is not a 1×1 struct but {matrix}.", "Use the release's own file.")
    width_tag = source.tag(matrix.start, matrix.end)
    names_tag = source.tag(width_tag.after, matrix.end)
    width = source.word(width_tag.start) if width_tag.size == 4 else 0
    if not 0 < width <= 1024 or names_tag.size % width:
        raise Damaged(f"the field names at byte {names_tag.start:,} are broken")
    fields: dict[str, Matrix] = {}
    at = names_tag.after
    for begin in range(names_tag.start, names_tag.start + names_tag.size, width):
        name = source.raw[begin : begin + width].split(b"\0")[0].decode("latin-1")
        fields[name] = source.matrix(at, matrix.end)
        at = source.tag(at, matrix.end).after
    missing = [name for name in dict.fromkeys((*needed, length_of)) if name not in fields]
    if missing:
        raise ReleaseError(
            f"{path}: the struct '{matrix.name}' lacks the field(s) {', '.join(missing)}; it has {', '.join(fields)}.",
            "Use the release's own file.",
        )
    return Struct(path, matrix.name, source, fields, math.prod(fields[length_of].shape))


def _variables(file: Bytes) -> Iterator[tuple[Bytes, Matrix]]:
    """The variables of a file, each with the bytes that contain it."""
    at, end = 128, len(file.raw)
    while at < end:
        tag = file.tag(at, end)
        whole = file.raw[at : tag.start + tag.size]
        if tag.kind == COMPRESSED:
            whole = _inflated(whole[8:])
        source = Bytes(whole)
        yield source, source.matrix(0, len(whole))
        at = tag.after


def _inflated(packed: bytes) -> bytes:
    size = 8 + Bytes(zlib.decompressobj().decompress(packed, 8)).word(4)
    if size > LARGEST:
        raise Damaged(f"a compressed variable would take {size:,} bytes")
    unpacker = zlib.decompressobj()
    whole = unpacker.decompress(packed, size + 64)
    if len(whole) < size or not unpacker.eof:
        raise Damaged(f"a compressed variable of {size:,} bytes does not end where it should")
    return whole


def _check_header(head: bytes, path: Folder, variable: str) -> None:
    """Refuse a file that is not a MATLAB 5 file, judged by its first 128 bytes, with the reason in words."""
    expected = f"expected a MATLAB 5 file with the struct '{variable}'"
    if not head:
        raise ReleaseError(f"{path} is empty (zero bytes): {expected}.", "Download the file again.")
    mark = head[126:128]
    version = head[125] if mark == b"IM" else head[124] if mark == b"MI" else 0
    if head.startswith((b"\x89HDF", b"MATLAB 7.3")) or version == 2:
        raise ReleaseError(
            f"{path} is a MATLAB 7.3 (HDF5) file: {expected}.",
            "Use the file as published, or save it again in MATLAB with the option '-v7'.",
        )
    if version != 1:
        raise ReleaseError(f"{path} is not a MATLAB 5 file, or is cut off: {expected}.", "Download the file again.")
    if mark == b"MI":
        raise ReleaseError(
            f"{path} is a big-endian MATLAB file: {expected}, little-endian.", "Save it again in MATLAB."
        )
