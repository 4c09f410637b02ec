"""Listing the pictures of a release: sorted, without hidden files, never through links that lead out of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agebench.errors import ReleaseError
from agebench.remote import Folder, Remote

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


@dataclass(frozen=True)
class Listing:
    """paths: pictures relative to the folder, with `/`, sorted. links: links that were left out because they lead
    outside."""

    paths: list[str]
    links: list[str]

    @property
    def notes(self) -> list[str]:
        if not self.links:
            return []
        return [f"{len(self.links)} link(s) that lead out of the release were left out, for example '{self.links[0]}'."]


def list_pictures(folder: Folder, *, deep: bool = False) -> Listing:
    """The pictures in a folder (`deep`: and its subfolders), by their extensions in upper or lower case.

    Hidden files and folders are ignored. A link to a file inside the folder counts as a picture; any other link is left
    out. Raises ReleaseError if a folder cannot be listed.
    """
    if isinstance(folder, Remote):
        return _list_remote(folder, deep)
    home = folder.resolve()
    paths: list[str] = []
    links: list[str] = []
    stack = [""]
    while stack:
        below = stack.pop()
        try:
            with os.scandir(home / below) as entries:
                for entry in entries:
                    name = f"{below}{entry.name}"
                    if entry.name.startswith("."):
                        continue
                    if entry.is_symlink():
                        target = Path(entry.path).resolve()
                        if target.is_dir() or not target.is_relative_to(home):
                            links.append(name)
                            continue
                    elif entry.is_dir():
                        if deep:
                            stack.append(f"{name}/")
                        continue
                    if os.path.splitext(entry.name)[1].lower() in PICTURES:  # noqa: PTH122 - 50,000 names at once
                        paths.append(name)
        except OSError as error:
            raise ReleaseError(
                f"{home / below} cannot be listed ({error.strerror}).", "Check the folder's permissions and the disk."
            ) from error
    return Listing([_text(p) for p in sorted(paths)], sorted(_text(p) for p in links))


def _list_remote(folder: Remote, deep: bool) -> Listing:
    paths: list[str] = []
    links: list[str] = []
    stack = [""]
    while stack:
        below = stack.pop()
        for name, entry in (folder / below.rstrip("/") if below else folder).entries().items():
            if name.startswith("."):
                continue
            if entry.kind == "folder":
                if deep:
                    stack.append(f"{below}{name}/")
            elif entry.kind == "link":
                links.append(below + name)
            elif os.path.splitext(name)[1].lower() in PICTURES:  # noqa: PTH122
                paths.append(below + name)
    return Listing(sorted(paths), sorted(links))


def subfolder(root: Folder, name: str) -> Folder | None:
    """The folder `name` in `root`, ignoring case; None if there is none."""
    return _named(root, name, lambda found: found.is_dir())


def subfile(root: Folder, name: str) -> Folder | None:
    """The file `name` in `root`, in any case; None where there is none."""
    return _named(root, name, lambda found: not found.is_dir())


def _named(root: Folder, name: str, is_wanted: Callable[[Folder], bool]) -> Folder | None:
    try:
        found = sorted((p for p in root.iterdir() if p.name.lower() == name.lower() and is_wanted(p)), key=str)
    except OSError:
        return None
    return found[0] if found else None


def _text(name: str) -> str:
    """A file name for a table: bytes that are not valid UTF-8 become `?`."""
    return name.encode("utf-8", "replace").decode("utf-8")
