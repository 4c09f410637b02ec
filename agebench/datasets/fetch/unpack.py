"""Unpacking archives of strangers: plain files and folders only, inside the folder, up to a bound; then a merge.

Nothing that an archive says is acted on before it is checked, and its own bytes are counted while they are written. An
archive with one bad member is refused whole. Unpacking goes to a folder of its own, so that a half-unpacked release
never looks whole; `merge` then moves it to where it belongs and overwrites nothing.
"""

from __future__ import annotations

import bz2
import errno
import filecmp
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from agebench.datasets.fetch.disk import OnBytes, free_bytes, in_words, storing
from agebench.errors import AgebenchError, ArchiveError, StorageError

MEMBERS = 2_000_000  # IMDB-WIKI has half a million
DEPTH = 32
RATIO = 20  # pictures hardly compress at all
SMALL = 64 * 2**20  # bytes that any archive may unpack to
CHUNK = 2**18
HEADER = 2**20  # bytes that a tar's header may have
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
          UnicodeError, ValueError)  # fmt: skip


@dataclass(frozen=True)
class Merged:
    """files: moved into place. same: were there already, byte for byte."""

    files: int
    same: int


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    *,
    below: str | None = None,
    unpacked_bytes: int | None = None,
    on_bytes: OnBytes | None = None,
) -> int:
    """Unpack a tar (plain, gzip, bzip2, xz) or zip into the new folder `folder`; returns the number of files.

    below: only what the archive has in this folder, without the folder itself. unpacked_bytes: the most bytes that may
    come out (else 20 times the archive, at least 64 MiB), and never more than the disk has free. on_bytes: called with
    (bytes of the archive read, its size).
    Raises ArchiveError for a damaged archive and for absolute paths, `..`, links, devices and bombs, and StorageError;
    the folder is removed then.
    """
    with storing(folder):
        bound = unpacked_bytes or max(RATIO * archive.stat().st_size, SMALL)
        folder.mkdir(parents=True)
    try:
        with storing(folder), archive.open("rb") as raw:
            members = _zip_members(raw, archive) if raw.read(4) == b"PK\x03\x04" else _tar_members(raw, archive)
            return _write_all(members, raw, archive, folder, below, bound, on_bytes or (lambda done, total: None))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def merge(source: Path, root: Path) -> Merged:
    """Move everything in `source` into `root`; a folder that is new there moves whole.

    Files that are there with the same bytes stay. Raises ArchiveError before anything is moved where one differs, and
    StorageError.
    """
    with storing(root):
        differ = list(_conflicts(source, root))
        if differ:
            more = f", and {len(differ) - 1} more" if len(differ) > 1 else ""
            raise ArchiveError(
                f"{differ[0]}{more}: what is there differs from the release. Nothing was overwritten.",
                "Move it away, or fetch into another folder with `--root DIR`; the same command goes on from here.",
            )
        merged = _move(source, root)
        shutil.rmtree(source)
        return merged


# --- writing ---------------------------------------------------------------------------------------------------
def _write_all(
    members: Iterator[_Member], raw: IO[bytes], archive: Path, folder: Path, below: str | None, bound: int,
    on_bytes: OnBytes,
) -> int:  # fmt: skip
    size, files, claimed, written = archive.stat().st_size, 0, 0, 0
    free = free_bytes(folder)
    try:
        for number, member in enumerate(members):
            claimed += member.size
            if number >= MEMBERS:
                raise _refused(archive, f"it has more than {MEMBERS:,} members")
            if claimed > bound:
                raise _refused(archive, f"it unpacks to more than {in_words(bound)}")
            if claimed > free:
                raise StorageError(
                    f"{archive} unpacks to more than the {in_words(free)} that are free on the disk of {folder}.",
                    "Free some space; the same command goes on from here.",
                )
            parts = _safe_parts(member.name, archive)
            if below is not None:
                parts = parts[1:] if parts[:1] == [below] else []
            if not parts:
                continue
            target = folder.joinpath(*parts)
            if member.is_folder:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.open() as source, target.open("xb") as out:
                while piece := source.read(CHUNK):
                    written += len(piece)
                    if written > claimed:
                        raise _refused(archive, f"its member {member.name!r} is larger than it says")
                    out.write(piece)
            files += 1
            on_bytes(min(raw.tell(), size), size)
    except AgebenchError:
        raise
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, f"two members want the same place ('{_inside(error, folder)}')") from error
    except DAMAGE as error:
        raise _damaged(archive, str(error) or type(error).__name__) from error
    except OSError as error:
        if error.errno is None:  # gzip and bzip2 say so of damaged data
            raise _damaged(archive, str(error)) from error
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            raise _refused(archive, "it has a name that this disk cannot hold") from error
        raise
    if not files:
        where = f" in a folder '{below}'" if below else ""
        raise _damaged(archive, f"it holds no file{where}")
    on_bytes(size, size)
    return files


