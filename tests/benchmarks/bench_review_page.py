"""The review page on 500,000 records that all wait: an answer beside a raw append and fsync, the first page, and how
soon the next picture is there.

Run by `make bench`; the browser's part is left out where there is no chromium. Answer and raw append take turns.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl

from agebench import recipes
from agebench.curation import verdicts
from agebench.curation.checks import compile_recipe
from agebench.curation.groups import derive_groups
from agebench.datasets.records import SCHEMA
from agebench.manifest.evidence import COLUMNS
from agebench.manifest.records import write_records
from agebench.manifest.renewal import mark_made
from agebench.manifest.store import create, open_manifest, set_meta
from agebench.review.queue import load_queue

RECORDS = 500_000
SUBJECTS = 25_000
ANSWERS = 300
LOOKED_AT = 150  # in the browser
PACE = 0.5  # seconds between two answers
TOKEN = "0123456789abcdef01"
RECIPE = """
name = "all"
dataset = "imdb-wiki"
title = "Everything waits"

[[check]]
name = "every_one"
review = "TRUE"
reason = "claimed age {age}"

[[check]]
name = "doubted"
review = "label_suspicion > 0.2"
reason = "looks {suggested_age}"
"""


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch).absolute()
        path = build(folder)
        ids = draw_pictures(folder, path)
        print(f"{RECORDS:,} records, {path.stat().st_size / 2**20:.0f} MiB")
        with served(folder) as (port, seconds):
            print(f"the server is ready after {seconds:.1f} s")
            wire = Wire(port)
            took, _ = timed(lambda: first_page(wire))
            print(f"first page, queue, record and picture by HTTP: {took:.2f} s (bound: 1 s)")
            answers(wire, folder, ids[:ANSWERS])
        with served(folder) as (port, _):
            browse(port)
    print(f"peak memory of the servers {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20:.2f} GiB")


def answers(wire: Wire, folder: Path, ids: list[int]) -> None:
    """Answers one after the other, each beside a raw append of as many bytes."""
    lines = folder / "manifests" / "made.decisions.jsonl"
    ours, raw, looked = [], [], []
    for record in ids:
        took, shown = timed(lambda n=record: wire.json("GET", f"/api/record/{n}"))
        looked.append(took)
        one = {"record": record, "seal": shown["seal"], "answer": "reject"}
        size = lines.stat().st_size if lines.exists() else 0
        body = {"by": "anna", "answers": [one]}
        ours.append(timed(lambda b=body: wire.json("POST", "/api/answer", b))[0])
        data = b"x" * (lines.stat().st_size - size)
        raw.append(timed(lambda d=data: append_raw(folder / "raw", d))[0])
    assert len(lines.read_bytes().splitlines()) == len(ids)
    mine, theirs = p95(ours), p95(raw)
    print(
        f"an answer, request to acknowledged: p95 {mine:.2f} ms, a raw append and fsync {theirs:.2f} ms: "
        f"{mine - theirs:.2f} ms more (bound: 5 ms), {mine / theirs:.1f} times"
    )
    median = 1000 * float(np.median(looked))
    print(f"a record looked at that is not known yet: median {median:.0f} ms, p95 {p95(looked):.0f} ms")


def browse(port: int) -> None:
    """A reviewer at a steady pace, in a browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium: the browser's part is left out")
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.add_init_script("localStorage['agebench-reviewer'] = 'anna'")
        began = time.time() * 1000
        page.goto(f"http://127.0.0.1:{port}/?token={TOKEN}")
        page.wait_for_function("() => seen() !== null")
        shown = "performance.getEntriesByName('shown').at(-1).startTime"
        first = page.evaluate(f"() => performance.timeOrigin + {shown}") - began
        print(f"first page in a browser, picture painted: {first / 1000:.2f} s (bound: 1 s)")
        page.evaluate("() => addEventListener('keydown', (event) => { window.pressed = event.timeStamp }, true)")
        waits = []
        for _ in range(LOOKED_AT):
            page.wait_for_timeout(1000 * PACE)
            page.keyboard.press("r")
            page.wait_for_function(f"() => !working && {shown} > window.pressed", polling=10)
            waits.append(page.evaluate(f"() => {shown} - window.pressed") / 1000)
        browser.close()
    median = 1000 * float(np.median(waits))
    print(
        f"the next picture after the key, {1 / PACE:.0f} answers a second: median {median:.0f} ms, "
        f"p95 {p95(waits):.0f} ms (bound: 100 ms)"
    )


def first_page(wire: Wire) -> None:
    for path in ("/", "/static/style.css", "/static/common.js", "/static/review.js"):
        wire.ask("GET", path)
    record = wire.json("GET", "/api/queue?by=anna")["records"][0]
    wire.json("GET", f"/api/record/{record}")
    assert wire.ask("GET", f"/picture/{record}").startswith(b"\xff\xd8")


class Wire:
    """One connection with the cookie and the value that the page has."""

    def __init__(self, port: int) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {"Origin": f"http://127.0.0.1:{port}", "Content-Type": "application/json"}
        self.http.request("GET", f"/?token={TOKEN}")
        welcome = self.http.getresponse()
        welcome.read()
        self.headers["Cookie"] = (welcome.headers["set-cookie"] or "").partition(";")[0]
        found = re.search(rb'name="csrf" content="(\w+)"', self.ask("GET", "/"))
        assert found
        self.headers["X-Agebench-Csrf"] = found[1].decode()

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        self.http.request(method, path, json.dumps(body) if body else None, self.headers)
        answer = self.http.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    def json(self, method: str, path: str, body: Any = None) -> Any:
        return json.loads(self.ask(method, path, body))


