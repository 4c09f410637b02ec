"""Unpacking archives of strangers: plain files and folders only, inside the folder, up to a bound; then a merge.

Every member is checked before it is written, and an archive with one bad member is refused whole.
"""

from __future__ import annotations

import filecmp
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from rich.filesize import decimal

from agebench.datasets.fetch.downloads import OnBytes
from agebench.errors import ArchiveError

WORK = ".fetch"  # for unfinished work in the release's folder; readers skip hidden folders
DEPTH = 32
RATIO = 20  # pictures hardly compress at all
SMALL = 64 * 2**20  # bytes that any archive may unpack to
BLOCK = tarfile.BLOCKSIZE


def unpack(archive: Path, folder: Path, *, most: int | None, on_bytes: OnBytes) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into the new folder `folder`, which is removed where that fails.

    most: the most bytes that may come out (None: 20 times the archive, at least 64 MiB). on_bytes: called with (bytes
    of the archive read, its size). Raises ArchiveError for a damaged archive and for absolute paths, `..`, links,
    devices and bombs, and OSError.
    """
    size, unpacked = archive.stat().st_size, 0
    most = most or max(RATIO * size, SMALL)
    folder.mkdir(parents=True)
    try:
        with archive.open("rb") as raw:
            members = _zip_members if raw.read(4) == b"PK\x03\x04" else _tar_members
            raw.seek(0)
            for name, claimed, is_plain, extract in members(raw, folder):
                unpacked += max(claimed, BLOCK)  # an empty file takes space as well
                if not is_plain or not _is_inside(name) or unpacked > most:
                    raise ArchiveError(
                        f"{archive} was not unpacked: at {name!r} it has a link or a device, leads out of its folder, or "
                        f"unpacks to more than {decimal(most)}.",
                        "No release is made like that: look at the authors' page, and do not unpack it by hand.",
                    )
                extract()
                on_bytes(min(raw.tell(), size), size)
        on_bytes(size, size)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        # The readers of damaged archives raise what they like; faults of the disk have a number.
        if isinstance(error, ArchiveError) or not isinstance(error, Exception) or getattr(error, "errno", None):
            raise
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ArchiveError(
            f"{archive} cannot be unpacked: {why}.", f"Delete {archive}; the same command downloads it again."
        ) from error


def merge(source: Path, root: Path) -> int:
    """Move everything in `source` into `root`, a new folder in one step; returns the number of files in `source`.

    Files that are there with the same bytes stay. Raises ArchiveError before anything is moved where one differs.
    """
    paths = sorted(source.rglob("*"))
    for path in paths:
        target = root / path.relative_to(source)
        same = path.is_dir() if target.is_dir() else not target.exists() or filecmp.cmp(path, target, shallow=False)
        if target.is_symlink() or not same:
            raise ArchiveError(
                f"{target} differs from the release. Nothing was overwritten.",
                "Move it away, or fetch into another folder.",
            )
    files = sum(path.is_file() for path in paths)
    for path in paths:  # folders come before what is in them
        target = root / path.relative_to(source)
        if path.exists() and not target.exists():
            path.rename(target)
    return files


def _tar_members(raw: IO[bytes], folder: Path) -> Iterator[tuple[str, int, bool, Callable[[], Any]]]:
    with tarfile.open(fileobj=raw) as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # half a million of them would stay in memory
            extract = partial(tar.extract, member, folder, filter="data")
            yield member.name, member.size, member.isreg() or member.isdir(), extract
        # tarfile takes a cut for the end: a real end is a block of zeros. Reading on checks a compression's checksum.
        stream: Any = tar.fileobj
        stream.seek(tar.offset)
        if stream.read(BLOCK) != bytes(BLOCK) or len(stream.read(SMALL)) == SMALL:
            raise tarfile.ReadError("it ends without a tar's end mark")


def _zip_members(raw: IO[bytes], folder: Path) -> Iterator[tuple[str, int, bool, Callable[[], Any]]]:
    with zipfile.ZipFile(raw) as opened:
        for info in opened.infolist():
            is_plain = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            yield info.filename, info.file_size, is_plain, partial(opened.extract, info, folder)


def _is_inside(name: str) -> bool:
    path = PureWindowsPath(name)  # which knows both slashes, and drives
    return not path.anchor and ".." not in path.parts and WORK not in path.parts and len(path.parts) <= DEPTH
