"""One file over HTTP: goes on where it was cut, never mixes two versions, and is checked before it gets its name.

Beside `FILE.part` lies `FILE.json` with what the server said of the file. A part is continued only where its ETag or
date is still the same, or where the card has a hash that would show a mixture; otherwise it starts over.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

import agebench
from agebench.datasets.fetch.disk import OnBytes, in_words, need_space, storing
from agebench.errors import FetchError, Interrupted
from agebench.recipes import Download

Verified = Literal["sha256", "md5", "size", "none"]
TRIES = 5  # in a row that bring nearly nothing
ENOUGH = 2**20  # bytes that make a try worth another one
BACKOFF_SECONDS = 1.0  # doubled after every vain try
LONGEST_WAIT = 60.0
TIMEOUTS = (20.0, 60.0)  # seconds: to connect, between two pieces
CHUNK = 2**16
REDIRECTS = 5
ANOTHER = "The authors may have another file now: look at their page (`agebench cp` copies the card to be mended)."
LATER = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Downloaded:
    """A whole file. resumed: bytes of it that were here before. verified: `size` where only its length was known."""

    path: Path
    bytes: int
    resumed: int
    verified: Verified


@dataclass(frozen=True)
class _Remote:
    """What the server said of the file that the part is of."""

    url: str
    etag: str | None = None
    modified: str | None = None
    bytes: int | None = None

    @property
    def validator(self) -> str | None:
        """For If-Range, which takes strong ETags only."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class _Broken(Exception):
    """A try failed in a way that may pass. wait: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def download(item: Download, folder: Path, on_bytes: OnBytes | None = None) -> Downloaded:
    """Bring `item` into `folder` under its name, going on from what is there.

    on_bytes: called with (bytes here, bytes in all or None). Raises FetchError where the server or the file is at fault
    (a file of another hash or size is moved aside to `FILE.wrong`), StorageError, and Interrupted at Ctrl-C.
    """
    whole = folder / item.file
    transfer = _Transfer(item, folder, on_bytes or (lambda done, total: None))
    try:
        if not whole.exists():
            transfer.persist()
            with storing(folder):
                transfer.part.replace(whole)
        if fault := _fault(whole, item):
            raise _moved_aside(whole, transfer.state, fault)
        return Downloaded(whole, whole.stat().st_size, transfer.resumed, _verified(item, transfer.known().bytes))
    except KeyboardInterrupt:
        raise Interrupted(f"Stopped while downloading {item.file}.", transfer.goes_on()) from None


def kept_bytes(item: Download, folder: Path) -> int:
    """Bytes of `item` that an earlier try left in `folder`."""
    return next((p.stat().st_size for p in (folder / item.file, folder / f"{item.file}.part") if p.is_file()), 0)


def verify(path: Path, item: Download) -> Verified:
    """What the card could say of the file at `path`. Raises FetchError where it says otherwise."""
    if fault := _fault(path, item):
        raise FetchError(fault, f"Move {path} away and run the same command: it downloads the file.")
    return _verified(item, None)


def check_url(url: str, *, came_from: str | None = None) -> None:
    """Only https is asked, and this machine itself. Raises FetchError for any other address.

    came_from: the address that leads to `url`; one of the network may not lead to this machine.
    """
    address = urlsplit(url)
    if address.scheme == "https" and address.hostname and not (came_from and _is_loopback(url)):
        return
    if address.scheme == "http" and _is_loopback(url) and (came_from is None or _is_loopback(came_from)):
        return
    led = f"{came_from} leads to {url}, which" if came_from else url
    raise FetchError(f"{led} is no https address: it was not asked.", "Take the file by hand from the authors' page.")


class _Transfer:
    """One file on its way. resumed: bytes that were here before and are part of what is here now."""

    def __init__(self, item: Download, folder: Path, on_bytes: OnBytes) -> None:
        self.item, self.folder, self.on_bytes = item, folder, on_bytes
        self.part, self.state = folder / f"{item.file}.part", folder / f"{item.file}.json"
        self.resumed = kept_bytes(item, folder)

    def persist(self) -> None:
        """Try until the part is whole, or until several tries in a row brought nearly nothing."""
        vain = 0
        while True:
            before = self.have()
            try:
                with requests.Session() as session:
                    session.trust_env = not _is_loopback(self.item.url)  # proxies are for the network
                    return self.receive(session)
            except _Broken as broken:
                vain = 0 if self.have() - before >= ENOUGH else vain + 1
                if vain >= TRIES:
                    raise FetchError(
                        f"{self.item.url} could not be downloaded: {broken} ({TRIES} tries).", self.goes_on()
                    ) from broken
                time.sleep(min(max(BACKOFF_SECONDS * 2 ** max(vain - 1, 0), broken.wait), LONGEST_WAIT))

    def receive(self, session: requests.Session) -> None:
        """One try. Returns when the part is whole; raises _Broken where another try may bring more."""
        known, have = self.known(), self.have()
        if have and known.url == self.item.url and known.bytes == have:
            return
        headers = {"Accept-Encoding": "identity", "User-Agent": f"agebench/{agebench.__version__}"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if known.validator:
                headers["If-Range"] = known.validator
        with _ask(session, self.item.url, headers) as response:
            said = _said(self.item, response)
            if have and response.status_code in (206, 416) and not _continues(self.item, known, said, response, have):
                with storing(self.folder):
                    self.part.unlink()
                raise _Broken("the file at the server has changed, so the download starts over")
            if response.status_code not in (200, 206) or (response.status_code == 206 and not have):
                raise _refusal(self.item, response)
            if response.status_code == 206:
                said = replace(known, url=self.item.url, bytes=said.bytes or known.bytes)
            else:
                have = 0
            _check_plausible(self.item, response, said.bytes)
            need_space(self.folder, (said.bytes or self.item.bytes or have) - have, f"Downloading {self.item.file}")
            self.resumed = min(self.resumed, have)
            size = self.write(response, have, said)
        if said.bytes is not None and size < said.bytes:
            raise _Broken("the connection ended early")

    def write(self, response: requests.Response, have: int, said: _Remote) -> int:
        """Append the body to the part, of which `have` bytes are kept, and return its new size."""
        item, size, most = self.item, have, _most(self.item)
        pieces = response.raw.stream(CHUNK, decode_content=False)
        with storing(self.folder), self.part.open("ab" if have else "wb") as out:
            self.state.write_text(json.dumps(asdict(said)), encoding="utf-8")
            self.on_bytes(size, said.bytes)
            while True:
                try:
                    piece = next(pieces, b"")
                except urllib3.exceptions.HTTPError as error:
                    slow = isinstance(error, urllib3.exceptions.TimeoutError)
                    raise _Broken("nothing came for a while" if slow else "the connection broke") from error
                if not piece:
                    return size
                size += len(piece)
                if most is not None and size > most:
                    raise FetchError(
                        f"{item.url} sends more than {in_words(most)}, and {_said_by_card(item)}.", ANOTHER
                    )
                out.write(piece)
                self.on_bytes(size, said.bytes)

    def have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def known(self) -> _Remote:
        try:
            return _Remote(**json.loads(self.state.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _Remote(self.item.url)

    def goes_on(self) -> str:
        kept = in_words(kept_bytes(self.item, self.folder))
        return f"The same command goes on from here: {kept} of it are kept in {self.folder}."


# --- asking ----------------------------------------------------------------------------------------------------
def _ask(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    """GET with every step of a redirection checked before it is taken; the body is not read yet."""
    came_from: str | None = None
    for _ in range(REDIRECTS + 1):
        check_url(url, came_from=came_from)
        host = urlsplit(url).hostname
        try:
            response = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=TIMEOUTS)
        except requests.exceptions.SSLError as error:
            raise FetchError(
                f"{host} shows a certificate that cannot be trusted, so {url} was not downloaded.",
                "Check the clock and the certificates of this machine, and who stands between it and the network.",
            ) from error
        except requests.exceptions.Timeout as error:
            raise _Broken(f"{host} did not answer in time") from error
        except requests.exceptions.ConnectionError as error:
            raise _Broken(f"no connection to {host}") from error
        except requests.exceptions.RequestException as error:
            raise FetchError(f"{url} could not be asked: {error}.", "Check the address in the card.") from error
        if not response.is_redirect:
            return response
        came_from, url = url, urljoin(url, response.headers["location"])
        response.close()
    raise FetchError(f"{came_from} leads on and on ({REDIRECTS} redirections).", "Check the address in the card.")


def _said(item: Download, response: requests.Response) -> _Remote:
    headers = response.headers
    length: int | None = None
    if response.status_code in (206, 416):
        found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", headers.get("Content-Range", "").strip())
        length = int(found[1]) if found else None
    elif headers.get("Content-Length", "").isdigit():
        length = int(headers["Content-Length"])
    return _Remote(item.url, headers.get("ETag"), headers.get("Last-Modified"), length)


def _continues(item: Download, known: _Remote, said: _Remote, response: requests.Response, have: int) -> bool:
    """Whether a partial answer goes on exactly where the part ends, and is of the same file."""
    if response.status_code == 416 or not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return False
    if known.url != item.url or (known.bytes and said.bytes and known.bytes != said.bytes):
        return False
    if known.etag and said.etag:
        return known.etag == said.etag
    if known.modified and said.modified:
        return known.modified == said.modified
    return bool(item.sha256 or item.md5)


def _check_plausible(item: Download, response: requests.Response, length: int | None) -> None:
    """Raises FetchError where what comes can be no such file: a page of text, or one of quite another size."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise FetchError(
            f"{item.url} answers with a web page where {item.file} was expected.",
            "A network that wants a login answers so, or the file has moved: look at the authors' page.",
        )
    most = _most(item)
    if length is not None and ((item.bytes and length != item.bytes) or (most and length > most)):
        raise FetchError(f"{item.url} has {length:,} bytes ({in_words(length)}), and {_said_by_card(item)}.", ANOTHER)


