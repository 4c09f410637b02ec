"""Answers as they come from the page, and the record that was shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from agebench.errors import UsageError
from agebench.manifest.record_view import RecordView
from agebench.review.decisions import Answer, Box, Looks


@dataclass(frozen=True)
class PageAnswer:
    """An answer about one record. seal: of the record as it was shown (see `seal_of`); box: x, y, w, h in pixels;
    settles: ids of the answers shown with it, which it overrules; face_no: the face that was chosen in a grid."""

    record_id: int
    answer: Answer
    seal: str
    age: int | None = None
    box: Box | None = None
    note: str | None = None
    settles: tuple[str, ...] = ()
    face_no: int | None = None


@dataclass(frozen=True)
class PageReading:
    """One step of an audit reading: `looks`, or the judgement that follows. reading: which of the reader's own readings
    of the record it is; the other fields are as in `PageAnswer`."""

    record_id: int
    seal: str
    reading: int
    looks: Looks | None = None
    answer: Answer | None = None
    age: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class ShownRecord:
    """What a reviewer was shown of a record, as far as an answer needs it. claimed, suggested_age: years; error: why
    the picture cannot be read; width, height: of the picture, pixels; reasons: checks; faces: how many were found."""

    part: str
    path: str
    sha256: str | None
    claimed: int | None
    error: str | None
    width: int | None
    height: int | None
    suggested_age: float | None
    reasons: list[str]
    faces: int

    def facts(self, one: PageAnswer, mode: str) -> dict[str, Any]:
        """The record as `resolution.must_fit` takes it. In a grid, an answer must say which of several faces is
        meant."""
        unchosen = mode == "grid" and one.face_no is None and one.box is None
        names = ("part", "path", "claimed", "error", "width", "height")
        return {name: getattr(self, name) for name in names} | {"unchosen_faces": self.faces if unchosen else None}


def seal_of(part: str, path: str, sha256: str | None) -> str:
    """Identifies record and picture: an answer is refused if the record is another one now."""
    return hashlib.sha256("\0".join((part, path, sha256 or "")).encode(errors="surrogatepass")).hexdigest()[:16]


def is_readable(view: RecordView) -> bool:
    """Whether a record's picture can be read."""
    return view.evidence["sha256"] is not None and view.evidence.get("file_error") is None


def must_be_as_shown(record_id: int, seal: str, record: ShownRecord) -> None:
    """Raises UsageError if the record is no longer what was shown."""
    if seal_of(record.part, record.path, record.sha256) != seal:
        raise UsageError(
            f"Record {record_id} is not what was shown: the release was read again.",
            "Look at it again; nothing was recorded.",
        )
