"""An answer as it comes from the page, and whether it fits the record as it was shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from agebench.errors import UsageError
from agebench.manifest.record_view import RecordView
from agebench.review.decisions import Answer, Box


@dataclass(frozen=True)
class PageAnswer:
    """An answer about one record. seal: of the record as it was shown (see `seal_of`); box: x, y, w, h in pixels;
    settles: ids of the answers that were shown with it, which it decides against; reading: of an audit, which of the
    reviewer's own readings of the record it is (None: the next one)."""

    record_id: int
    answer: Answer
    seal: str
    age: int | None = None
    box: Box | None = None
    note: str | None = None
    settles: tuple[str, ...] = ()
    reading: int | None = None


@dataclass(frozen=True)
class ShownRecord:
    """What a reviewer saw of a record, as far as an answer needs it. claimed, suggested_age: years; reasons: checks."""

    part: str
    path: str
    sha256: str | None
    claimed: int | None
    readable: bool
    suggested_age: float | None
    reasons: list[str]


def seal_of(part: str, path: str, sha256: str | None) -> str:
    """What an answer says it is about: it is refused where the number now belongs to another record or picture."""
    return hashlib.sha256("\0".join((part, path, sha256 or "")).encode(errors="surrogatepass")).hexdigest()[:16]


def is_readable(view: RecordView) -> bool:
    """Whether a record's picture can be read."""
    return view.evidence["sha256"] is not None and view.evidence.get("file_error") is None


def must_be_as_shown(one: PageAnswer, record: ShownRecord) -> None:
    """Raises UsageError where an answer is not about the record as it was shown."""
    if seal_of(record.part, record.path, record.sha256) != one.seal:
        raise UsageError(
            f"Record {one.record_id} is not what was shown: the records were read again.",
            "Look at it as it is now; nothing was recorded.",
        )
