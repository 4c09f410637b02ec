"""A server on this machine that behaves as servers do: ranges or none, cut connections, files that change."""

from __future__ import annotations

import threading
from collections import namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agebench.datasets.fetch.downloads import RETRY


@dataclass
class Site:
    """What the server has and how it behaves. asked: (path, Range header) of every request."""

    port: int
    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    modified: str | None = None
    ranges: bool = True
    heeds_if_range: bool = True
    at_most: int | None = None  # bytes of a partial answer
    chunked: bool = False
    kind: str = "application/octet-stream"
    cuts: list[int] = field(default_factory=list)  # bytes after which the next answers break off
    statuses: list[tuple[int, dict[str, str]]] = field(default_factory=list)  # of the next answers
    stall: threading.Event | None = None  # holds the body's second half back
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


class _Handler(BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        site = self.site
        wanted = self.headers.get("Range")
        site.asked.append((self.path.lstrip("/"), wanted))
        if site.statuses:
            status, headers = site.statuses.pop(0)
            self._head(status, headers | {"Content-Length": "0"})
            return
        body = site.files.get(self.path.lstrip("/"))
        if body is None:
            self._head(404, {"Content-Length": "0"})
            return
        headers = {"Content-Type": site.kind}
        headers |= {"ETag": site.etag} if site.etag else {}
        headers |= {"Last-Modified": site.modified} if site.modified else {}
        start, status = 0, 200
        condition = self.headers.get("If-Range")
        changed = site.heeds_if_range and condition not in (None, site.etag, site.modified)
        if site.ranges and wanted and not changed:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(body):
                self._head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
                return
            end = min(start + (site.at_most or len(body)), len(body))
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(body)}"
            body = body[:end]
        body = body[start:]
        if site.chunked:
            self._head(status, headers | {"Transfer-Encoding": "chunked"})
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n")
            return
        self._head(status, headers | {"Content-Length": str(len(body))})
        if site.cuts:
            self.wfile.write(body[: site.cuts.pop(0)])
        elif site.stall:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            site.stall.wait(60)
        else:
            self.wfile.write(body)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what the tests are about."""


@pytest.fixture(autouse=True)
def roomy_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the disk seem to have room for any release, so that no test depends on the machine's free space."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**13, 0, 10**13))


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server, and no waiting between tries."""
    monkeypatch.setattr("agebench.datasets.fetch.downloads.RETRY", RETRY.new(backoff_factor=0.001))
    server = _Server(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    made = Site(server.server_address[1])
    server.RequestHandlerClass = type("Handler", (_Handler,), {"site": made})
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    if made.stall:
        made.stall.set()
    server.shutdown()
    server.server_close()