def _safe_parts(name: str, archive: Path) -> list[str]:
    """A member's path below the folder, part by part; `.` and doubled slashes are dropped."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or (parts and parts[0][1:2] == ":"):
        raise _refused(archive, f"its member {name!r} leads out of the folder")
    if parts and parts[0].lower() == ".fetch":
        raise _refused(archive, f"its member {name!r} has a name that is kept for downloads")
    if len(parts) > DEPTH:
        raise _refused(archive, f"its member {name[:80]!r}… lies more than {DEPTH} folders deep")
    return parts


# --- reading ---------------------------------------------------------------------------------------------------
class _Wary:
    """The bytes of a tar, without the compression; tarfile alone would read a header of any size into memory."""

    def __init__(self, raw: IO[bytes], archive: Path) -> None:
        raw.seek(0)
        magic = raw.read(6)
        raw.seek(0)
        self.stream: Any = raw
        for begins, kind in ((b"\x1f\x8b", gzip), (b"BZh", bz2), (b"\xfd7zXZ\0", lzma)):
            if magic.startswith(begins):
                self.stream = kind.open(raw)
        self.archive = archive

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise _refused(self.archive, "it has a header of unlikely size")
        return bytes(self.stream.read(size))

    def seek(self, offset: int) -> int:
        return int(self.stream.seek(offset))

    def tell(self) -> int:
        return int(self.stream.tell())


def _tar_members(raw: IO[bytes], archive: Path) -> Iterator[_Member]:
    wary = _Wary(raw, archive)
    try:
        tar = tarfile.open(fileobj=wary, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115 - closed below
    except (tarfile.TarError, EOFError) as error:
        raise _damaged(archive, "it is neither a tar nor a zip") from error
    with tar:
        while (member := tar.next()) is not None:
            tar.members = []  # half a million of them would stay in memory
            if not (member.isreg() or member.isdir()) or member.issparse():
                kind = "a link" if member.issym() or member.islnk() else "no plain file"
                raise _refused(archive, f"its member {member.name!r} is {kind}")
            _safe_parts(member.name, archive)
            if hasattr(tarfile, "data_filter"):  # Python's own opinion, from 3.11.4 on
                try:
                    tarfile.data_filter(member, str(archive.parent))
                except tarfile.FilterError as error:
                    raise _refused(archive, str(error)) from error
            yield _Member(member.name, member.size, member.isdir(), partial(_opened, tar, member))
        # tarfile takes a cut or overwritten header for the end: a real end is a block of zeros.
        wary.seek(tar.offset)
        block = wary.read(tarfile.BLOCKSIZE)
        if len(block) < tarfile.BLOCKSIZE or any(block):
            raise _damaged(archive, "it ends without a tar's end mark")
        padding = 0
        while piece := wary.read(CHUNK):  # to the checksum at the end of the compression
            padding += len(piece)
            if padding > SMALL:
                raise _refused(archive, f"more than {in_words(SMALL)} follow its end mark")


def _opened(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None
    return file


def _zip_members(raw: IO[bytes], archive: Path) -> Iterator[_Member]:
    try:
        opened = zipfile.ZipFile(raw)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise _damaged(archive, str(error)) from error
    with opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "no plain file"
                raise _refused(archive, f"its member {info.filename!r} is {what}")
            if info.flag_bits & 1:
                raise _damaged(archive, "it wants a password")
            yield _Member(info.filename, info.file_size, info.is_dir(), partial(opened.open, info))


# --- merging ---------------------------------------------------------------------------------------------------
def _conflicts(source: Path, root: Path) -> Iterator[Path]:
    """Places in `root` where something else is than in `source`. A link there is something else, too."""
    for entry in sorted(source.iterdir()):
        target = root / entry.name
        if target.is_symlink():
            yield target
        elif not target.exists():
            continue
        elif entry.is_dir() and target.is_dir():
            yield from _conflicts(entry, target)
        elif entry.is_dir() or target.is_dir() or not filecmp.cmp(entry, target, shallow=False):
            yield target


def _move(source: Path, root: Path) -> Merged:
    files = same = 0
    for entry in sorted(source.iterdir()):
        target = root / entry.name
        if not target.exists():
            files += sum(len(names) for _, _, names in os.walk(entry)) if entry.is_dir() else 1
            entry.rename(target)
        elif entry.is_dir():
            inner = _move(entry, target)
            files, same = files + inner.files, same + inner.same
        else:
            same += 1
    return Merged(files, same)


# --- faults ----------------------------------------------------------------------------------------------------
def _refused(archive: Path, why: str) -> ArchiveError:
    return ArchiveError(
        f"{archive} was not unpacked: {why}.",
        "No release is made like that: look at the authors' page, and do not unpack it by hand.",
    )


def _damaged(archive: Path, why: str) -> ArchiveError:
    return ArchiveError(
        f"{archive} cannot be unpacked: {why}.", f"Delete {archive}, and the same command downloads it anew."
    )


def _inside(error: OSError, folder: Path) -> str:
    path = Path(str(error.filename or folder))
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else path.name
