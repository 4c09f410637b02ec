"""The decisions file: people's answers, one JSON object per line, append-only, on disk before they are acknowledged.

Lines are never changed: an answer is undone by another line. What counts is computed from all lines together, so
neither their order nor the order in which files were merged matters.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import secrets
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

from agebench.errors import DecisionError, StorageError
from agebench.files import LABELS, must_be_regular

Kind = Literal["decision", "audit", "estimate", "undo"]
Answer = Literal["keep", "reject", "wrong", "age", "face"]
# Answers allowed in each kind of line. An estimate, made before the claim is shown, only has `looks`.
ANSWERS: dict[Kind, tuple[Answer, ...]] = {
    "decision": ("keep", "reject", "age", "face"),
    "audit": ("keep", "wrong", "age"),
    "estimate": (),
    "undo": (),
}
CANNOT_TELL: Literal["cannot tell"] = "cannot tell"
TAIL = 1 << 16  # bytes read to find the last line


def composed(name: str) -> str:
    """The name with composed accents (NFC), so that it is the same whichever keyboard typed it."""
    return unicodedata.normalize("NFC", name)


def _class(age: int) -> int:
    if not 0 <= age <= 99:
        raise ValueError(f"{age} is not an age class; ages are whole years from 0 to 99")
    return age


def _numbers(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    try:
        return tuple(float(v) if type(v) is int else v for v in value)
    except OverflowError as error:  # an integer of hundreds of digits
        raise ValueError("a box is x, y, w, h in pixels") from error


def _on_a_plane(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if not (all(map(math.isfinite, box)) and max(map(abs, box)) < 1e6 and min(box[2:]) > 0):
        raise ValueError("a box is x, y, w, h in pixels, w and h above 0")
    return box


# Values in an answer, wherever it comes from: a file, the page, the terminal, another tool.
AgeClass = Annotated[int, AfterValidator(_class)]
Box = Annotated[tuple[float, float, float, float], BeforeValidator(_numbers), AfterValidator(_on_a_plane)]
Note = Annotated[str, Field(max_length=10_000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
LineId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
Reading = Annotated[int, Field(ge=1, le=2)]
Looks = AgeClass | Literal["cannot tell"]


class Decision(BaseModel):
    """One line. `at`: ISO 8601, UTC, microseconds, ending in Z. `box`: x, y, w, h in pixels of the upright picture.

    sha256: of the picture that was shown; None if it could not be read. The answer `face` means: keep the record, and
    `box` is its face. claimed: the claimed age as it was shown, years (in an audit: as it was drawn); None if none was
    shown. settles: ids of the answers that this one overrules. batch: shared by answers that were given together and
    are undone together. undoes: the id of the line that an undo undoes. shown: what else the reviewer saw; nothing is
    computed from it.

    An audit reading is two lines with the same `reading` (1 or 2: which of the reviewer's own readings of the record):
    first an `estimate` with `looks`, written before the claim is shown; then an `audit` with the answer, and `looks`
    again.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: LineId
    at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
    by: Annotated[
        str,
        Field(pattern=r"^[^\s\x00-\x1f\x7f-\x9f]([^\x00-\x1f\x7f-\x9f]{0,98}[^\s\x00-\x1f\x7f-\x9f])?$"),
        AfterValidator(composed),
    ]
    kind: Kind
    part: Annotated[str, Field(min_length=1, max_length=1000)]
    path: Annotated[str, Field(min_length=1, max_length=5000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    answer: Answer | None = None
    age: AgeClass | None = None
    box: Box | None = None
    note: Note | None = None
    claimed: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    looks: Looks | None = None
    reading: Reading | None = None
    settles: tuple[LineId, ...] = ()
    batch: LineId | None = None
    shown: dict[str, Any] | None = None
    undoes: LineId | None = None

    @field_validator("at")
    @classmethod
    def a_moment(cls, value: str) -> str:
        datetime.fromisoformat(value)
        return value

    @field_validator("settles", mode="before")
    @classmethod
    def several(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def fits_together(self) -> Decision:
        allowed = ANSWERS[self.kind]
        if self.answer not in (allowed or (None,)):
            expected = " or ".join(f"`{answer}`" for answer in allowed) or "none"
            raise ValueError(f"the answer of a line of kind `{self.kind}` is {expected}")
        if (self.undoes is not None) != (self.kind == "undo"):
            raise ValueError("`undoes` belongs to lines of kind `undo`, and to no others")
        if (self.answer == "age") != (self.age is not None):
            raise ValueError("`age` belongs to the answer `age`, and to no other")
        if self.answer == "face" and self.box is None:
            raise ValueError("the answer `face` needs a `box`")
        if self.box is not None and (self.kind != "decision" or self.answer == "reject"):
            raise ValueError("a `box` belongs to an answer that keeps the record")
        for name in ("looks", "reading"):
            if (getattr(self, name) is not None) != (self.kind in ("audit", "estimate")):
                raise ValueError(f"`{name}` belongs to lines of kind `estimate` and `audit`, and to no others")
        if self.kind == "estimate" and self.claimed is not None:
            raise ValueError("an estimate is made before the claimed age is shown, so it has no `claimed`")
        if self.settles and self.kind != "decision":
            raise ValueError("`settles` belongs to lines of kind `decision`, and to no others")
        return self

    @property
    def order(self) -> tuple[str, str]:
        """The sort key of time: a reviewer's latest `(at, id)` counts."""
        return self.at, self.id

    def line(self) -> bytes:
        """The line as it is written, with its line break: all keys, in one order, so that equal answers are equal
        bytes."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode()


def new_decision(*, after: Decision | None = None, **values: Any) -> Decision:
    """A Decision made now, with a new id. Raises DecisionError, naming the key, if values do not fit, or if the
    reviewer's name has a `;`, which joins names.

    after: the answer that it replaces; the new one is later even if the clock was set back.
    """
    now = datetime.now(UTC)
    if after is not None:
        now = max(now, datetime.fromisoformat(after.at) + timedelta(microseconds=1))
    at = now.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
    if ";" in str(values.get("by")):
        raise DecisionError("This is not a valid answer: by: a reviewer's name must not contain `;`.")
    try:
        return Decision(**{"id": new_id(), "at": at} | values)
    except ValidationError as error:
        raise DecisionError(f"This is not a valid answer: {_first_mistake(error)}.") from error


_last_id = 0


def new_id() -> str:
    """A UUID of version 7: unique; ids sort in the order in which they were made (to a quarter of a microsecond)."""
    global _last_id
    now = max(time.time_ns(), _last_id + 256)
    _last_id = now
    milli, rest = divmod(now, 1_000_000)
    fraction = (rest << 12) // 1_000_000
    digits = f"{milli & (1 << 48) - 1:012x}7{fraction:03x}{8 + secrets.randbelow(4):x}{secrets.token_hex(8)[:15]}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def decisions_file(manifest: Path) -> Path:
    """The decisions file of a manifest: `X.decisions.jsonl` beside `X.duckdb`."""
    return beside(manifest, "decisions.jsonl")


def beside(manifest: Path, what: str) -> Path:
    """A file that belongs to a manifest: `X.what` beside `X.duckdb`, and `X-what` beside a manifest `X` with another
    suffix, so that no two manifests share it."""
    stem = manifest.name.removesuffix(".duckdb")
    return manifest.with_name(f"{stem}{'-' if stem == manifest.name else '.'}{what}")


# --- the file ---------------------------------------------------------------------------------------------------
def append(path: Path, *decisions: Decision) -> list[str]:
    """Append answers to the file; they are on disk when this returns. Several processes may append at once.

    Returns notes about what was repaired. Raises StorageError if the file cannot be written; then none of these answers
    is in it.
    """
    data = b"".join(decision.line() for decision in decisions)
    with _writing(path):
        is_new = not path.exists()
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as handle:
            notes = _repair(path, handle)
            size = os.fstat(handle).st_size
            try:
                written = os.write(handle, data)
                if written != len(data):
                    raise OSError(f"only {written} of {len(data)} bytes could be written")
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, size)  # an answer that is not acknowledged must not be in the file
                raise
        if is_new:
            _sync_folder(path.parent)
    return notes


def read(path: Path) -> tuple[list[Decision], list[str]]:
    """All answers of a file, in its order (none if there is no file), and notes about what was repaired.

    An incomplete last line is moved to `<file>.torn`. Raises DecisionError, naming file, line and key, for any other
    damage and for one id with two contents; then nothing is changed.
    """
    data, notes = read_bytes(path)
    return parse(data, str(path)), notes


def read_bytes(path: Path, *, repair: bool = True) -> tuple[bytes, list[str]]:
    """The complete lines of a file as they are, and notes about what was repaired (without `repair`: left out)."""
    if not path.exists():
        return b"", []
    try:
        with _locked(path, os.O_RDONLY) as handle:
            data = _all_of(handle)
    except OSError as error:
        raise DecisionError(
            f"{path} cannot be read: {error.strerror or error}.", "Repair it, or move it away; nothing was changed."
        ) from error
    keep = _whole(data)
    if keep == len(data):
        return data, []
    if keep == -1:
        return data + b"\n", []  # only the line break is missing
    left_out = f"{path}: the last line was cut off ({len(data) - keep} bytes) and is left out."
    if not repair:
        return data[:keep], [left_out]
    try:
        with _locked(path, os.O_RDWR) as handle:
            notes = _repair(path, handle)
            return _all_of(handle), notes
    except OSError:  # the file is read-only
        return data[:keep], [left_out]


def parse(data: bytes, name: str) -> list[Decision]:
    """The answers in the lines of a file. Raises DecisionError with `name`, line and key."""
    lines = data.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    found: list[Decision] = []
    contents: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        try:
            decision = Decision.model_validate_json(line)
        except ValidationError as error:
            raise DecisionError(
                f"{name}, line {number}: {_first_mistake(error)}.", "Repair that line; nothing was changed."
            ) from error
        if decision.id in contents:
            if Decision.model_validate_json(contents[decision.id]) != decision:
                raise DecisionError(
                    f"{name}, line {number}, id: {decision.id} occurs twice, with different contents.",
                    "Remove the wrong one; nothing was changed.",
                )
            continue
        contents[decision.id] = line
        found.append(decision)
    return found


def merge(mine: Iterable[Decision], theirs: Iterable[Decision]) -> list[Decision]:
    """All answers of both, each once, sorted by `(at, id)`: the same whichever comes first.

    Raises DecisionError if one id has two contents.
    """
    by_id: dict[str, Decision] = {}
    for decision in (*mine, *theirs):
        if by_id.setdefault(decision.id, decision) != decision:
            raise DecisionError(
                f"The line {decision.id} (about {decision.part} {decision.path}) differs between the two files.",
                "One of them was edited by hand; nothing was changed.",
            )
    return sorted(by_id.values(), key=lambda decision: decision.order)


def write_merged(path: Path, theirs: Sequence[Decision]) -> tuple[list[Decision], int, list[str]]:
    """Merge answers into a file; returns all answers, how many are new, and notes about what was repaired.

    The file is replaced as a whole, and only if something is new. Raises DecisionError, StorageError.
    """
    path = path.resolve()  # a link to a file under version control stays a link
    with _writing(path):
        is_new = not path.exists()
        with _locked(path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as handle:
            notes = _repair(path, handle)
            mine = parse(_all_of(handle), str(path))
            merged = merge(mine, theirs)
            added = len(merged) - len(mine)
            if added:
                new = path.with_name(path.name + ".new")
                with new.open("wb") as sink:
                    os.fchmod(sink.fileno(), os.fstat(handle).st_mode & 0o777)
                    sink.write(b"".join(decision.line() for decision in merged))
                    sink.flush()
                    os.fsync(sink.fileno())
                new.replace(path)
        if added or is_new:
            _sync_folder(path.parent)
    return merged, added, notes


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    """The file, open and locked: shared for reading, else exclusively; the one that has this name at that moment."""
    how = fcntl.LOCK_SH if flags == os.O_RDONLY else fcntl.LOCK_EX
    while True:
        handle = os.open(
            path, flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o644
        )  # do not wait for a pipe; it is refused below
        try:
            must_be_regular(handle, LABELS)
            fcntl.flock(handle, how)
            try:
                now = path.stat()
            except FileNotFoundError:
                now = None
            if now is not None and os.path.samestat(os.fstat(handle), now):
                yield handle
                return
        finally:
            os.close(handle)
        if now is None and not flags & os.O_CREAT:
            raise FileNotFoundError(path)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        if isinstance(error, DecisionError):
            raise
        raise StorageError(
            f"Cannot write {path}: {error.strerror or error}.", "The answer is not recorded: fix that and answer again."
        ) from error


def _all_of(handle: int) -> bytes:
    with os.fdopen(os.dup(handle), "rb") as source:
        source.seek(0)
        return source.read()


def _whole(data: bytes) -> int:
    """How many bytes from the start are complete lines; -1 if only the last line break is missing."""
    if not data:
        return 0
    if data.endswith(b"\n"):
        start = data.rfind(b"\n", 0, len(data) - 1) + 1
        return len(data) if _is_json(data[start:]) else start
    start = data.rfind(b"\n") + 1
    return -1 if _is_json(data[start:]) else start


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(from_json(line), dict)
    except ValueError:
        return False


def _repair(path: Path, handle: int) -> list[str]:
    """Move an incomplete last line, as left by a power cut, to `<file>.torn`. handle: locked, to read and write."""
    size = os.fstat(handle).st_size
    reach = min(size, TAIL)
    while True:
        tail = os.pread(handle, reach, size - reach)
        if reach == size or b"\n" in tail[:-1]:
            break
        reach = min(size, reach * 16)
    keep = _whole(tail)
    if keep == len(tail):
        return []
    if keep == -1:
        os.pwrite(handle, b"\n", size) if not fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_APPEND else os.write(
            handle, b"\n"
        )
        os.fsync(handle)
        return []
    aside = path.with_name(path.name + ".torn")
    with aside.open("ab") as sink:
        sink.write(tail[keep:].removesuffix(b"\n") + b"\n")
        sink.flush()
        os.fsync(sink.fileno())
    _sync_folder(path.parent)
    os.ftruncate(handle, size - len(tail) + keep)
    os.fsync(handle)
    return [f"{path}: the last line was cut off ({len(tail) - keep} bytes) and was moved to {aside.name}."]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_mistake(error: ValidationError) -> str:
    """The first mistake as `key: what`."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(place) for place in first["loc"])
    text = first["msg"].removeprefix("Value error, ")
    return f"{key}: {text}" if key else text
