"""Downloads one file over HTTPS: an interrupted download resumes, versions are never mixed, and the file is checked.

Beside `FILE.part` is `FILE.json` with the version (ETag or date) of the part. A download resumes only if the server
still has that version; otherwise it starts over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidSchema, RequestException
from rich.filesize import decimal
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

import agebench
from agebench.errors import FetchError, StorageError
from agebench.files import DECLARATION, file_hash, read_file
from agebench.recipes import Download

OnBytes = Callable[[int, int | None], None]  # bytes done, bytes in all if known
TIMEOUT = (20, 60)  # seconds to connect, and between two chunks
CHUNK = 2**16
ENOUGH = 2**20  # after so many bytes, a lost connection does not count as a failed try
RETRY = urllib3.Retry(
    total=None, connect=4, read=4, status=4, other=0, status_forcelist={408, 425, 429, 500, 502, 503, 504},
    backoff_factor=1, backoff_max=60, retry_after_max=60,
)  # fmt: skip
LOOK = (
    "Look at the authors' page: the file may have been moved or changed. A copy of the card can name another address."
)


@dataclass(frozen=True)
class FetchedFile:
    """A downloaded file. resumed: bytes from an earlier run. verified: `sha256`, `md5`, `size` or `none`."""

    file: str
    url: str
    bytes: int
    resumed: int
    verified: str


def download(item: Download, folder: Path, on_bytes: OnBytes) -> FetchedFile:
    """Download `item` into `folder` under its name, resuming what an earlier run left there.

    on_bytes: called with the bytes of this run (done, in all or None). Raises FetchError for a fault of the
    server or the file (a file with another hash or size is moved aside to `FILE.wrong`), StorageError, and OSError.
    """
    whole, part, state = (folder / f"{item.file}{end}" for end in ("", ".part", ".json"))
    resumed, retry = kept_bytes(item, folder), RETRY
    try:
        while not whole.exists():
            before = kept_bytes(item, folder)
            try:
                for done, total in _receive(item, part, state):
                    resumed = min(resumed, done)
                    on_bytes(done - resumed, total and total - resumed)
                part.replace(whole)
            except (ProtocolError, ReadTimeoutError) as cut:
                gained = kept_bytes(item, folder) - before
                retry = RETRY if gained >= ENOUGH else retry.increment("GET", item.url, error=cut)
                retry.sleep()
    except InvalidSchema as error:
        raise FetchError(
            f"{item.url} redirects to an address that is not https; no request was sent there.", LOOK
        ) from error
    except (HTTPError, RequestException) as error:
        cause = error.args[0] if isinstance(error, RequestException) and error.args else error
        raise FetchError(
            f"{item.url} could not be downloaded: {getattr(cause, 'reason', cause)}.",
            f"The same command resumes: {decimal(kept_bytes(item, folder))} are kept in {folder}.",
        ) from error
    if wrong := fault(whole, item):
        aside = whole.replace(whole.with_name(f"{item.file}.wrong"))
        state.unlink(missing_ok=True)
        raise FetchError(wrong, f"It was moved aside to {aside}; the same command downloads it again. {LOOK}")
    known = item.bytes or _stored(state).get("bytes")
    verified = "sha256" if item.sha256 else "md5" if item.md5 else "size" if known else "none"
    return FetchedFile(item.file, item.url, whole.stat().st_size, resumed, verified)


def kept_bytes(item: Download, folder: Path) -> int:
    """Bytes of `item` that an earlier run left in `folder`."""
    return next((p.stat().st_size for p in (folder / item.file, folder / f"{item.file}.part") if p.is_file()), 0)


def fault(path: Path, item: Download) -> str | None:
    """How the file at `path` differs from its card, as a sentence."""
    size = path.stat().st_size
    if item.bytes is not None and size != item.bytes:
        return f"{path} has {size:,} bytes; the card says {item.bytes:,}."
    for name, expected in (("sha256", item.sha256), ("md5", item.md5)):
        if expected is not None:
            found = file_hash(path, name)
            if found != expected:
                return f"{path} has the {name} {found}; the card says {expected}."
    return None


def need_space(folder: Path, size: int, what: str) -> None:
    """Raises StorageError if the disk of `folder`, which need not exist yet, has fewer than `size` bytes free."""
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if size > free:
        raise StorageError(
            f"{what} needs about {decimal(size)} on the disk of {folder}, but only {decimal(free)} are free.",
            "Free some space, or choose a folder on another disk; the same command continues.",
        )


def _session(url: str) -> requests.Session:
    """Requests only https addresses, including redirects; plain http only from the host of `url` itself.

    Cards allow plain http only for this machine.
    """
    session = requests.Session()
    session.max_redirects = 5
    session.adapters.clear()
    session.mount("https://", HTTPAdapter(max_retries=RETRY))
    if url.startswith("http://"):
        session.trust_env = False  # proxies are for other machines
        session.mount(f"http://{urlsplit(url).netloc}/", HTTPAdapter(max_retries=RETRY))
    return session


def _receive(item: Download, part: Path, state: Path) -> Iterator[tuple[int, int | None]]:
    """One request; yields (bytes in the part, bytes in all or None) at its start and after every chunk."""
    known = _stored(state)
    have = part.stat().st_size if part.exists() and known.get("version") and known.get("url") == item.url else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": f"agebench/{agebench.__version__}"}
    headers |= {"Range": f"bytes={have}-", "If-Range": known["version"]} if have else {}
    with (
        _session(item.url) as session,
        session.get(item.url, headers=headers, stream=True, timeout=TIMEOUT) as response,
    ):
        begin, _, end = response.headers.get("Content-Range", "").partition("/")
        total = next((int(n) for n in (end, response.headers.get("Content-Length", "")) if n.isdigit()), None)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        now = {"url": item.url, "version": version, "bytes": total}
        if have and response.status_code in (206, 416):
            if now != known or not begin.startswith(f"bytes {have}-"):
                part.unlink()
                raise ProtocolError("the file has changed on the server, so the download starts over")
        elif response.status_code != 200:
            raise FetchError(f"{item.url}: the server answered {response.status_code} {response.reason}.", LOOK)
        else:
            have = 0
        if response.headers.get("Content-Type", "").startswith(("text/html", "application/xhtml")):
            raise FetchError(f"{item.url} returned a web page instead of {item.file}.", LOOK)
        _check_size(item, total or 0)
        need_space(part.parent, (total or 0) - have, f"Downloading {item.file}")
        with part.open("ab" if have else "wb") as out:
            state.write_text(json.dumps(now), encoding="utf-8")
            yield have, total
            for piece in response.raw.stream(CHUNK, decode_content=False):
                have += len(piece)
                _check_size(item, have)
                out.write(piece)
                yield have, total
        if total and have < total:
            raise ProtocolError("the server sent only part of the remaining bytes")


def _stored(state: Path) -> dict[str, Any]:
    try:
        known = json.loads(read_file(state, DECLARATION))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _check_size(item: Download, size: int) -> None:
    """Raises FetchError for more bytes than the card allows; an approximate size may be off by a factor of 3."""
    most = item.bytes or 3 * (item.about_bytes or 0)
    if most and size > most:
        raise FetchError(f"{item.url} has {size:,} bytes or more; the card allows at most {most:,}.", LOOK)
