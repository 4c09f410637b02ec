"""Access control: only requests of the page itself, with the token's cookie, are answered.

Faces are personal data, and any web page that a reviewer has open can send requests to a loopback address. So every
request must name this server in `Host` (against DNS rebinding) and carry the cookie that was given for the token; a
request that changes anything must also come from the page (`Origin`, and a CSRF value that only the page can read).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CSRF = "x-agebench-csrf"
MOST_BYTES = 64 * 1024  # of a request's body
MOST_TARGET = 4 * 1024  # of its path and query
SAFE = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Pass:
    """The token, and the cookie and CSRF value derived from it, so that open pages go on working if the server is
    restarted with the same token."""

    def __init__(self, token: str | None = None, *, port: int = 0) -> None:
        self.token = token or secrets.token_urlsafe(24)
        self.name = f"agebench_review_{port}"  # browsers send a host's cookies to all of its ports
        self.cookie = self._derived("cookie")
        self.csrf = self._derived("csrf")

    def _derived(self, use: str) -> str:
        return hmac.new(self.token.encode(), f"agebench review {use}".encode(), "sha256").hexdigest()

    def takes_token(self, given: str) -> bool:
        return _same(given, self.token)

    def takes_cookie(self, headers: Headers) -> bool:
        try:
            crumbs = SimpleCookie("; ".join(headers.getlist("cookie")))
        except CookieError:
            return False
        return self.name in crumbs and _same(crumbs[self.name].value, self.cookie)

    def takes_csrf(self, headers: Headers) -> bool:
        return _same(headers.get(CSRF, ""), self.csrf)


class Guard:
    """ASGI middleware that lets allowed requests through and adds the security headers to every response.

    hosts: allowed values of `Host`, such as `127.0.0.1:8765`. Refuses with 400 (no host or another one), 403 (token,
    cookie, origin or CSRF value), 405, 413, 414; the messages say no more than a person needs.
    """

    def __init__(self, app: ASGIApp, *, pass_: Pass, hosts: Iterable[str]) -> None:
        self.app, self.pass_ = app, pass_
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the page opens no web socket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                have = {name for name, _ in message["headers"]}
                more = HEADERS | {"cache-control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((k.encode(), v.encode()) for k, v in more.items() if k.encode() not in have),
                ]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            try:
                body = await _body(receive)
            except ClientDisconnect:  # an incomplete request gets no answer
                return
            refusal = PlainTextResponse("The request is too large.\n", 413) if body is None else None
        if refusal is not None:
            await refusal(scope, receive, with_headers)
            return
        assert body is not None
        sent = False

        async def receive_body() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, receive_body, with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return PlainTextResponse("This is not the address of this server.\n", 400)
        if len(scope.get("raw_path", b"")) + len(scope["query_string"]) > MOST_TARGET:
            return PlainTextResponse("The address is too long.\n", 414)
        origins = headers.getlist("origin")
        own = [[f"{scheme}://{hosts[0].lower()}"] for scheme in ("http", "https")]  # a proxy may use TLS
        if origins and [origin.lower() for origin in origins] not in own:
            return PlainTextResponse("This request comes from another page.\n", 403)
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and scope["path"] != "/":
            return PlainTextResponse("This request comes from another page.\n", 403)
        if scope["method"] in SAFE and scope["path"] == "/":
            query = parse_qs(scope["query_string"].decode("latin-1"))
            if "token" in query:
                if len(query["token"]) == 1 and self.pass_.takes_token(query["token"][0]):
                    return self._welcome()
                return PlainTextResponse(
                    "This is not the token of this server. Open the address that it printed.\n", 403
                )
        if not self.pass_.takes_cookie(headers):
            return PlainTextResponse(
                "Open the address that `agebench review serve` printed: it contains a token.\n", 403
            )
        if scope["method"] in SAFE:
            return None
        if scope["method"] != "POST":
            return PlainTextResponse("Only GET and POST are supported.\n", 405)
        if not origins or not self.pass_.takes_csrf(headers):
            return PlainTextResponse("This request does not come from the page. Reload the page.\n", 403)
        return None

    def _welcome(self) -> Response:
        """Give a cookie for the token, so that the token does not stay in the address."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self.pass_.name, self.pass_.cookie, path="/", httponly=True, samesite="strict")
        return response


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None if it exceeds MOST_BYTES (the rest is not read). Raises ClientDisconnect."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        size += len(message.get("body", b""))
        if size > MOST_BYTES:
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode())
