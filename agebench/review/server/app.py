"""The server of the review page: pages, records as JSON, pictures by record id, and answers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agebench.errors import AgebenchError, ManifestBusy, UsageError
from agebench.manifest.record_view import RecordView
from agebench.review.decisions import AgeClass, Answer, Box, LineId, Note, composed
from agebench.review.server.audits import add_audits
from agebench.review.server.charts import age_chart
from agebench.review.server.given import PageAnswer, is_readable, seal_of
from agebench.review.server.guard import Guard, Pass
from agebench.review.server.pictures import Changed, Pictures
from agebench.review.server.session import ReviewSession
from agebench.review.server.snapshot import Filters

GRID = 30
RecordId = Annotated[int, Path(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$"), AfterValidator(composed)]
FaceNo = Annotated[int, Field(ge=-(2**15), le=2**15)]
By = Annotated[str, Query(max_length=100), AfterValidator(composed)]  # empty: no name given


class One(BaseModel):
    """An answer about one record. seal: as it came with the record; box: x, y, w, h in the picture's pixels; settles:
    ids of the answers shown with it, which it overrules; face_no: the face that was chosen in a
    grid."""

    model_config = ConfigDict(extra="forbid")

    record: Annotated[int, Field(ge=0, le=2**31 - 1)]
    seal: Annotated[str, Field(max_length=100)]
    answer: Answer
    age: AgeClass | None = None
    box: Box | None = None
    note: Note | None = None
    settles: Annotated[list[LineId], Field(max_length=100)] = []
    face_no: FaceNo | None = None


class Answering(BaseModel):
    """What a page sends: answers given in one go. grid: whether they come from the grid, as several always do."""

    model_config = ConfigDict(extra="forbid")

    by: Name
    answers: Annotated[list[One], Field(min_length=1, max_length=100)]
    grid: bool = False


class Undoing(BaseModel):
    """Whose latest answer is undone."""

    model_config = ConfigDict(extra="forbid")

    by: Name


def create_app(
    session: ReviewSession,
    pass_: Pass,
    *,
    hosts: Iterable[str],
    reviewer: str | None = None,
    curate: str = "agebench curate",
) -> ASGIApp:
    """The whole server as an ASGI application. hosts: allowed values of the header `Host`. reviewer: the name that the
    page proposes. curate: the command that applies the answers."""
    app = FastAPI(title="agebench review", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    pictures = Pictures(session)
    pages = Environment(
        loader=PackageLoader("agebench.review.server", "templates"), autoescape=select_autoescape(default=True),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    static = resources.files("agebench.review.server").joinpath("static")
    no_picture, other_picture = (static.joinpath(name).read_bytes() for name in ("none.svg", "changed.svg"))
    app.mount("/static", StaticFiles(directory=str(static)), name="static")

    def page(name: str, **values: Any) -> HTMLResponse:
        samples = session.readings.samples()
        about = {
            "dataset": session.manifest.name.removesuffix(".duckdb"),
            "csrf": pass_.csrf,
            "curate": curate,
            "reviewer": reviewer or "",
            "reviewers": session.reviewers.names,
            "samples": samples,
            "checks": session.snapshot.checks,
            "parts": session.snapshot.parts,
            "generation": _generation(session),
        }
        return HTMLResponse(pages.get_template(f"{name}.j2").render(**about, **values))

    def refusal(request: Request, status: int, kind: str, message: str, next_step: str | None = None) -> Response:
        """An error message: JSON for the page's own requests, else a page, which reloads itself if that can help."""
        if request.url.path.startswith(("/api/", "/picture/", "/static/")):
            return JSONResponse({"error": {"kind": kind, "message": message, "next": next_step}}, status)
        text = pages.get_template("refusal.html.j2").render(
            message=message, next_step=next_step, busy=kind == ManifestBusy.__name__
        )
        return HTMLResponse(text, status)

    @app.exception_handler(AgebenchError)
    def told(request: Request, error: AgebenchError) -> Response:
        status = 400 if isinstance(error, UsageError) else 409
        return refusal(request, status, type(error).__name__, error.message, error.next_step)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"] if isinstance(place, str | int))
        return refusal(request, 422, "Refused", f"{where}: {first['msg']}".encode(errors="replace").decode()[:300])

    @app.exception_handler(HTTPException)
    def missing(request: Request, error: HTTPException) -> Response:
        return refusal(request, error.status_code, "Refused", str(error.detail))

    @app.get("/")
    def review() -> HTMLResponse:
        return page("review.html")

    @app.get("/grid")
    def grid() -> HTMLResponse:
        return page("grid.html", most=GRID)

    @app.get("/overview")
    def overview_page() -> HTMLResponse:
        found, curated = session.overview()
        estimates = [(sample, session.readings.estimate(sample)) for sample in session.readings.samples()]
        agreed, counts = session.people()
        return page(
            "overview.html", found=found, curated=curated, chart=age_chart(found.ages), estimates=estimates,
            agreed=agreed, counts=counts.to_dicts(),
        )  # fmt: skip

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/api/queue")
    def queue(
        by: By = "",
        check: Annotated[str | None, Query(max_length=200)] = None,
        ages: Annotated[str | None, Query(pattern=r"^\d{1,2}-\d{1,2}$")] = None,
        part: Annotated[str | None, Query(max_length=1000)] = None,
        subject: Annotated[str | None, Query(max_length=200)] = None,
        after: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
        at: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 8,
        tiles: bool = False,
    ) -> JSONResponse:
        low, high = (int(age) for age in ages.split("-")) if ages else (0, 0)
        filters = Filters(check or None, (low, high) if ages else None, part or None, subject or None)
        ids, left, total = session.waiting(by, filters, after=after, at=at, limit=limit)
        more = {"tiles": as_json(session.tiles(ids))} if tiles else {}
        return JSONResponse({"records": ids, "left": left, "total": total, **more, **_state(session)})

    @app.get("/api/record/{record_id}")
    def record(record_id: RecordId) -> JSONResponse:
        settles = "reviewers_disagree" in session.reasons(record_id)
        independent = not settles and session.snapshot.asked_twice(record_id)
        found = session.view(record_id, independent=independent)
        if found is None:
            return _error(404, f"There is no record {record_id}.")
        open_ = settles or not session.reviewers.names  # otherwise second answers must be independent
        standing = session.answers.standing((found.part, found.path)) if open_ else []
        answers = [{name: getattr(d, name) for name in ("id", "by", "answer", "age", "at", "note")} for d in standing]
        more = {"independent": independent, "answers": answers, "settles": settles}
        return JSONResponse(as_json(_whole(found) | more))

    @app.get("/picture/{record_id}")
    def picture(
        record_id: RecordId,
        side: Annotated[int, Query(ge=32, le=2000)] = 1280,
        face: bool = False,
        face_no: FaceNo | None = None,
    ) -> Response:
        if session.name(record_id) is None:
            return _error(404, f"There is no record {record_id}.")
        try:
            data = pictures.jpeg(record_id, side, face=face, face_no=face_no)
        except Changed:
            return Response(other_picture, media_type="image/svg+xml")
        if data is None:
            return Response(no_picture, media_type="image/svg+xml")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    @app.post("/api/answer")
    def answer(sent: Answering) -> JSONResponse:
        given = [
            PageAnswer(
                one.record, one.answer, one.seal, one.age, one.box, one.note or None, tuple(one.settles), one.face_no
            )
            for one in sent.answers
        ]
        made = session.answer(given, by=sent.by, mode="grid" if sent.grid or len(given) > 1 else "page")
        return JSONResponse({"recorded": [decision.id for decision in made]})

    @app.post("/api/undo")
    def undo(sent: Undoing) -> JSONResponse:
        taken = session.undo(sent.by)
        if not taken:
            return JSONResponse({"undone": None})
        first = taken[0]
        what = {"answer": first.answer, "age": first.age, "part": first.part, "path": first.path}
        more = {"records": len(taken), "record_id": session.record_of(first.part, first.path)}
        return JSONResponse({"undone": what | more})

    add_audits(app, session, page, lambda: _state(session))
    return Guard(app, pass_=pass_, hosts=hosts)


