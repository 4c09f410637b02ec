"""A release at a URL is read as the one on disk, with the same refusals; a store that is down is no picture's fault."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from agebench import remote
from agebench.datasets.release import read_release
from agebench.demo.releases import DATASETS, draw_releases
from agebench.errors import AgebenchError, Missing, ReleaseNotFound, RemoteError, UsageError
from agebench.manifest.export import curated_rows, face_rows, verdict_rows
from agebench.manifest.records import folders_of
from agebench.manifest.store import open_manifest, query
from agebench.pictures import MAX_BYTES, Locator, read_bytes
from agebench.recipes import load_card
from agebench.remote import Remote, as_folder
from agebench.workflows.curate import curate
from agebench.workflows.explain import explain

fresh = itertools.count()


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_releases(tmp_path_factory.mktemp("drawn"), records=60, seed=5).roots


@pytest.fixture
def bucket() -> tuple[str, MemoryFileSystem]:
    """An empty folder in memory: its URL and its file system."""
    return f"memory://bucket-{next(fresh)}/release", fsspec.filesystem("memory")


def put(root: Path, url: str) -> None:
    fsspec.filesystem("memory").put(f"{root}/", f"{url.removeprefix('memory:/')}/", recursive=True)


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_layout_at_a_url_has_the_records_of_the_one_on_disk(
    dataset: str, drawn: dict[str, Path], bucket: tuple[str, Any]
) -> None:
    put(drawn[dataset], bucket[0])
    card = load_card(dataset)
    here, there = read_release(card, drawn[dataset]), read_release(card, as_folder(bucket[0]))
    assert here.records.equals(there.records, null_equal=True)
    paths = {part: folder.relative_to(drawn[dataset]).as_posix() for part, folder in here.folders.items()}  # type: ignore[union-attr]
    assert {part: str(folder) for part, folder in there.folders.items()} == {
        part: bucket[0] if path == "." else f"{bucket[0]}/{path}" for part, path in paths.items()
    }
    locals_, remotes = Locator(here.folders), Locator(there.folders)
    for part, path in here.records.select("part", "path").unique().iter_rows():
        assert locals_.stat(part, path)[::2] == remotes.stat(part, path)[::2], path


def test_nothing_at_a_url_is_told_with_what_is_there(bucket: tuple[str, MemoryFileSystem]) -> None:
    url, store = bucket
    card = load_card("imdb-wiki")
    with pytest.raises(ReleaseNotFound, match=f"No .* in {url}: .*the folder does not exist"):
        read_release(card, as_folder(url))
    store.pipe(f"{url}/a.txt", b"x")
    with pytest.raises(ReleaseNotFound, match=r"found 1 other entries \('a.txt'\)"):
        read_release(card, as_folder(url))


# --- refusals --------------------------------------------------------------------------------------------------

ESCAPES = ["../secret.jpg", "a/../../secret.jpg", "/etc/passwd", "\\etc", "..\\secret.jpg", "c:\\x", "a\0b",
           "%2e%2e/secret.jpg", "..%2fsecret.jpg"]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leaves_the_folder_that_the_url_names(path: str, bucket: tuple[str, MemoryFileSystem]) -> None:
    url, store = bucket
    store.pipe(f"{url.rpartition('/')[0]}/secret.jpg", b"secret")
    locator = Locator({"p": as_folder(url)})
    assert locator.find("p", path) == (None, "outside_release")
    assert locator.stat("p", path) == (None, None, "outside_release")


@pytest.mark.parametrize(
    "path",
    ["zip::file:/etc/passwd", "zip::file:///etc/passwd", "file:///etc/passwd", "a//b.jpg", "./a.jpg", "", "b/c.jpg"],
)
def test_a_path_is_a_name_and_never_a_url(path: str, bucket: tuple[str, MemoryFileSystem]) -> None:
    url, store = bucket
    store.pipe(f"{url}/a.jpg", b"x")
    locator = Locator({"p": as_folder(url)})
    assert locator.stat("p", path) == (None, None, "missing")
    place, _ = locator.find("p", path)
    assert place is None or read_bytes(place) == (b"", "missing")


def test_sizes_and_kinds_are_told_from_one_listing_a_folder(
    bucket: tuple[str, MemoryFileSystem], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, store = bucket
    for name, content in {"a.jpg": b"picture", "empty.jpg": b"", "folder.jpg/x": b"", "deep/b.jpg": b"x"}.items():
        store.pipe(f"{url}/{name}", content)
    asked: list[str] = []
    plain = MemoryFileSystem.ls

    def ls(self: MemoryFileSystem, path: str, **more: Any) -> Any:
        asked.append(path)
        found = plain(self, path, **more)
        return [{**info, "size": MAX_BYTES + 1} if info["name"].endswith("b.jpg") else info for info in found]

    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    locator = Locator({"p": as_folder(url)})
    faults = [locator.stat("p", p)[2] for p in ("a.jpg", "empty.jpg", "folder.jpg", "deep/b.jpg", "deep/c", "no/d")]
    assert faults == [None, "empty", "not_a_file", "file_too_large", "missing", "missing"]
    assert len(asked) == 2
    size, mtime, _ = locator.stat("p", "a.jpg")
    assert (size, mtime == Locator({"p": as_folder(url)}).stat("p", "a.jpg")[1]) == (7, True)
    assert read_bytes(as_folder(url) / "a.jpg") == (b"picture", None)


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.jpg").write_bytes(b"secret")
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "through").symlink_to(tmp_path / "elsewhere")
    locator = Locator({"p": as_folder(f"local://{folder}")})
    assert locator.stat("p", "link.jpg")[2] == "outside_release"
    assert locator.stat("p", "through/a.jpg")[2] == "missing"


def test_urls_that_would_leak_or_chain_are_refused(tmp_path: Path) -> None:
    for url in ("s3://key:secret@bucket/x", "s3://bucket/x?token=1", "zip://a::s3://bucket/x.zip"):
        with pytest.raises(UsageError) as error:
            as_folder(url)
        assert "secret" not in str(error.value)
    with pytest.raises(Missing, match="nosuch://x/y cannot be opened"):
        as_folder("nosuch://x/y").is_dir()
    assert as_folder(f"file://{tmp_path}") == tmp_path
    assert as_folder("data/x") == Path("data/x")
    assert as_folder("s3://bucket/x/") == Remote("s3://bucket/x")
    assert str(Remote("s3://bucket/x").parent) == "s3://bucket"
    assert Remote("s3://bucket").parent == Remote("s3://bucket")


# --- stores that fail ------------------------------------------------------------------------------------------


class Flaky(MemoryFileSystem):
    """Does not answer the first `failures` requests."""

    protocol = "flaky"
    failures = 0

    def open(self, path: str, *arguments: Any, **more: Any) -> Any:
        if Flaky.failures > 0:
            Flaky.failures -= 1
            raise ConnectionResetError("reset by peer")
        return fsspec.filesystem("memory").open("/flaky/a.jpg")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    monkeypatch.setattr(remote, "WAITS", (0, 0, 0))
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    fsspec.filesystem("memory").pipe("/flaky/a.jpg", b"picture")
    yield Remote("flaky://r", "a.jpg")
    Flaky.failures = 0


def test_a_store_that_stumbles_is_asked_again_and_one_that_is_down_stops_the_run(flaky: Remote) -> None:
    Flaky.failures = len(remote.WAITS)
    assert read_bytes(flaky) == (b"picture", None)
    Flaky.failures = len(remote.WAITS) + 1
    with pytest.raises(RemoteError, match=r"flaky://r/a\.jpg does not answer: ConnectionResetError: reset by peer"):
        read_bytes(flaky)
    assert not isinstance(RemoteError("x"), OSError)
    assert isinstance(RemoteError("x"), AgebenchError)


# --- the whole -------------------------------------------------------------------------------------------------


def test_curating_at_a_url_gives_the_rows_of_the_folder_and_later_commands_find_the_pictures(
    drawn: dict[str, Path], detector: str, tmp_path: Path
) -> None:
    found = []
    root = drawn["imdb-wiki"]
    for name, place in (("here", str(root)), ("there", f"local://{root}")):
        manifest = tmp_path / f"{name}.duckdb"
        report = curate("imdb-wiki", root=place, manifest=manifest, detector=detector, estimators=[], workers=2)
        assert (report.records, report.observed) == (60, 60)
        with open_manifest(manifest) as con:
            found.append(
                (
                    curated_rows(con).drop("file"),
                    face_rows(con),
                    verdict_rows(con),
                    query(con, "FROM image ORDER BY ALL"),
                )
            )
    assert all(one.equals(two, null_equal=True) for one, two in zip(*found, strict=True))
    again = curate("imdb-wiki", root=f"local://{root}", manifest=manifest, estimators=[])
    assert (again.observed, again.reused) == (0, 60)
    part, path = found[1][0].row(0, named=True)["part"], found[1][0].row(0, named=True)["path"]
    shown = explain(manifest, part, path)
    assert shown.picture is not None
    assert str(shown.file) == f"local://{root}/{part}_crop/{path}"
    with open_manifest(manifest) as con:
        assert all(isinstance(folder, Remote) for folder in folders_of(con).values())
