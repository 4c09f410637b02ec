"""Folders and files at a URL (`s3://bucket/imdb-wiki`), through fsspec, or pyarrow if fsspec lacks a package for it.

Not through universal_pathlib: its `exists()` is False for a store that is down, every file costs separate requests,
and a name in the release that begins with `/` leaves the folder.
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
WAITS = (0.5, 1.0, 2.0)  # seconds before each retry; then the run stops, as an unreachable store is not a file's fault
MTIME_KEYS = ("mtime", "LastModified", "last_modified", "updated", "created")  # the file systems' names for it


class Entry(NamedTuple):
    """One name in a listing. bytes, mtime (ns since 1970): None if the store does not give them."""

    kind: Kind
    bytes: int | None
    mtime: int | None


@dataclass(frozen=True)
class Remote:
    """A folder or file at a URL, with the part of `pathlib.Path` that reading a release needs.

    url: the folder that the user named; path: below it, with `/`. Only `url` is ever parsed: a name in a release cannot
    turn into another protocol, store or host. Every request raises RemoteError if the store does not answer.
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
        """Name → entry of a folder's contents, in one listing; empty if it is not a folder."""
        try:
            return self._ask(_list)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except PermissionError as error:
            raise RemoteError(f"No permission to list {self}: {error}.", "Check the credentials.") from error

    def read_bytes(self, most: int = -1) -> bytes:
        """The bytes of a file, at most `most`. Also raises FileNotFoundError, PermissionError, IsADirectoryError."""

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
                        "Check the network and the credentials, then run the same command again to continue.",
                    ) from error
            time.sleep(wait)


Folder = Path | Remote


def read_whole(file: Folder, largest: int = LABELS) -> bytes:
    """The content of a file of at most `largest` bytes, local or at a URL.

    Raises OSError, whose `strerror` completes the sentence "FILE cannot be read: …", and RemoteError.
    """
    if isinstance(file, Path):
        return read_file(file, largest)
    content = file.read_bytes(largest + 1)
    must_fit(len(content), largest)
    return content


def as_folder(place: str | Path | Remote) -> Folder:
    """The folder of a path or URL. Raises UsageError for a URL that has a password or settings, or chains stores."""
    text = str(place)
    if isinstance(place, Remote) or "://" not in text:
        return place if isinstance(place, Remote) else Path(place)
    parts = urlsplit(text)
    if parts.password is not None or parts.query or "::" in text:
        raise UsageError(
            f"The URL of {parts.hostname} holds a password or settings, or chains stores with '::'.",
            "Name one folder. The URL is written into the manifest, so put passwords and settings into the environment "
            "(AWS_ENDPOINT_URL and the like) or fsspec's configuration.",
        )
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else Remote(text.rstrip("/"))


@lru_cache
def _store(url: str) -> tuple[Any, str]:
    """(file system, place in it) of a URL. Raises Missing if no installed package supports its protocol."""
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
            raise Missing(
                f"{url} cannot be opened: {error}; pyarrow: {second}.", "Install the package for its protocol."
            ) from error
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