def _state(session: ReviewSession) -> dict[str, Any]:
    return {"generation": _generation(session), "trouble": session.trouble, "notes": session.notes[-3:]}


def _generation(session: ReviewSession) -> str:
    """Changes when the records are judged again, but not when the server restarts."""
    return str(session.snapshot.queue.judged_at)


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"kind": "Refused", "message": message, "next": None}}, status)


def _beside(row: dict[str, Any]) -> dict[str, Any]:
    return {k: row[k] for k in ("record_id", "photo_year", "age", "suggested_age", "verdict")}


def _whole(view: RecordView) -> dict[str, Any]:
    facts = (
        "name", "gender", "photo_year", "dob", "width", "height", "face_chosen_by",
    )  # fmt: skip
    return {name: view.evidence.get(name) for name in facts} | {
        "id": view.record_id,
        "seal": seal_of(view.part, view.path, view.evidence["sha256"]),
        "automatic_face": view.evidence["face_no"],
        "part": view.part,
        "path": view.path,
        "age": view.age,
        "readable": is_readable(view),
        "claimed": view.evidence["age"],
        "verdict": view.verdict,
        "faces": view.faces,
        "reasons": view.reasons,
        "estimates": view.estimates,
        "relatives": [_beside(row) for row in view.relatives],
        "duplicates": [_beside(row) for row in view.duplicates],
        "decision": view.decision,
    }


def as_json(value: Any) -> Any:
    """Values of a manifest for JSON: NaN and infinity become null, dates become ISO strings."""
    if isinstance(value, dict):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)