@contextlib.contextmanager
def served(folder: Path) -> Iterator[tuple[int, float]]:
    """(port, seconds until it was ready) of a server in a process of its own."""
    code = "from agebench.cli import main; main()"
    words = ["review", "serve", "--manifest", "manifests/made.duckdb", "--port", "0", "--token", TOKEN]
    paths = {"PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path if p)}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], cwd=folder, text=True, stdout=subprocess.PIPE, env=os.environ | paths
    ) as process:
        assert process.stdout
        found = next((line for line in process.stdout if line.startswith("http")), "")
        try:
            yield int(found.split(":")[2].split("/")[0]), time.perf_counter() - began
        finally:
            process.kill()


def build(folder: Path) -> Path:
    """A manifest as a curation of so many records would leave it."""
    rng = np.random.default_rng(0)
    who = rng.integers(0, SUBJECTS, RECORDS)
    given = {
        "part": ["imdb"] * RECORDS,
        "path": [f"{i % 100:02d}/nm{w:07d}_rm{i}.jpg" for i, w in enumerate(who)],
        "age": rng.integers(0, 100, RECORDS),
        "subject_id": [f"nm{w:07d}" for w in who],
        "name": [f"Person {w}" for w in who],
        "photo_year": rng.integers(1980, 2015, RECORDS),
    }
    frame = pl.DataFrame(given)
    frame = frame.select(
        pl.col(name).cast(kind) if name in frame.columns else pl.lit(None, kind).alias(name)
        for name, kind in SCHEMA.items()
    )
    path = folder / "manifests" / "made.duckdb"
    create(path, "imdb-wiki")
    with open_manifest(path, write=True) as con:
        write_records(con, frame, {"imdb": folder / "pictures"})
        con.execute("""
            SELECT setseed(0.5);
            INSERT INTO content SELECT part, path, sha256(path), 20000, 1, NULL FROM record;
            INSERT INTO image SELECT sha256, 'JPEG', 600, 500, 3, FALSE, hash(sha256), 300, 120, 50, NULL, NULL
                FROM content;
            INSERT INTO observed SELECT sha256, o, '1', NULL FROM content, (VALUES ('image'), ('faces:made')) t(o);
            INSERT INTO face SELECT sha256, 'made', n, 48 + 200 * n, 48, 120, 120, 0.9, 80,
                [90, 90, 130, 90, 110, 120, 95, 140, 125, 140] FROM content, (VALUES (0), (1)) t(n);
            INSERT INTO age_estimate BY NAME SELECT sha256, 0 AS face_no, 'made' AS estimator, 30 AS age, 6 AS spread,
                [0.01 FOR i IN range(100)]::FLOAT[] AS probabilities FROM content;
            INSERT INTO near_copy SELECT record_id, record_id, 2, 1, path, 0 FROM record WHERE record_id % 20 = 0;
            INSERT INTO suspicion SELECT record_id, 1, age + 3, 3, pow(random(), 9) FROM record;
        """)
        set_meta(con, detector="made")
        for what in ("copies", "ages", "identities", "evidence", "verdicts"):
            mark_made(con, what, "made")
    groups = derive_groups(path, None).tables["record_group"]
    with open_manifest(path, write=True) as con:
        con.register("groups", groups.to_arrow())
        con.execute("INSERT INTO record_group BY NAME SELECT * FROM groups")
        con.unregister("groups")
        verdicts.store_evidence(con)
    (folder / "all.toml").write_text(RECIPE)
    recipe = recipes.load_curation_recipe(str(folder / "all.toml"))
    checks = compile_recipe(recipe, "all", {c.observer for c in COLUMNS.values()})
    with open_manifest(path, write=True) as con:
        verdicts.judge(con, checks, recipe="all", recipe_digest="x")
    return path


def draw_pictures(folder: Path, path: Path) -> list[int]:
    """Noise for the first records of the queue and all pictures of their subjects; the records' ids, in order."""
    took, queue = timed(lambda: load_queue(path))
    print(f"the queue is read in {took:.1f} s")
    first = queue.rows.head(ANSWERS + LOOKED_AT + 20)
    noise = np.random.default_rng(0).integers(0, 255, (50, 60, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".jpg", cv2.resize(noise, (600, 500), interpolation=cv2.INTER_CUBIC))[1].tobytes()
    drawn: dict[str, list[str]] = {"path": [], "digest": []}
    for name in queue.rows.filter(pl.col("subject_id").is_in(first["subject_id"].unique().to_list()))["path"]:
        file = folder / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        data = jpeg + name.encode()  # each a content of its own
        file.write_bytes(data)
        drawn["path"].append(name)
        drawn["digest"].append(hashlib.sha256(data).hexdigest())
    with open_manifest(path, write=True) as con:
        con.register("drawn", pl.DataFrame(drawn).to_arrow())
        for table in ("content", "image", "observed", "face", "age_estimate", "stored_evidence"):
            con.execute(f"UPDATE {table} SET sha256 = digest FROM drawn WHERE {table}.sha256 = sha256(drawn.path)")
        con.unregister("drawn")
    return [int(record) for record in first["record_id"]]


def append_raw(path: Path, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, data)
    os.fsync(handle)
    os.close(handle)


def p95(seconds: list[float]) -> float:
    return float(np.quantile(seconds, 0.95)) * 1000


def timed(work: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
