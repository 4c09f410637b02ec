"""What the server refuses: strangers, forged requests, malformed ones; and that it answers all others at once."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from agebench.manifest.records import folders_of
from agebench.manifest.store import open_manifest

MANIFEST = "manifests/imdb-wiki.duckdb"
TOKEN = "0123456789abcdef01"


def raw(port: int, data: bytes, *, patience: float = 5) -> bytes:
    """Send bytes and read what comes back; after `patience` seconds of silence say that no more come."""
    found = b""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as wire, contextlib.suppress(OSError):
        wire.sendall(data)
        try:
            while chunk := wire.recv(65536):
                found += chunk
        except TimeoutError:
            wire.shutdown(socket.SHUT_WR)
            found += wire.recv(65536)
    return found


def status(answer: bytes) -> int:
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else 0


def test_strangers_and_forged_requests_are_refused_and_change_nothing(server: Any, client: Any) -> None:
    record = client.queue()[0]
    body = {"by": "anna", "answers": [client.given(record, "reject")]}
    port, own = server.port, server.address
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in client.http.cookies.items())}
    right = {"host": f"127.0.0.1:{port}", "origin": own, "x-agebench-csrf": client.csrf} | cookie
    wrong: dict[str, list[dict[str, str | None]]] = {
        "host": [
            {"host": host}
            for host in (
                None,
                "",
                "evil.example",
                f"evil.example:{port}",
                "127.0.0.1",
                "127.0.0.1:1",
                f"127.0.0.1:{port}.evil.example",
                f"127.0.0.1:{port}@evil",
                f"127.0.0.2:{port}",
            )
        ],
        "origin": [
            {"origin": origin}
            for origin in (
                None,
                "",
                "null",
                "http://evil.example",
                f"http://localhost:{port}",
                "http://127.0.0.1",
                f"http://127.0.0.1:{port}/",
                f"{own}, {own}",
            )
        ],
        "cookie": [
            {"cookie": crumb}
            for crumb in (
                None,
                "",
                "a=b",
                f"agebench_review_{port}=",
                f"agebench_review_{port}={TOKEN}",
                cookie["cookie"][:-1],
                cookie["cookie"] + "0",
                "\xff\xfe;;=;",
            )
        ],
        "csrf": [
            {"x-agebench-csrf": value}
            for value in (None, "", TOKEN, client.csrf[:-1], client.csrf + "0", client.csrf.upper() + "é")
        ],
        "site": [{"sec-fetch-site": value} for value in ("cross-site", "same-site")],
    }

    def ask(method: str, path: str, headers: dict[str, str | None]) -> int:
        data = json.dumps(body).encode()
        lines = [f"{name}: {value}" for name, value in (right | headers).items() if value is not None]
        head = "\r\n".join(
            [
                f"{method} {path} HTTP/1.1",
                *lines,
                "content-type: application/json",
                f"content-length: {len(data)}",
                "connection: close",
                "",
                "",
            ]
        )
        return status(raw(port, head.encode("latin-1") + data))

    for kind, variants in wrong.items():
        for headers in variants:
            assert ask("POST", "/api/answer", headers) in (400, 403), (kind, headers)
            if kind in ("host", "cookie", "site"):
                for path in (
                    "/api/queue?by=anna",
                    f"/api/record/{record}",
                    f"/picture/{record}",
                    "/overview",
                    "/static/common.js",
                ):
                    assert ask("GET", path, headers) in (400, 403), (kind, path, headers)
    twice = f"host: 127.0.0.1:{port}\r\nhost: evil.example\r\n"
    assert status(raw(port, f"GET / HTTP/1.1\r\n{twice}connection: close\r\n\r\n".encode())) == 400
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "NONSENSE"):
        assert ask(method, "/api/answer", {}) in (400, 405), method
    for token in ("", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "%00", "\udcff"):
        assert httpx.get(own + "/", params=[("token", token.encode(errors="surrogateescape"))]).status_code == 403
    assert httpx.get(own + f"/?token={TOKEN}&token={TOKEN}").status_code == 403
    assert server.lines() == []
    assert ask("POST", "/api/answer", {}) == 200
    assert ask("POST", "/api/answer", {"origin": own.replace("http:", "https:")}) == 200  # a proxy that speaks TLS
    assert len(server.lines()) == 2


def test_the_token_is_traded_for_a_cookie_that_no_script_reads(server: Any) -> None:
    welcome = httpx.get(server.entrance)
    assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
    cookie = welcome.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    client = server.client()
    for path in ("/", "/grid", "/overview", "/static/review.js", "/api/queue?by=anna", "/picture/0", "/nonsense"):
        headers = client.http.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    for path in ("/", "/grid", "/overview"):
        text = client.http.get(path).text
        assert not re.search(
            r"<script(?![^>]* src=\"/static/)|<style|\sstyle=|\son\w+=|https?://(?!www\.w3\.org)", text
        )
    assert client.http.get("/").headers["cache-control"] == "no-store"


def test_an_answer_says_what_was_shown_and_is_refused_where_that_is_another(client: Any, server: Any) -> None:
    one, two = client.queue()[:2]
    given = client.given(one, "reject") | {"record": two}
    refused = client.post("/api/answer", {"by": "anna", "answers": [given]})
    assert refused.status_code == 400
    assert "not what was shown" in refused.json()["error"]["message"]
    both = [client.given(one, "reject"), given]  # all or none
    assert client.post("/api/answer", {"by": "anna", "answers": both}).status_code == 400
    assert server.lines() == []


def test_a_name_is_one_however_its_accents_were_typed(client: Any, server: Any) -> None:
    one = client.queue()[0]
    assert client.answer(one, by="Rene\u0301").status_code == 200
    assert server.lines()[0]["by"] == "Ren\u00e9"
    assert client.post("/api/undo", {"by": "Rene\u0301"}).json()["undone"]["record_id"] == one


def test_a_picture_that_is_another_by_now_is_not_shown_as_the_one_that_was_observed(client: Any, office: Path) -> None:
    with open_manifest(office / MANIFEST) as con:
        folders = folders_of(con)
        rows = con.execute("SELECT record_id, part, path FROM record JOIN content USING (part, path)").fetchall()
    files = {record: folders[part] / path for record, part, path in rows}
    one, two = [record for record in client.queue() if kind_of(client, record) == "image/jpeg"][:2]
    files[one].write_bytes(files[two].read_bytes())
    found = client.http.get(f"/picture/{one}", params={"side": 300})
    assert found.headers["content-type"] == "image/svg+xml"
    assert "has changed" in found.text
    assert client.answer(one, "age", age=30).status_code == 400
    assert client.answer(one, "reject").status_code == 200
    assert kind_of(client, two) == "image/jpeg"


def kind_of(client: Any, record: int) -> str:
    return str(client.http.get(f"/picture/{record}").headers["content-type"])


def test_filters_with_odd_values(client: Any) -> None:
    everything = client.queue()
    assert set(client.queue(part="wiki")) | set(client.queue(part="imdb")) == set(everything)
    assert set(client.queue(check="wiki_only")) == set(client.queue(part="wiki"))
    assert client.queue(check="no such") == client.queue(part="\x00") == client.queue(subject="' OR 1=1 --") == []
    assert client.queue(check="", part="", subject="") == everything
    assert client.queue(ages="60-20") == []
    assert len(client.queue(ages="0-99")) <= len(everything)
    for ages in ("20", "a-b", "-1-5", "1-100", "٣-٤", "1-2\n"):
        assert client.http.get("/api/queue", params={"by": "anna", "ages": ages}).status_code in (200, 422), ages
    after = client.queue(after=everything[3], limit=len(everything))
    assert after == everything[4:] + everything[:3]
    assert client.queue(at=everything[3]) == everything[3:] + everything[:3]
    assert client.queue(after=10**9) == everything
    assert client.http.get("/api/queue", params={"after": 10**40}).status_code == 422


def test_a_thousand_mixed_requests_at_once_lose_no_answer(server: Any, client: Any) -> None:
    ids = client.queue()
    given = {record: client.given(record, "reject") for record in ids}
    rng = random.Random(3)
    told: list[str] = []
    seen: Counter[int] = Counter()
    lock = threading.Lock()
    limits = httpx.Limits(max_connections=40)
    with httpx.Client(base_url=server.address, limits=limits, timeout=60, cookies=client.http.cookies) as http:

        def one(number: int) -> None:
            by = f"r{number % 7}"
            kind = rng.randrange(10)
            headers = {"origin": server.address, "x-agebench-csrf": client.csrf}
            if kind < 5:
                body = {"by": by, "answers": [given[rng.choice(ids)]]}
                found = http.post("/api/answer", json=body, headers=headers)
            elif kind == 5:
                found = http.post("/api/undo", json={"by": by}, headers=headers)
            else:
                path = [
                    f"/api/queue?by={by}&limit=30&tiles=true",
                    f"/api/record/{rng.choice(ids)}",
                    "/grid",
                    f"/picture/{rng.choice(ids)}?side=160&face=true",
                ][kind - 6]
                found = http.get(path)
            with lock:
                seen[found.status_code] += 1
                if kind < 5 and found.status_code == 200:
                    told.extend(found.json()["recorded"])

        with ThreadPoolExecutor(40) as pool:
            list(pool.map(one, range(1000)))
    assert seen == {200: 1000}
    lines = server.lines()
    assert sorted(line["id"] for line in lines if line["kind"] == "decision") == sorted(told)
    assert len({line["id"] for line in lines}) == len(lines)
    assert sum(line["kind"] == "decision" for line in lines) == len(told) > 300
    undone = {line["undoes"] for line in lines if line["kind"] == "undo"}
    where = {(line["part"], line["path"]) for line in lines if line["kind"] == "decision" and line["id"] not in undone}
    assert len(client.queue()) == len(ids) - len(where)


# --- malformed ----------------------------------------------------------------------------------------------------


class Maker:
    """Requests that no browser sends, from a seeded generator."""

    def __init__(self, client: Any, ids: list[int]) -> None:
        self.client, self.rng = client, random.Random(11)
        port = client.server.port
        self.cookie = "; ".join(f"{name}={value}" for name, value in client.http.cookies.items())
        self.host, self.origin = f"127.0.0.1:{port}", client.server.address
        self.given = client.given(ids[0], "reject")

    def one(self) -> bytes:
        return self.rng.choice([self.path, self.body, self.body, self.framing, self.noise, self.headers])()

    def head(self, method: str, path: bytes, *more: bytes) -> bytes:
        lines = [
            f"{method} ".encode() + path + b" HTTP/1.1",
            f"Host: {self.host}".encode(),
            f"Origin: {self.origin}".encode(),
            f"Cookie: {self.cookie}".encode(),
            f"X-Agebench-Csrf: {self.client.csrf}".encode(),
            *more,
        ]
        return b"\r\n".join([*lines, b"Connection: close", b"", b""])

    def path(self) -> bytes:
        root = self.rng.choice(
            [b"/static/", b"/picture/", b"/api/record/", b"/", b"//", b"/audit/", b"/api/audit/", b"/api/"]
        )
        steps = [
            b"..",
            b"%2e%2e",
            b"%2E%2e/",
            b"%00",
            b"/",
            b"\\",
            b"..%2f",
            b"..%5c",
            b"etc/passwd",
            b"%c0%ae%c0%ae",
            b"-1",
            b"99999999999999999999",
            b"NaN",
            b"1e9",
            b"1-1",
            b"%ff",
            b"review.js",
            b"app.py",
            b"?side=-1",
            b"?side=1e99",
            b"?face=%00",
            b";x",
            b"%0d%0aX: y",
            b"\xff",
            b"pyproject.toml",
            b"manifests/imdb-wiki.duckdb",
        ]
        tail = self.rng.choice([b"", b"/"]).join(self.rng.choice(steps) for _ in range(self.rng.randrange(1, 8)))
        method = self.rng.choice(["GET", "HEAD", "GET", "POST", "PUT", "TRACE", "G\x00T", "get", "PROPFIND"])
        return self.head(method, root + tail.replace(b" ", b"%20"))

    def value(self, depth: int = 0) -> Any:
        plain = [
            None,
            True,
            -1,
            0,
            2**31,
            10**30,
            -(10**400),
            1e308,
            "",
            "x",
            "é" * 5,
            "\ud800",
            "\x00",
            "a" * 3000,
            [],
            {},
            float("nan"),
            float("inf"),
            "anna",
            "keep",
            "1",
            [[]],
            "../../etc/passwd",
        ]
        if depth < 2 and self.rng.random() < 0.3:
            return [self.value(depth + 1) for _ in range(self.rng.randrange(4))]
        return self.rng.choice(plain)

    def body(self) -> bytes:
        body: Any = {"by": "anna", "answers": [dict(self.given)]}
        for _ in range(self.rng.randrange(1, 3)):
            place = self.rng.choice(
                ["by", "answers", "audit", "extra", "record", "seal", "answer", "age", "box", "note"]
            )
            where = (
                body if place in ("by", "answers", "audit", "extra") or not isinstance(body["answers"], list) else None
            )
            where = where if where is not None else (body["answers"] or [{}])[0]
            if isinstance(where, dict):
                where[place] = self.value()
        body["answers"] = body["answers"] if self.rng.random() < 0.9 else self.value()
        if isinstance(body["answers"], list) and body["answers"] and isinstance(body["answers"][0], dict):
            body["answers"][0]["seal"] = self.rng.choice(
                [self.value(), "0" * 16]
            )  # never right, so never to be recorded
        data = json.dumps(body).encode()
        data = self.rng.choice(
            [
                data,
                data,
                data,
                data[:-1],
                data + b"}",
                b"[" * 20_000,
                b'{"by":' * 5000,
                b"",
                b"\xff\xfe",
                b"\xef\xbb\xbf" + data,
                b"null",
                b"NaN",
                b"-",
                b'"\\ud800"',
                b"1" * 5000,
                data.replace(b'"', b"'"),
                b"{" + b'"a":1,' * 9000 + b'"b":2}',
            ]
        )
        kind = self.rng.choice(
            [
                b"application/json",
                b"application/json",
                b"text/plain",
                b"application/x-www-form-urlencoded",
                b"multipart/form-data",
                b"application/json; charset=utf-16",
                b"",
            ]
        )
        path = self.rng.choice([b"/api/answer", b"/api/answer", b"/api/undo/", b"/api/answer?x=%00", b"/api/queue"])
        return self.head("POST", path, b"Content-Type: " + kind, f"Content-Length: {len(data)}".encode()) + data

    def framing(self) -> bytes:
        data = json.dumps({"by": "anna", "answers": [self.given]}).encode()  # right, but the framing is not
        wrong = self.rng.choice(
            [
                f"Content-Length: {len(data) + 5}".encode(),
                b"Content-Length: -1",
                b"Content-Length: 99999999999999999999",
                b"Content-Length: x",
                b"Content-Length: 1\r\nContent-Length: 2",
                b"Transfer-Encoding: chunked",
                b"Transfer-Encoding: gzip, chunked",
                b"Transfer-Encoding: nonsense",
                b"Content-Length: +5",
                b"Transfer-Encoding: chunked\r\nContent-Length: 3",
                f"Content-Length: {len(data) - 3}".encode(),
            ]
        )
        if wrong == b"Transfer-Encoding: chunked" and self.rng.random() < 0.5:
            data = b"ffffff\r\n" + data + b"\r\n"
        return self.head("POST", b"/api/answer", b"Content-Type: application/json", wrong) + data

    def headers(self) -> bytes:
        odd = self.rng.choice(
            [
                b"X: " + b"a" * 40_000,
                b"\x00: y",
                b"X y: z",
                b": z",
                b"X: \x00",
                b"Cookie: " + b";=" * 3000,
                b"Content-Type: \xff",
                b"Expect: 100-continue",
                b"Upgrade: websocket\r\nConnection: upgrade",
                b"Range: bytes=0-9999999",
                b"X:\r\n folded",
                b"Host: evil.example",
                b"Accept-Encoding: \x01",
            ]
        )
        return self.head(self.rng.choice(["GET", "POST"]), b"/" + b"a" * self.rng.choice([0, 10, 5000, 70_000]), odd)

    def noise(self) -> bytes:
        length = self.rng.randrange(1, 400)
        return self.rng.choice(
            [
                self.rng.randbytes(length),
                b"GET",
                b"GET / HTTP/9.9\r\n\r\n",
                b"\x16\x03\x01" + self.rng.randbytes(length),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\r\n" * length,
                b"GET http://evil.example/ HTTP/1.1\r\n\r\n",
                b"POST /api/answer HTTP/1.0\r\n\r\n",
                b"GET /" + self.rng.randbytes(length) + b" HTTP/1.1\r\n\r\n",
            ]
        )


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_malformed_requests_are_refused_one_by_one(server: Any, client: Any, count: int) -> None:
    ids = client.queue()
    assert client.answer(ids[1]).status_code == 200
    before = server.lines()
    maker = Maker(client, ids)
    requests = [maker.one() for _ in range(count)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda request: raw(server.port, request, patience=0.3), requests))
    seen = Counter(status(answer) for answer in answers)
    told = {code: n for code, n in seen.items() if code >= 500}
    assert not told, [r[:3000] for r, a in zip(requests, answers, strict=True) if status(a) >= 500][:1]
    assert sum(n for code, n in seen.items() if 400 <= code < 500) > 0.5 * count, seen
    assert seen[0] < 0.1 * count, seen  # the peer has gone before it was told
    for secret in (b"root:", b"[project]", b"create_app", b"def serve", b"DUCK"):
        assert not any(secret in answer for answer in answers)
    assert server.lines() == before
    assert client.answer(ids[2]).status_code == 200
    assert len(server.lines()) == len(before) + 1
    assert "Traceback" not in server.output
    assert server.output.count(TOKEN) == 1
