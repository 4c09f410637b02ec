"""Unpacking untrusted archives: only plain files and folders, inside the folder, up to a size limit; then a merge.

Every member is checked before it is written, and an archive with one bad member is refused whole.
"""

from __future__ import annotations

import errno
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
DISK = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
}  # others are the archive's faults


def unpack(archive: Path, folder: Path, *, below: str | None, most: int | None, on_bytes: OnBytes) -> None:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into the new folder `folder`, which appears complete or not at all.

    below: only the contents of this folder in the archive, without the folder itself. most: the largest unpacked size
    in bytes (None: 20 times the archive, at least 64 MiB). on_bytes: called with (bytes of the archive read, its size).
    Raises ArchiveError for a damaged archive and for absolute paths, `..`, links, devices and bombs, and OSError for
    faults of the disk.
    """
    beside = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)  # left by a run that was killed
    size, unpacked = archive.stat().st_size, 0
    most = most or max(RATIO * size, SMALL)
    try:
        beside.mkdir(parents=True)
        with archive.open("rb") as raw:
            members = _zip_members if raw.read(4) == b"PK\x03\x04" else _tar_members
            raw.seek(0)
            for name, claimed, is_plain, extract in members(raw, beside):
                unpacked += max(claimed, BLOCK)  # an empty file takes space too
                if not is_plain:
                    raise ValueError(f"{name!r} is a link or a device")
                if not _is_inside(name):
                    raise ValueError(f"{name!r} leads out of the folder")
                if unpacked > most:
                    raise ValueError(f"it unpacks to more than {decimal(most)}")
                extract()
                on_bytes(min(raw.tell(), size), size)
        wanted = beside / (below or "")
        if not wanted.is_dir() or not any(wanted.iterdir()):
            raise ValueError(f"it has no files{f' in a folder {below!r}' if below else ''}")
        wanted.replace(folder)
        on_bytes(size, size)
    except Exception as error:  # for damaged archives, the readers raise various types
        if isinstance(error, OSError) and error.errno in DISK:
            raise
        why = str(error).partition("\n")[0] or type(error).__name__
        raise ArchiveError(
            f"{archive} was not unpacked: {why}.",
            f"Delete {archive}; the same command then downloads it again. Do not unpack it by hand.",
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def merge(source: Path, root: Path) -> int:
    """Move everything in `source` into `root`, new folders in one step; returns the number of files in `source`.

    Existing files with the same content stay. Raises ArchiveError before anything is moved if one differs.
    """
    paths = sorted(source.rglob("*"))
    for path in paths:
        target = root / path.relative_to(source)
        same = path.is_dir() if target.is_dir() else not target.exists() or filecmp.cmp(path, target, shallow=False)
        if target.is_symlink() or not same:
            raise ArchiveError(
                f"{target} differs from the release. Nothing was overwritten.",
                "Move it away, or fetch into another folder; the same command continues.",
            )
    files = sum(path.is_file() for path in paths)
    for path in paths:  # folders come before their contents
        target = root / path.relative_to(source)
        if path.exists() and not target.exists():
            path.rename(target)
    shutil.rmtree(source)
    return files


def _tar_members(raw: IO[bytes], folder: Path) -> Iterator[tuple[str, int, bool, Callable[[], Any]]]:
    with tarfile.open(fileobj=raw) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # missing in Python 3.11.0 to 3.11.3
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined] # half a million of them would stay in memory
            extract = partial(tar.extract, member, folder)
            yield member.name, member.size, member.isreg() or member.isdir(), extract
        # tarfile treats a truncation as the end, but a real end is a block of zeros. Reading on
        # verifies the checksum of a compressed archive.
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
    path = PureWindowsPath(name)  # which handles both slashes, and drives
    return not path.anchor and ".." not in path.parts and WORK not in path.parts and len(path.parts) <= DEPTH
