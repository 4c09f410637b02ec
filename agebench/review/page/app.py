"""The server of the review page: pages, records as JSON, pictures by record id, answers."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader, select_autoescape
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from agebench.errors import AgebenchError, UsageError
from agebench.manifest import open_manifest
from agebench.manifest.looking import Look, overview
from agebench.review import audit
from agebench.review.page.charts import age_bars
from agebench.review.page.desk import Desk, Filters, as_json
from agebench.review.page.guard import Guard, Pass
from agebench.review.page.pictures import Pictures

GRID = 30
RecordId = Annotated[int, Path(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^\S(.*\S)?$")]


class Answering(BaseModel):
    """An answer that the page sends. box: x, y, w, h in pixels of the upright picture. audit: the sample's n and
    seed, where it is a reading of an audit."""

    model_config = ConfigDict(extra="forbid")

    records: Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1, max_length=100)]
    by: Name
    answer: Literal["keep", "reject", "age", "face"]
    age: Annotated[int, Field(ge=0, le=99)] | None = None
    box: tuple[float, float, float, float] | None = None
    note: Annotated[str, Field(max_length=2000)] | None = None
    audit: tuple[int, int] | None = None


class Undoing(BaseModel):
    """Whose latest answer is taken back."""

    model_config = ConfigDict(extra="forbid")

    by: Name


def create_app(desk: Desk, pass_: Pass, *, hosts: Iterable[str], reviewer: str | None = None) -> ASGIApp:
    """The whole server as an ASGI application. hosts: what the header `Host` may say. reviewer: the name that the page
    proposes."""
    app = FastAPI(title="agebench review", docs_url=None, redoc_url=None, openapi_url=None)
    pictures = Pictures(desk)
    pages = Environment(
        loader=PackageLoader("agebench.review.page", "templates"), autoescape=select_autoescape(default=True),
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    static = str(resources.files("agebench.review.page").joinpath("static"))
    app.mount("/static", StaticFiles(directory=static), name="static")

    def page(name: str, **values: Any) -> HTMLResponse:
        samples = desk.audits()
        about = {
            "dataset": desk.manifest.name.removesuffix(".duckdb"),
            "csrf": pass_.csrf,
            "reviewer": reviewer or "",
            "reviewers": desk.reviewers.names,
            "samples": samples,
            "checks": desk.checks(),
            "parts": desk.parts(),
        }
        return HTMLResponse(pages.get_template(f"{name}.j2").render(**about, **values))

    @app.exception_handler(AgebenchError)
    def told(request: Request, error: AgebenchError) -> JSONResponse:
        body = {"error": {"kind": type(error).__name__, "message": error.message, "next": error.next_step}}
        return JSONResponse(body, 400 if isinstance(error, UsageError) else 409)

    @app.exception_handler(RequestValidationError)
    def refused(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(place) for place in first["loc"] if isinstance(place, str | int))
        return _error(422, f"{where}: {first['msg']}".encode(errors="replace").decode()[:300])

    @app.exception_handler(HTTPException)
    def missing(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, str(error.detail))

    @app.get("/")
    def review() -> HTMLResponse:
        return page("review.html", audit=None)

    @app.get("/grid")
    def grid() -> HTMLResponse:
        return page("grid.html", most=GRID)

    @app.get("/audit/{n}-{seed}")
    def audit_page(n: int, seed: int) -> HTMLResponse:
        return page("review.html", audit=_sample(desk, (n, seed)))

    @app.get("/overview")
    def overview_page() -> HTMLResponse:
        with open_manifest(desk.manifest) as con:
            found = overview(con)
        estimates = [(sample, desk.estimate(sample)) for sample in desk.audits()]
        return page("overview.html", found=found, bars=age_bars(found.ages), estimates=estimates)

    @app.get("/favicon.ico")
    def icon() -> Response:
        return Response(status_code=204)

    @app.get("/api/queue")
    def queue(
        by: Annotated[str, Query(max_length=100)] = "",
        check: Annotated[str | None, Query(max_length=200)] = None,
        ages: Annotated[str | None, Query(pattern=r"^\d{1,2}-\d{1,2}$")] = None,
        part: Annotated[str | None, Query(max_length=1000)] = None,
        subject: Annotated[str | None, Query(max_length=200)] = None,
        after: Annotated[int | None, Query(ge=0, le=2**31 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 8,
    ) -> JSONResponse:
        low, high = (int(age) for age in ages.split("-")) if ages else (0, 0)
        filters = Filters(check or None, (low, high) if ages else None, part or None, subject or None)
        ids, left, total = desk.waiting(by, filters, after=after, limit=limit)
        return JSONResponse({"records": ids, "left": left, "total": total, **_state(desk)})

    @app.get("/api/audit/{n}-{seed}")
    def audit_queue(n: int, seed: int, by: Annotated[str, Query(max_length=100)] = "") -> JSONResponse:
        sample = _sample(desk, (n, seed))
        rows = desk.to_read(sample, by)
        total = sum(r["readings"] for r in sample.records)
        ids = [row["record_id"] for row in rows[:GRID]]
        return JSONResponse({"records": ids, "left": len(rows), "total": total, **_state(desk)})

    @app.get("/api/record/{record_id}")
    def record(record_id: RecordId, blind: bool = False) -> JSONResponse:
        found = desk.look(record_id)
        if found is None:
            return _error(404, f"There is no record {record_id}.")
        shown = _blind(found) if blind else _whole(found)
        standing = [] if blind else desk.answers.standing((found.part, found.path))
        answers = [{"by": d.by, "answer": d.answer, "age": d.age, "at": d.at, "note": d.note} for d in standing]
        return JSONResponse(as_json(shown | {"answers": answers}))

    @app.get("/picture/{record_id}")
    def picture(
        record_id: RecordId, side: Annotated[int, Query(ge=32, le=2000)] = 1280, face: bool = False
    ) -> Response:
        data = pictures.jpeg(record_id, side, face=face)
        if data is None:
            return _error(404, "This picture cannot be read.")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})

    @app.post("/api/answer")
    def answer(given: Answering) -> JSONResponse:
        if given.audit is not None:
            sample = _sample(desk, given.audit)
            drawn = {(r["part"], r["path"]) for r in sample.records}
            if any(desk.name(record_id) not in drawn for record_id in given.records):
                raise UsageError("A record is not in the audit's sample.", "Load the page again.")
        made = desk.answer_all(
            given.records, by=given.by, answer=given.answer, age=given.age, box=given.box, note=given.note or None,
            shown={"mode": "audit" if given.audit else "page" if len(given.records) == 1 else "grid"},
            is_audit=given.audit is not None,
        )  # fmt: skip
        return JSONResponse({"recorded": [decision.id for decision in made]})

    @app.post("/api/undo")
    def undo(given: Undoing) -> JSONResponse:
        taken = desk.undo(given.by)
        if taken is None:
            return JSONResponse({"undone": None})
        number = desk.record_of(taken.part, taken.path)
        what = {"answer": taken.answer, "age": taken.age, "part": taken.part, "path": taken.path, "kind": taken.kind}
        return JSONResponse({"undone": what | {"record_id": number}})

    return Guard(app, pass_=pass_, hosts=hosts)


def _state(desk: Desk) -> dict[str, Any]:
    return {"generation": desk.snapshot.number, "trouble": desk.trouble, "notes": desk.notes[-3:]}


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"kind": "Refused", "message": message, "next": None}}, status)


def _sample(desk: Desk, which: tuple[int, int]) -> audit.Sample:
    for sample in desk.audits():
        if (sample.n, sample.seed) == which:
            return sample
    raise UsageError(
        f"There is no audit of {which[0]} records with seed {which[1]}.",
        f"`agebench review audit --n {which[0]} --seed {which[1]}` draws it.",
    )


def _blind(look: Look) -> dict[str, Any]:
    """A record as an audit shows it: nothing of what machines made of it but which face is meant."""
    facts = ("name", "gender", "photo_year", "width", "height")
    relatives = [{k: r[k] for k in ("record_id", "photo_year", "age")} for r in look.relatives]
    return {
        "id": look.record_id,
        "part": look.part,
        "path": look.path,
        "age": look.age,
        "claimed": look.age,
        "readable": look.evidence["sha256"] is not None and look.evidence.get("file_error") is None,
        "faces": [face | {"score": None} for face in look.faces if face["meant"]],
        "reasons": [],
        "estimates": [],
        "relatives": relatives,
        "duplicates": [],
    } | {name: look.evidence.get(name) for name in facts}


def _whole(look: Look) -> dict[str, Any]:
    facts = (
        "name", "gender", "photo_year", "dob", "width", "height", "label_suspicion", "suggested_age", "age_gap",
        "face_chosen_by",
    )  # fmt: skip
    return {
        "id": look.record_id,
        "part": look.part,
        "path": look.path,
        "age": look.age,
        "claimed": look.evidence["age"],
        "verdict": look.verdict,
        "readable": look.evidence["sha256"] is not None and look.evidence.get("file_error") is None,
        "faces": look.faces,
        "reasons": look.reasons,
        "estimates": look.estimates,
        "relatives": look.relatives,
        "duplicates": look.duplicates,
        "decision": look.decision,
    } | {name: look.evidence.get(name) for name in facts}
