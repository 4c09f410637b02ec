"""Opening pictures from untrusted releases: never outside the release, no decompression bombs, one read and decode.

A fault of a file is returned as one of `FAULTS`: it is data about the record and stops nothing.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from agebench.remote import Entry, Folder, Remote

FAULTS = {
    "outside_release": "its path or link leaves the release; it was not opened",
    "missing": "no such file",
    "not_a_file": "a folder, pipe or device, not a file",
    "no_permission": "it may not be read",
    "empty": "it holds no bytes",
    "file_too_large": "it holds more than 256 MiB; it was not read",
    "not_a_picture": "its bytes are not a picture in a known format",
    "absurd_dimensions": "its header claims more than 100 megapixels or a side over 30,000; it was not decoded",
    "truncated": "its data is truncated or damaged",
    "crashed": "decoding it ended the worker process",
}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 100_000_000
MAX_SIDE = 30_000
ORIENTATION = 0x0112  # EXIF tag


@dataclass
class Locator:
    """Finds the files of a release and refuses those that lie outside it; remembers folders it has resolved."""

    folders: Mapping[str, Folder]
    _roots: dict[str, str] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)
    _listings: dict[Remote, dict[str, Entry]] = field(default_factory=dict)

    def find(self, part: str, path: str) -> tuple[str | Remote | None, str | None]:
        """(file, None) for a path that stays inside its part's folder, else (None, fault)."""
        if part not in self.folders or not path:
            return None, "missing"
        pieces = path.replace("\\", "/").split("/")
        if path[0] in "/\\" or ".." in pieces or "\0" in path or path[1:2] == ":":
            return None, "outside_release"
        folder = self.folders[part]
        if isinstance(folder, Remote):
            if ".." in unquote(path).replace("\\", "/").split("/"):
                return None, "outside_release"
            return (None, "missing") if {"", "."} & set(path.split("/")) else (folder / path, None)
        root = self._roots.get(part) or self._roots.setdefault(part, os.path.realpath(folder))
        file = os.path.join(root, path)  # noqa: PTH118 - pathlib is slow for half a million files
        parent = os.path.dirname(file)  # noqa: PTH120
        real = self._parents.get(parent)
        if real is None:
            try:
                real = self._parents[parent] = os.path.realpath(parent)
            except ValueError:  # a lone surrogate is no file name
                return None, "missing"
        if real != root and not real.startswith(root + os.sep):
            return None, "outside_release"
        return file, None

    def stat(self, part: str, path: str) -> tuple[int | None, int | None, str | None]:
        """(bytes, mtime in ns, fault) of one file, without opening it."""
        file, fault = self.find(part, path)
        if file is None:
            return None, None, fault
        if isinstance(file, Remote):
            return self._listed_as(file)
        try:
            info = os.lstat(file)
            if stat.S_ISLNK(info.st_mode):
                target = os.path.realpath(file)
                if not target.startswith(self._roots[part] + os.sep):
                    return None, None, "outside_release"
                info = os.stat(target)  # noqa: PTH116
        except PermissionError:
            return None, None, "no_permission"
        except (OSError, ValueError):  # missing, a name too long, a loop of links, a lone surrogate
            return None, None, "missing"
        if not stat.S_ISREG(info.st_mode):
            return None, None, "not_a_file"
        return info.st_size, info.st_mtime_ns, _fault_of_size(info.st_size)

    def _listed_as(self, file: Remote) -> tuple[int | None, int | None, str | None]:
        entry = self._list(file.parent).get(file.name)
        if entry is None:
            return None, None, "missing"
        if entry.kind != "file":
            return None, None, "outside_release" if entry.kind == "link" else "not_a_file"
        return entry.bytes, entry.mtime, _fault_of_size(entry.bytes)

    def _list(self, folder: Remote) -> dict[str, Entry]:
        """The entries of a folder, listed once: a request per file would take days. Links are not followed."""
        if folder not in self._listings:
            above = self._list(folder.parent).get(folder.name) if folder.path else Entry("folder", None, None)
            self._listings[folder] = folder.entries() if above is not None and above.kind == "folder" else {}
        return self._listings[folder]


def _fault_of_size(size: int | None) -> str | None:
    return "empty" if size == 0 else "file_too_large" if size is not None and size > MAX_BYTES else None


@dataclass(frozen=True)
class Picture:
    """One decoded picture. `rgb`: (H, W, 3) uint8, upright; `scale`: rgb pixels per pixel of the original."""

    sha256: str
    format: str
    width: int
    height: int
    channels: int
    rgb: NDArray[np.uint8]
    scale: float


def read_bytes(file: str | Remote) -> tuple[bytes, str | None]:
    """(bytes, None) of a file found by `Locator`, or (b"", fault).

    Raises RemoteError if the store of a URL does not answer, which is not a fault of the picture.
    """
    try:
        if isinstance(file, Remote):
            data = file.read_bytes(MAX_BYTES + 1)
            return (data, None) if len(data) <= MAX_BYTES else (b"", "file_too_large")
        with os.fdopen(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as handle:
            data = handle.read(MAX_BYTES + 1)
            return (data, None) if len(data) <= MAX_BYTES else (b"", "file_too_large")
    except PermissionError:
        return b"", "no_permission"
    except IsADirectoryError:
        return b"", "not_a_file"
    except (OSError, ValueError):  # missing, a name too long, a lone surrogate
        return b"", "missing"


def decode(data: bytes, *, at_least: int | None = None, sha256: str | None = None) -> tuple[Picture | None, str | None]:
    """(picture, None), or (None, fault) for bytes that are not a complete picture.

    `at_least`: the long side, in pixels, that the caller needs; a larger JPEG is decoded at a half, quarter or
    eighth of its size if that is enough. The orientation in the picture's EXIF data is applied.
    """
    if not data:
        return None, "empty"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own limits are warnings; ours below are faults
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            width, height = image.size
            if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
                return None, "absurd_dimensions"
            channels = len(image.getbands())
            name = image.format or "?"
            if at_least and max(width, height) >= 2 * at_least:
                share = at_least / max(width, height)
                image.draft("RGB", (max(1, round(width * share)), max(1, round(height * share))))
            image.load()
            if image.getexif().get(ORIENTATION) in (5, 6, 7, 8):  # those that turn the picture by a quarter
                width, height = height, width
            upright = ImageOps.exif_transpose(image)
            rgb = np.asarray(_on_black(upright).convert("RGB"))
    except Image.DecompressionBombError:
        return None, "absurd_dimensions"
    except UnidentifiedImageError:
        return None, "not_a_picture"
    except Exception:  # noqa: BLE001 - Pillow's readers raise what they like on damaged data (struct.error, zlib.error)
        return None, "truncated"
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return Picture(digest, name, width, height, channels, rgb, rgb.shape[1] / width), None


def _on_black(image: Image.Image) -> Image.Image:
    """Transparent parts become black; palettes and odd modes become what `convert("RGB")` takes without loss."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image, dtype=np.float64)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(canvas, rgba)
    return image


def stat_all(
    locator: Locator, parts: Sequence[str], paths: Sequence[str]
) -> list[tuple[int | None, int | None, str | None]]:
    """`Locator.stat` of many files, in order."""
    return [locator.stat(part, path) for part, path in zip(parts, paths, strict=True)]
