"""Folders and files at a URL (`s3://bucket/imdb-wiki`), by fsspec, or by pyarrow where fsspec lacks the package.

Not by universal_pathlib: there `exists()` is False for a store that is down, every file costs requests of its own, and
a name in the release that begins with `/` leaves the folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from agebench.errors import Missing, RemoteError, UsageError
from agebench.files import LABELS, must_fit, read_file

Kind = Literal["file", "folder", "link"]
Answer = TypeVar("Answer")
WAITS = (0.5, 1.0, 2.0)  # seconds before each further try, until the run stops: a store that is down is no file's fault
MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")  # as the file systems call it


class Entry(NamedTuple):
    """What a listing says of one name. bytes, mtime (ns since 1970): None where the store does not say."""

    kind: Kind
    bytes: int | None
    mtime: int | None


@dataclass(frozen=True)
class Remote:
    """A folder or file at a URL, with as much of `pathlib.Path` as reading a release takes.

    url: the folder that the user named; path: below it, with `/`. Only `url` is ever parsed: what a release names
    cannot turn into another protocol, store or host. Every request raises RemoteError where the store does not answer.
    """

    url: str
    path: str = ""
    kind: Kind | None = None

    def __str__(self) -> str:
        return f"{self.url}/{self.path}" if self.path else self.url

    def __truediv__(self, name: str) -> Remote:
        return Remote(self.url, f"{self.path}/{name}" if self.path else name)

    @property
    def name(self) -> str:
        return str(self).rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> Remote:
        if self.path:
            return Remote(self.url, self.path.rpartition("/")[0])
        above = self.url.rpartition("/")[0]
        return Remote(above) if urlsplit(above).netloc else self

    def absolute(self) -> Remote:
        return self

    resolve = absolute

    def exists(self) -> bool:
        return self.is_dir() or self.is_file()

    def is_dir(self) -> bool:
        return self.kind == "folder" if self.kind else self._ask(lambda store, place: bool(store.isdir(place)))

    def is_file(self) -> bool:
        return self.kind == "file" if self.kind else self._ask(lambda store, place: bool(store.isfile(place)))

    def iterdir(self) -> Iterator[Remote]:
        return (Remote(self.url, (self / name).path, entry.kind) for name, entry in self.entries().items())

    def entries(self) -> dict[str, Entry]:
        """Name → entry of what lies in a folder, in one listing; nothing where it is no folder."""
        try:
            return self._ask(_list)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError as error:
            raise RemoteError(f"{self} may not be listed: {error}.", "Check the credentials.") from error

    def read_bytes(self, most: int = -1) -> bytes:
        """The bytes of a file, at most `most`. Raises FileNotFoundError, PermissionError, IsADirectoryError too."""

        def read(store: Any, place: str) -> bytes:
            with store.open(place, "rb") as handle:
                return bytes(handle.read(most))

        return self._ask(read)

    def _ask(self, request: Callable[[Any, str], Answer]) -> Answer:
        store, root = _store(self.url)
        place = f"{root.rstrip('/')}/{self.path}" if self.path else root
        waits = iter(WAITS)
        while True:
            try:
                return request(store, place)
            except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
                raise
            except Exception as error:  # stores raise types of their own
                if (wait := next(waits, None)) is None:
                    raise RemoteError(
                        f"{self} does not answer: {type(error).__name__}: {str(error).strip()[:300]}.",
                        "Check the network and the credentials; the same command goes on from there.",
                    ) from error
            time.sleep(wait)


Folder = Path | Remote


def read_whole(file: Folder, largest: int = LABELS) -> bytes:
    """The content of a file of at most `largest` bytes, here or at a URL.

    Raises OSError, whose `strerror` completes the sentence "FILE cannot be read: …", and RemoteError.
    """
    if isinstance(file, Path):
        return read_file(file, largest)
    content = file.read_bytes(largest + 1)
    must_fit(len(content), largest)
    return content


def as_folder(place: str | Path | Remote) -> Folder:
    """A path, or what a URL names. Raises UsageError for a URL that holds a password or settings, or chains stores."""
    text = str(place)
    if isinstance(place, Remote) or "://" not in text:
        return place if isinstance(place, Remote) else Path(place)
    parts = urlsplit(text)
    if parts.password is not None or parts.query or "::" in text:
        raise UsageError(
            f"The URL of {parts.hostname} holds a password or settings, or chains stores with '::'.",
            "Name one folder. Passwords and settings belong into the environment (AWS_ENDPOINT_URL and the like) or "
            "into fsspec's own configuration, for the URL is written into the manifest.",
        )
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Remote(text.rstrip("/"))


@lru_cache
def _store(url: str) -> tuple[Any, str]:
    """(file system, place in it) of a URL. Raises Missing where nothing here speaks its protocol."""
    from fsspec.core import url_to_fs
    from fsspec.implementations.arrow import ArrowFSWrapper
    from pyarrow import ArrowException
    from pyarrow.fs import FileSystem

    try:
        store, place = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        try:
            arrow, place = FileSystem.from_uri(url)
            store = ArrowFSWrapper(arrow)
        except (ArrowException, OSError, ImportError) as second:
            raise Missing(f"{url} cannot be opened: {error}; pyarrow: {second}.", "Install what it needs.") from error
    return store, str(place)


def _list(store: Any, place: str) -> dict[str, Entry]:
    found = {}
    for info in store.ls(place, detail=True):
        whole = str(info["name"]).rstrip("/")
        if whole.lstrip("/") != place.strip("/"):  # some stores list a folder's own marker, or a file as itself
            name = whole.rpartition("/")[2]
            found[unquote(name) if "http" in store.protocol else name] = _entry(info)
    return found


def _entry(info: dict[str, Any]) -> Entry:
    kind: Kind = "link" if info.get("islink") else "folder" if info.get("type") == "directory" else "file"
    when = next((info[key] for key in MTIME_KEYS if info.get(key) is not None), None)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    seconds = when.timestamp() if isinstance(when, datetime) else when
    return Entry(kind, info.get("size"), None if seconds is None else int(seconds * 10**9))
