"""The routes of an audit: first the face is shown alone, then the claim is shown and judged.

Until the reader has said how old the face looks, nothing is sent that gives the claimed age away: no age, no name, no
other photographs of the subject, and no path, which may contain a date of birth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agebench.errors import UsageError
from agebench.manifest.record_view import RecordView
from agebench.review import audit
from agebench.review.decisions import AgeClass, Answer, Looks, Note, Reading, composed
from agebench.review.server.given import PageReading, is_readable, seal_of
from agebench.review.server.readings import drawn
from agebench.review.server.session import ReviewSession

MOST = 1000  # readings listed in one reply
RecordId = Annotated[int, Field(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$"), AfterValidator(composed)]
Asks = Annotated[str, Query(max_length=100), AfterValidator(composed)]  # empty: no name given


class Step(BaseModel):
    """The reading and record that a step belongs to. seal: as it came with the record."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    record: RecordId
    seal: Annotated[str, Field(max_length=100)]
    reading: Reading


class Looking(Step):
    """The first step: how old the face looks, in years, or `cannot tell`."""

    looks: Looks


class Judging(Step):
    """The second step: whether the claimed age is right."""

    answer: Answer
    age: AgeClass | None = None
    note: Note | None = None


class TakingBack(BaseModel):
    """Whose latest judgement is undone."""

    model_config = ConfigDict(extra="forbid")

    by: Name


def add_audits(
    app: FastAPI, session: ReviewSession, page: Callable[..., HTMLResponse], state: Callable[[], dict[str, Any]]
) -> None:
    """Add the routes. page: renders a template; state: the session's state, which goes with every queue."""

    def opened(sample: audit.Sample, record_id: int, by: str, reading: int) -> dict[str, Any]:
        """A record, as far as the reader may see it in this reading."""
        found = session.view(record_id)
        if found is None:
            raise UsageError(f"There is no record {record_id}.", "Load the page again.")
        name = found.part, found.path
        claim = drawn(sample, *name)["age"]
        lines = session.lines()
        looks = audit.looked(lines, by, name, found.evidence["sha256"], reading)
        face = _face(found) | {"reading": reading, "looks": looks}
        if looks is None:
            return face
        blind = {(r["part"], r["path"]) for r in sample.records} - audit.estimated_by(lines, by)
        return face | _claim(found, claim, blind)

    @app.get("/audit/{n}-{seed}")
    def audit_page(n: int, seed: int) -> HTMLResponse:
        sample = session.readings.sample(n, seed)
        return page("audit.html", audit=sample, why=audit.describe_sample(sample))

    @app.get("/api/audit/{n}-{seed}")
    def audit_queue(n: int, seed: int, by: Asks = "") -> JSONResponse:
        sample = session.readings.sample(n, seed)
        rows = session.readings.to_read(sample, by)
        total = sum(r["readings"] for r in sample.records)
        waiting = [{"record": row["record_id"], "reading": row["reading"]} for row in rows[:MOST]]
        return JSONResponse({"waiting": waiting, "left": len(rows), "total": total, **state()})

    @app.get("/api/audit/{n}-{seed}/{record_id}")
    def audited(
        n: int,
        seed: int,
        record_id: Annotated[int, Path(ge=0, le=2**31 - 1)],
        reading: Annotated[int, Query(ge=1, le=2)] = 1,
        by: Asks = "",
    ) -> JSONResponse:
        return JSONResponse(opened(session.readings.sample(n, seed), record_id, by, reading))

    @app.post("/api/audit/{n}-{seed}/looks")
    def looks(n: int, seed: int, sent: Looking) -> JSONResponse:
        sample = session.readings.sample(n, seed)
        session.read_blind(PageReading(sent.record, sent.seal, sent.reading, sent.looks), by=sent.by, sample=sample)
        return JSONResponse(opened(sample, sent.record, sent.by, sent.reading))

    @app.post("/api/audit/{n}-{seed}/judge")
    def judge(n: int, seed: int, sent: Judging) -> JSONResponse:
        said = PageReading(sent.record, sent.seal, sent.reading, None, sent.answer, sent.age, sent.note or None)
        line = session.read_blind(said, by=sent.by, sample=session.readings.sample(n, seed))
        return JSONResponse({"recorded": [line.id]})

    @app.post("/api/audit/{n}-{seed}/undo")
    def take_back(n: int, seed: int, sent: TakingBack) -> JSONResponse:
        taken = session.undo(sent.by, sample=session.readings.sample(n, seed))
        if not taken:
            return JSONResponse({"undone": None})
        [line] = taken
        record = session.record_of(line.part, line.path)
        return JSONResponse(
            {"undone": {"answer": line.answer, "age": line.age, "record": record, "reading": line.reading}}
        )


def _face(view: RecordView) -> dict[str, Any]:
    """The picture and the place of the face: all that is sent before the first step."""
    return {
        "id": view.record_id,
        "seal": seal_of(view.part, view.path, view.evidence["sha256"]),
        "readable": is_readable(view),
        "width": view.evidence["width"],
        "height": view.evidence["height"],
        "faces": [{side: face[side] for side in "xywh"} for face in view.faces if face["meant"]],
    }


def _claim(view: RecordView, age: int, blind: set[tuple[str, str]]) -> dict[str, Any]:
    """What the second step adds. age: as drawn, although it may have changed since; blind: records of the sample that
    the reader has yet to estimate, so their ages must not be shown."""
    known = {name: view.evidence[name] for name in ("name", "gender", "photo_year")}
    others = [r for r in view.relatives if (r["part"], r["path"]) not in blind]
    relatives = [{k: r[k] for k in ("record_id", "photo_year", "age")} for r in others]
    return {"part": view.part, "path": view.path, "claimed": age, **known, "relatives": relatives}
