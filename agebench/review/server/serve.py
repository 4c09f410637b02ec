"""review serve: serve the review page of one manifest on this machine."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from agebench.errors import Interrupted, Missing, UsageError
from agebench.manifest.places import curate_command, must_be_judged
from agebench.manifest.store import open_manifest
from agebench.review.server.session import ReviewSession
from agebench.review.server.snapshot import Reviewers


def serve(
    manifest: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    reviewer: str | None = None,
    reviewers: Sequence[str] = (),
    overlap: float = 0.0,
    seed: int = 0,
    exposed: bool = False,
    names: Sequence[str] = (),
    on_ready: Callable[[str, int], None] | None = None,
) -> None:
    """Serve the review page until Ctrl-C. on_ready is called with the address, including its token, and the number of
    waiting records.

    port: 0 for any free one. exposed: allow addresses that other machines can reach; names: host names under which they
    reach this one. Raises UsageError, NothingCurated, ManifestError, DecisionError; Interrupted at the end, which says
    how to apply the answers.
    """
    if not is_loopback(host) and not exposed:
        raise UsageError(
            f"{host} can be reached from other machines, and the page shows people's faces.",
            "Leave out `--host`; or, behind an authenticating proxy, add `--exposed`.",
        )
    if token is not None and len(token) < 16:
        raise UsageError("A token of fewer than 16 characters can be guessed.", "Leave it out to get a random one.")
    with open_manifest(manifest) as con:
        must_be_judged(con, manifest)
        curate = curate_command(con, manifest)
    session = ReviewSession(manifest, reviewers=Reviewers(tuple(reviewers), overlap, seed))

    try:
        import uvicorn

        from agebench.review.server.app import create_app
    except ModuleNotFoundError as error:
        raise Missing(f"The review page needs {error.name}.", "`pip install 'agebench[review]'` brings it.") from error
    from agebench.review.server.guard import Pass

    listener = _listener(host, port)
    port = int(listener.getsockname()[1])
    pass_ = Pass(token, port=port)
    app = create_app(session, pass_, hosts=host_names(host, port, names), reviewer=reviewer, curate=curate)
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, date_header=False, ws="none", lifespan="off",
        http="h11", timeout_keep_alive=30, timeout_graceful_shutdown=5, backlog=512,
        h11_max_incomplete_event_size=32 * 1024,
    )  # fmt: skip
    shown = f"[{host}]" if ":" in host else host
    session.follow()
    try:
        if on_ready:
            who = reviewer if reviewer in reviewers else None
            on_ready(f"http://{shown}:{port}/?token={pass_.token}", session.left(who))
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt as end:
        raise Interrupted(
            f"The page has ended. All saved answers are in {session.file}.", f"`{curate}` applies them."
        ) from end
    finally:
        session.close()
        listener.close()


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str, port: int, names: Sequence[str] = ()) -> set[str]:
    """Allowed values of the header `Host`, against DNS rebinding."""
    own = {host, *names}
    if is_loopback(host):
        own |= {"localhost", "127.0.0.1", "::1"}
    found = {f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in own}
    return found | {f"[{name}]" if ":" in name else name for name in own if port in (80, 443)} | set(names)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is given; without it, each reply waits 40 ms for the browser's ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"Cannot listen on {host}, port {port}: {reason}.", "`--port 0` takes a free one.") from error
    listener.listen(512)
    return listener
