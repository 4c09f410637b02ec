"""Archives of strangers: good ones come out whole, hostile and damaged ones leave nothing behind."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agebench.datasets.fetch import archives
from agebench.datasets.fetch.archives import merge
from agebench.datasets.fetch.downloads import OnBytes
from agebench.errors import ArchiveError

FILES = {"r/r.mat": b"labels" * 1000, "r/00/a.jpg": os.urandom(5000), "r/01/ä b.jpg": b"", "r/01/c.jpg": b"x"}


def unpack(
    archive: Path,
    folder: Path,
    *,
    below: str | None = None,
    most: int | None = None,
    on_bytes: OnBytes = lambda done, total: None,
) -> None:
    archives.unpack(archive, folder, below=below, most=most, on_bytes=on_bytes)


def tar(path: Path, members: Iterable[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                out.addfile(info, io.BytesIO(member[1]))
            else:
                out.addfile(member)
    return path


def zipped(
    path: Path, members: Iterable[tuple[str | zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_DEFLATED
) -> Path:
    with zipfile.ZipFile(path, "w", kind) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


def info(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip", "stored"])
def test_every_kind_of_archive_comes_out_whole(tmp_path: Path, kind: str) -> None:
    if kind in ("zip", "stored"):
        archive = zipped(tmp_path / "a", FILES.items(), zipfile.ZIP_DEFLATED if kind == "zip" else zipfile.ZIP_STORED)
    else:
        archive = tar(tmp_path / "a", FILES.items(), kind)
    seen: list[tuple[int, int | None]] = []
    unpack(archive, tmp_path / "out", on_bytes=lambda d, t: seen.append((d, t)))
    assert tree(tmp_path / "out") == FILES
    size = archive.stat().st_size
    assert seen[-1] == (size, size)
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_archives_of_the_usual_tools_come_out_whole(tmp_path: Path) -> None:
    """With `./` before the names, folders as members, long names and modes."""
    source = tmp_path / "source"
    for name, data in (FILES | {"r/" + "long" * 40 + "/" + "name" * 40 + ".jpg": b"y"}).items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=kind) as out:
            out.add(source, arcname=".")
        unpack(tmp_path / "a.tar", tmp_path / f"out{kind}")
        assert tree(tmp_path / f"out{kind}") == tree(source)


def test_only_what_is_below_a_folder_may_be_wanted(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("F/images/1.JPG", b"1"), ("__MACOSX/F/._1", b"2"), ("F/", b""), ("x", b"3")])
    unpack(archive, tmp_path / "out", below="F")
    assert tree(tmp_path / "out") == {"images/1.JPG": b"1"}
    with pytest.raises(ArchiveError, match="no files in a folder 'G'"):
        unpack(archive, tmp_path / "other", below="G")


@pytest.mark.parametrize(
    "bad",
    ["/etc/evil", "../evil", "r/../../evil", "r/..", "..\\evil", "C:/evil", ".fetch/lock", "d/" * 40 + "x", "n" * 300,
     "r/r.mat/x", "r/00"],
    ids=lambda name: name[:12],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, kind: str, bad: str) -> None:
    members = [*FILES.items(), (bad, b"x")]
    inner = tmp_path / "deep" / "er"
    inner.mkdir(parents=True)
    archive = (tar if kind == "tar" else zipped)(inner / "a", members)
    with pytest.raises(ArchiveError):
        unpack(archive, inner / "out")
    assert tree(tmp_path) == {"deep/er/a": archive.read_bytes()}


@pytest.mark.parametrize(
    "bad",
    [
        info("r/link", tarfile.SYMTYPE, "/etc/passwd"),
        info("r/link", tarfile.SYMTYPE, "r.mat"),
        info("r/link", tarfile.LNKTYPE, "r/r.mat"),
        info("r/link", tarfile.LNKTYPE, "/etc/passwd"),
        info("r/fifo", tarfile.FIFOTYPE),
        info("r/null", tarfile.CHRTYPE),
        info("r/disk", tarfile.BLKTYPE),
    ],
    ids=lambda bad: f"{bad.name} {bad.linkname}",
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    archive = tar(tmp_path / "a.tar", [*FILES.items(), bad])
    with pytest.raises(ArchiveError, match="a link or a device"):
        unpack(archive, tmp_path / "out")
    assert tree(tmp_path) == {"a.tar": archive.read_bytes()}


def test_a_file_through_a_link_of_the_same_archive_is_not_written(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    archive = tar(tmp_path / "a.tar", [info("r", tarfile.SYMTYPE, str(outside)), ("r/evil", b"x")])
    with pytest.raises(ArchiveError, match="a link"):
        unpack(archive, tmp_path / "out")
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int) -> None:
    bad = zipfile.ZipInfo("r/link")
    bad.create_system, bad.external_attr = 3, (mode | 0o777) << 16
    archive = zipped(tmp_path / "a.zip", [*FILES.items(), (bad, b"/etc/passwd")])
    with pytest.raises(ArchiveError, match="a link or a device"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_bombs_are_refused(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agebench.datasets.fetch.archives.SMALL", 10**6)
    zeros = [(f"r/{n}", b"\0" * 400_000) for n in range(4)]
    archive = tar(tmp_path / "a", zeros, "w:gz") if kind == "tar" else zipped(tmp_path / "a", zeros)
    assert archive.stat().st_size < 20_000
    with pytest.raises(ArchiveError, match=r"unpacks to more than 1\.0 MB"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    unpack(archive, tmp_path / "out", most=1_600_000)
    with pytest.raises(ArchiveError, match=r"unpacks to more than 1\.6 MB"):
        unpack(archive, tmp_path / "less", most=1_599_999)


def test_a_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("r/x", b"\0" * 100_000)])
    data = archive.read_bytes()
    archive.write_bytes(data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_zip_with_a_password_is_a_sentence(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("r/x", b"1")])
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    with pytest.raises(ArchiveError, match="password"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("kind", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_a_cut_archive_is_a_sentence_and_leaves_nothing(tmp_path: Path, kind: str, share: float) -> None:
    files = FILES | {f"r/02/{n}.jpg": os.urandom(3000) for n in range(20)}
    archive = zipped(tmp_path / "a", files.items()) if kind == "zip" else tar(tmp_path / "a", files.items(), kind)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArchiveError, match="Delete"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["w:gz", "w:bz2", "w:xz"])
def test_the_checksum_at_the_end_of_the_compression_counts(tmp_path: Path, kind: str) -> None:
    archive = tar(tmp_path / "a", FILES.items(), kind)
    content = archive.read_bytes()
    archive.write_bytes(content[:-6])
    with pytest.raises(ArchiveError, match="was not unpacked"):
        unpack(archive, tmp_path / "out")
    if kind == "w:gz":
        archive.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
        with pytest.raises(ArchiveError, match="CRC"):
            unpack(archive, tmp_path / "out")


def test_a_bomb_behind_the_end_mark_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agebench.datasets.fetch.archives.SMALL", 10**6)
    plain = tar(tmp_path / "plain", FILES.items()).read_bytes()
    (tmp_path / "a").write_bytes(gzip.compress(plain + bytes(2 * 10**6)))
    with pytest.raises(ArchiveError, match="end mark"):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_tar_cut_between_two_members_is_seen(tmp_path: Path) -> None:
    """tarfile takes that for the end."""
    archive = tar(tmp_path / "a.tar", [("r/a", b"x" * 512), ("r/b", b"y" * 512)])
    content = archive.read_bytes()
    for size in (1024, 1500):
        archive.write_bytes(content[:size])
        with pytest.raises(ArchiveError, match="end mark"):
            unpack(archive, tmp_path / "out")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["w", "w:gz", "w:bz2", "w:xz", "zip"]), st.integers(0, 2**32))
def test_damaged_bytes_are_a_sentence_or_harmless(tmp_path: Path, kind: str, seed: int) -> None:
    archive = zipped(tmp_path / "a", FILES.items()) if kind == "zip" else tar(tmp_path / "a", FILES.items(), kind)
    chance = random.Random(seed)
    data = bytearray(archive.read_bytes())
    for _ in range(chance.randint(1, 20)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    archive.write_bytes(data)
    try:
        unpack(archive, tmp_path / "out")
    except ArchiveError:
        assert not (tmp_path / "out").exists()
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"x" * 2000], ids=repr)
def test_what_is_no_archive_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(ArchiveError, match="was not unpacked"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


# --- merging ---------------------------------------------------------------------------------------------------


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_merging_into_nothing_moves_everything(tmp_path: Path) -> None:
    assert merge(fill(tmp_path / "new", FILES), fill(tmp_path / "root", {"notes.txt": b"n"})) == 4
    assert tree(tmp_path / "root") == FILES | {"notes.txt": b"n"}
    assert not (tmp_path / "new").exists()


def test_merging_again_keeps_what_is_the_same(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", {"r/r.mat": FILES["r/r.mat"], "r/mine": b"m"})
    merge(fill(tmp_path / "new", FILES), root)
    assert not (tmp_path / "new").exists()
    assert tree(root) == FILES | {"r/mine": b"m"}


@pytest.mark.parametrize("mine", [{"r/01/c.jpg": b"other"}, {"r/01": b"a file"}, {"r/r.mat/deep": b"a folder"}])
def test_files_of_the_user_that_differ_stop_the_merge_before_anything_moves(
    tmp_path: Path, mine: dict[str, bytes]
) -> None:
    root = fill(tmp_path / "root", mine)
    source = fill(tmp_path / "new", FILES)
    with pytest.raises(ArchiveError, match="Nothing was overwritten"):
        merge(source, root)
    assert tree(root) == mine
    assert tree(source) == FILES


def test_links_of_the_user_are_not_followed(tmp_path: Path) -> None:
    elsewhere = fill(tmp_path / "elsewhere", {"x": b"x"})
    root = tmp_path / "root"
    root.mkdir()
    (root / "r").symlink_to(elsewhere)
    with pytest.raises(ArchiveError, match="Nothing was overwritten"):
        merge(fill(tmp_path / "new", FILES), root)
    assert tree(elsewhere) == {"x": b"x"}
