"""A curated folder of drawn faces in which every readable record waits, its page served by a process of its own, and a
browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from agebench.demo.releases import draw_releases
from agebench.manifest.store import get_meta, open_manifest, set_meta

TOKEN = "0123456789abcdef01"
MANIFEST = "manifests/imdb-wiki.duckdb"
RECIPE = """
name = "everything"
dataset = "imdb-wiki"
title = "Everything that can be read is looked at"

[[check]]
name = "unreadable"
reject = "file_error = 'truncated'"
reason = "the file cannot be read: {file_error}"

[[check]]
name = "every_one"
review = "TRUE"
reason = "claimed age {age}"

[[check]]
name = "wiki_only"
review = "part = 'wiki'"
reason = "from Wikipedia"
"""


@pytest.fixture(scope="session")
def _office(tmp_path_factory: pytest.TempPathFactory, detector: str, succeed: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("office")
    draw_releases(folder, records=70, seed=5)
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "everything.toml").write_text(RECIPE)
    succeed(folder, "curate", "imdb-wiki", "--recipe", "everything", "--detector", detector, "--workers", 1)
    _estimate(folder / MANIFEST)
    return folder


def _estimate(manifest: Path) -> None:
    """Ages as an estimator would give them, without one."""
    with open_manifest(manifest, write=True) as con:
        con.execute(
            """INSERT INTO age_estimate BY NAME
               SELECT DISTINCT ON (sha256) sha256, face_no, 'made-up' AS estimator, 20 + record_id % 50 AS age,
                      5.0 AS spread, NULL AS probabilities FROM stored_evidence WHERE face_no IS NOT NULL;
               UPDATE stored_evidence SET suggested_age = 20 + record_id % 50, label_suspicion = 0.25, age_gap = 7
               WHERE face_no IS NOT NULL"""
        )


@pytest.fixture
def office(_office: Path, tmp_path: Path) -> Path:
    """A copy of its own for each test, whose manifest names the copied pictures."""
    folder = tmp_path / "office"
    shutil.copytree(_office, folder)
    with open_manifest(folder / MANIFEST, write=True) as con:
        set_meta(con, folders=(get_meta(con, "folders") or "").replace(str(_office), str(folder)))
    return folder


class Server:
    """`agebench review serve` in a process of its own."""

    def __init__(self, folder: Path, *flags: object, port: int = 0, token: str | None = TOKEN) -> None:
        self.folder = folder
        words = ["review", "serve", "--port", port, *(["--token", token] if token else []), *flags]
        code = "from agebench.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], cwd=folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "NO_COLOR": "1"},
        )  # fmt: skip
        assert self.process.stdout
        assert self.process.stderr
        self.printed: list[str] = []
        self.complained: list[str] = []
        self._readers = [
            threading.Thread(target=lambda s=stream, t=taken: t.extend(s), daemon=True)
            for stream, taken in ((self.process.stdout, self.printed), (self.process.stderr, self.complained))
        ]
        for reader in self._readers:
            reader.start()
        for _ in range(600):
            found = next((line for line in self.printed if line.startswith("http://")), None)
            if found or self.process.poll() is not None:
                break
            time.sleep(0.05)
        if not found:
            self.ended()
            raise AssertionError(self.output)
        self.entrance = found.strip()
        self.address = self.entrance.partition("/?")[0]
        self.port = int(self.address.rpartition(":")[2])

    @property
    def output(self) -> str:
        return "".join([*self.printed, *self.complained])

    def end(self, how: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.ended()

    def ended(self) -> int:
        status = self.process.wait(30)
        for reader in self._readers:
            reader.join(5)
        return status

    def client(self) -> Client:
        return Client(self)

    def lines(self) -> list[dict[str, Any]]:
        """What stands in the file of decisions."""
        file = self.folder / MANIFEST.replace(".duckdb", ".decisions.jsonl")
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class Client:
    """A browser's requests without the browser: cookie, origin, the value against forged requests."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.http = httpx.Client(base_url=server.address, timeout=30)
        assert self.http.get("/", params={"token": TOKEN}).status_code == 303
        page = self.http.get("/")
        found = re.search(r'name="csrf" content="(\w+)"', page.text)
        assert found, page.text
        self.csrf = found[1]
        self.http.headers["origin"] = server.address

    def get(self, path: str, **asked: Any) -> Any:
        found = self.http.get(path, params=asked)
        assert found.status_code == 200, found.text
        return found.json()

    def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return self.http.post(path, json=body, headers={"x-agebench-csrf": self.csrf} | headers)

    def queue(self, by: str = "anna", **asked: Any) -> list[int]:
        return list(self.get("/api/queue", by=by, **{"limit": 100} | asked)["records"])

    def given(self, record: int, answer: str = "keep", **more: Any) -> dict[str, Any]:
        shown = self.get(f"/api/record/{record}")
        chosen = {"face_no": shown["faces"][0]["face_no"]} if len(shown["faces"]) > 1 else {}
        return {"record": record, "seal": shown["seal"], "answer": answer} | chosen | more

    def answer(self, record: int, answer: str = "reject", by: str = "anna", **more: Any) -> httpx.Response:
        return self.post("/api/answer", {"by": by, "answers": [self.given(record, answer, **more)]})


Serve = Callable[..., Server]


@pytest.fixture
def serve(office: Path) -> Iterator[Serve]:
    """Start the page of the office, or of another folder."""
    started: list[Server] = []

    def start(*flags: object, folder: Path = office, **how: Any) -> Server:
        started.append(Server(folder, *flags, **how))
        return started[-1]

    yield start
    for server in started:
        server.end()
        assert "Traceback" not in server.output, server.output


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


@pytest.fixture
def client(server: Server) -> Client:
    return server.client()


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


class ReviewSession:
    """A page in the browser, and what it complained of."""

    def __init__(self, browser: Any, server: Server, name: str = "anna", **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(10_000)
        self.context.add_init_script(
            f"localStorage['agebench-reviewer'] ?? (localStorage['agebench-reviewer'] = {name!r})"
        )
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(server.entrance)

    def ready(self) -> int:
        """Wait until what is shown can be answered; its record_id."""
        self.page.wait_for_function("() => typeof seen === 'function' && seen() !== null")
        return int(self.page.evaluate("() => now.id"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def press_at_once(self, *keys: str) -> None:
        """Press keys before the page can show anything new, however slow the machine is."""
        self.page.evaluate(
            "(keys) => { for (const key of keys) document.activeElement.dispatchEvent("
            "new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true})) }",
            list(keys),
        )

    def answer(self, *keys: str) -> int:
        """Answer what is shown by keys and wait until it is acknowledged and the next shows; the record_id."""
        record = self.ready()
        self.press(*keys)
        self.page.wait_for_function("(id) => !working && (now === null || now.id !== id)", arg=record)
        return record


@pytest.fixture
def sit(browser: Any) -> Iterator[Callable[..., ReviewSession]]:
    """Open the page of a server in a browser context of its own."""
    opened: list[ReviewSession] = []

    def open_(server: Server, name: str = "anna", **context: Any) -> ReviewSession:
        opened.append(ReviewSession(browser, server, name, **context))
        return opened[-1]

    yield open_
    for desk in opened:
        desk.context.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