def _refusal(item: Download, response: requests.Response) -> Exception:
    status = f"the server answers {response.status_code} {response.reason or ''}".strip()
    if response.status_code in LATER:
        after = response.headers.get("Retry-After", "")
        return _Broken(status, float(after) if after.isdigit() else 0.0)
    return FetchError(f"{item.url} could not be downloaded: {status}.", "It may have moved: look at the authors' page.")


def _most(item: Download) -> int | None:
    """The most bytes that can be meant by the card."""
    return item.bytes or (3 * item.about_bytes if item.about_bytes else None)


def _said_by_card(item: Download) -> str:
    return f"the card says {item.bytes:,}" if item.bytes else f"the card says about {in_words(item.about_bytes or 0)}"


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# --- checking --------------------------------------------------------------------------------------------------
def _fault(path: Path, item: Download) -> str | None:
    """What is wrong with a whole file by its card, as a sentence."""
    with storing(path):
        size = path.stat().st_size
        if item.bytes is not None and size != item.bytes:
            return f"{path} has {size:,} bytes, and the card says {item.bytes:,}."
        for name, expected in (("sha256", item.sha256), ("md5", item.md5)):
            if expected is not None:
                with path.open("rb") as file:
                    found = hashlib.file_digest(file, partial(hashlib.new, name, usedforsecurity=False))
                if found.hexdigest() != expected:
                    return f"{path} has the {name} {found.hexdigest()}, and the card says {expected}."
    return None


def _verified(item: Download, announced: int | None) -> Verified:
    if item.sha256 or item.md5:
        return "sha256" if item.sha256 else "md5"
    return "size" if item.bytes or announced else "none"


def _moved_aside(whole: Path, state: Path, fault: str) -> FetchError:
    wrong = whole.with_name(f"{whole.name}.wrong")
    with storing(whole.parent):
        whole.replace(wrong)
        state.unlink(missing_ok=True)
    return FetchError(
        fault,
        f"It was moved aside to {wrong}, and the same command downloads it anew. Where that comes to the same, the "
        "authors have another file now: look at their page.",
    )
