"""Downloads go on where they were cut, never mix two versions, and are what the card says."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import threading
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agebench.datasets.fetch import downloads
from agebench.datasets.fetch.downloads import RETRY, FetchedFile, download, kept_bytes
from agebench.errors import FetchError, StorageError
from agebench.recipes import Download

from .conftest import Site

BODY = bytes(range(256)) * 4000  # a megabyte, no two neighbours alike
SHA = hashlib.sha256(BODY).hexdigest()


def bring(item: Download, folder: Path) -> FetchedFile:
    return download(item, folder, lambda done, total: None)


def item(site: Site, **more: Any) -> Download:
    site.files.setdefault("a.tar", BODY)
    return Download(part="a", url=site.url("a.tar"), file="a.tar", **more)


def part(folder: Path, size: int, site: Site, *, version: str | None = '"one"') -> None:
    """What a stopped download of `BODY` leaves."""
    (folder / "a.tar.part").write_bytes(BODY[:size])
    said = {"url": site.url("a.tar"), "version": version, "bytes": len(BODY)}
    (folder / "a.tar.json").write_text(json.dumps(said))


def test_a_file_comes_whole_and_progress_ends_at_its_size(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    got = download(item(site), tmp_path, lambda done, total: seen.append((done, total)))
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert (got.bytes, got.resumed, got.verified) == (len(BODY), 0, "size")
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert not (tmp_path / "a.tar.part").exists()


@pytest.mark.parametrize(
    ("card", "verified"),
    [({"sha256": SHA}, "sha256"), ({"md5": hashlib.md5(BODY).hexdigest()}, "md5"), ({"bytes": len(BODY)}, "size")],
)
def test_what_was_checked_is_told(site: Site, tmp_path: Path, card: dict[str, Any], verified: str) -> None:
    assert bring(item(site, **card), tmp_path).verified == verified


def test_a_length_that_nobody_tells_is_not_claimed_to_be_checked(site: Site, tmp_path: Path) -> None:
    site.chunked = True
    got = bring(item(site), tmp_path)
    assert ((tmp_path / "a.tar").read_bytes(), got.verified) == (BODY, "none")


def test_cut_connections_are_taken_up_where_they_broke(site: Site, tmp_path: Path) -> None:
    site.cuts = [300_000, 1, 200_000]
    got = bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == [None, "bytes=300000-", "bytes=300001-", "bytes=500001-"]
    assert got.resumed == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 400_000), max_size=4), st.booleans(), st.integers(0, len(BODY) - 1))
def test_however_it_is_cut_the_file_is_the_same(
    site: Site, tmp_path: Path, cuts: list[int], ranges: bool, kept: int
) -> None:
    folder = tmp_path / "x"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    site.cuts, site.ranges = cuts, ranges
    part(folder, kept, site)
    bring(item(site), folder)
    assert (folder / "a.tar").read_bytes() == BODY


def test_a_stopped_download_goes_on(site: Site, tmp_path: Path) -> None:
    part(tmp_path, 700_000, site)
    assert kept_bytes(item(site), tmp_path) == 700_000
    got = bring(item(site), tmp_path)
    assert ((tmp_path / "a.tar").read_bytes(), got.resumed) == (BODY, 700_000)
    assert site.asked == [("a.tar", "bytes=700000-")]


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    part(tmp_path, 700_000, site)
    got = bring(item(site), tmp_path)
    assert ((tmp_path / "a.tar").read_bytes(), got.resumed) == (BODY, 0)


@pytest.mark.parametrize("heeds", [True, False], ids=["If-Range is heeded", "If-Range is ignored"])
@pytest.mark.parametrize("by", ["etag", "modified"])
def test_two_versions_are_never_mixed(site: Site, tmp_path: Path, heeds: bool, by: str) -> None:
    site.heeds_if_range = heeds
    dates = "Mon, 02 Mar 2015 10:00:00 GMT", "Tue, 03 Mar 2015 10:00:00 GMT"
    site.etag, site.modified = ('"two"', None) if by == "etag" else (None, dates[1])
    part(tmp_path, 700_000, site, version='"one"' if by == "etag" else dates[0])
    site.files["a.tar"] = BODY[::-1]
    got = bring(item(site), tmp_path)
    assert ((tmp_path / "a.tar").read_bytes(), got.resumed) == (BODY[::-1], 0)


def test_a_part_of_unknown_version_is_not_continued(site: Site, tmp_path: Path) -> None:
    site.etag = None
    part(tmp_path, 700_000, site, version=None)
    assert bring(item(site), tmp_path).resumed == 0
    assert (tmp_path / "a.tar").read_bytes() == BODY


@pytest.mark.parametrize("state", [b"", b'{"version": "\\"one', b"[1]", b"3", b"\xff", b'{"version": "\\"one\\""}'])
def test_a_part_whose_version_file_is_damaged_is_not_continued(site: Site, tmp_path: Path, state: bytes) -> None:
    part(tmp_path, 700_000, site)
    (tmp_path / "a.tar.json").write_bytes(state)
    assert bring(item(site), tmp_path).resumed == 0
    assert (tmp_path / "a.tar").read_bytes() == BODY


def test_an_answer_with_only_a_part_of_the_rest_is_continued(site: Site, tmp_path: Path) -> None:
    site.at_most = 400_000
    part(tmp_path, 100_000, site)
    bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == ["bytes=100000-", "bytes=500000-", "bytes=900000-"]


def test_a_part_longer_than_the_file_is_dropped(site: Site, tmp_path: Path) -> None:
    part(tmp_path, len(BODY), site)
    site.files["a.tar"] = BODY[:500_000]
    (tmp_path / "a.tar.part").write_bytes(BODY[:700_000])
    bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY[:500_000]


def test_a_file_with_another_hash_is_moved_aside_and_does_not_get_the_name(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"sha256 .*card says 0{64}.*moved aside to .*a\.tar\.wrong"):
        bring(item(site, sha256="0" * 64), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar.wrong"]
    bring(item(site, sha256=SHA), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY


def test_a_server_that_stays_broken_is_a_sentence_and_keeps_what_came(site: Site, tmp_path: Path) -> None:
    site.cuts = [300_000] + [0] * 9
    with pytest.raises(FetchError, match=r"300\.0 kB are kept in"):
        bring(item(site), tmp_path)
    assert len(site.asked) == 5
    site.cuts = []
    assert bring(item(site), tmp_path).resumed == 300_000


def test_a_slow_way_with_many_cuts_is_no_failure(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agebench.datasets.fetch.downloads.ENOUGH", 50_000)
    site.cuts = [60_000] * 15
    bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert len(site.asked) == 16


def test_busy_servers_are_asked_again_and_refusals_are_not(site: Site, tmp_path: Path) -> None:
    site.statuses = [(503, {}), (429, {"Retry-After": "0"})]
    bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY
    for status in (401, 403, 404, 410):
        site.asked.clear()
        site.statuses = [(status, {})]
        with pytest.raises(FetchError, match=f"answered {status} "):
            bring(Download(part="a", url=site.url("a.tar"), file="b.tar"), tmp_path)
        assert len(site.asked) == 1


def test_nobody_listening_is_a_sentence(site: Site, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/a.tar"
    with pytest.raises(FetchError, match=r"could not be downloaded"):
        bring(Download(part="a", url=url, file="a.tar"), tmp_path)


def test_silence_is_a_sentence(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agebench.datasets.fetch.downloads.TIMEOUT", (1, 0.05))
    site.stall, site.ranges = threading.Event(), False
    with pytest.raises(FetchError, match="timed out"):
        bring(item(site), tmp_path)


def test_redirections_are_followed_on_this_machine(site: Site, tmp_path: Path) -> None:
    site.statuses = [(302, {"Location": "/moved"}), (301, {"Location": site.url("a.tar")})]
    bring(item(site), tmp_path)
    assert (tmp_path / "a.tar").read_bytes() == BODY
    assert [path for path, _ in site.asked] == ["a.tar", "moved", "a.tar"]


@pytest.mark.parametrize(
    "target",
    ["http://example.org/a.tar", "http://127.0.0.1.example.org/a", "http://127.0.0.1@x/a", "http:/\\x/a", "//x/a",
     "ftp://127.0.0.1/a", "file:///etc/passwd"],
)  # fmt: skip
def test_redirections_to_unsafe_addresses_are_not_followed(
    site: Site, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda to, *more, **o: asked.append(to) or resolve(to, *more, **o))
    site.statuses = [(302, {"Location": target})]
    with pytest.raises(FetchError):
        bring(item(site), tmp_path)
    assert site.asked[0] == ("a.tar", None)
    assert set(asked) == {"127.0.0.1"}
    assert not (tmp_path / "a.tar").exists()


def test_endless_redirections_end(site: Site, tmp_path: Path) -> None:
    site.statuses = [(302, {"Location": "/a.tar"})] * 9
    with pytest.raises(FetchError, match="redirects"):
        bring(item(site), tmp_path)


def test_a_download_from_the_network_requests_https_only() -> None:
    session = downloads._session("https://data.vision.ee.ethz.ch/x.tar")
    assert session.get_adapter("https://example.org/x")
    for url in ("http://example.org/x", "http://127.0.0.1/x", "http://data.vision.ee.ethz.ch/x.tar", "file:///x"):
        with pytest.raises(requests.exceptions.InvalidSchema):
            session.get_adapter(url)


def test_busy_servers_are_not_waited_for_without_end() -> None:
    assert RETRY.retry_after_max == RETRY.backoff_max == 60


def test_a_web_page_is_no_archive(site: Site, tmp_path: Path) -> None:
    site.kind = "text/html; charset=utf-8"
    with pytest.raises(FetchError, match="a web page"):
        bring(item(site), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_larger_than_the_card_can_mean_is_not_downloaded(site: Site, tmp_path: Path) -> None:
    for card in ({"bytes": 5}, {"about_bytes": 100_000}):
        with pytest.raises(FetchError, match=r"has 1,024,000 bytes .*card allows"):
            bring(item(site, **card), tmp_path)
    assert kept_bytes(item(site), tmp_path) == 0
    site.chunked = True
    with pytest.raises(FetchError, match="at most 300,000"):
        bring(item(site, about_bytes=100_000), tmp_path)
    assert kept_bytes(item(site), tmp_path) <= 300_000


def test_a_smaller_file_than_the_cards_is_moved_aside(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="card says 2,000,000"):
        bring(item(site, bytes=2_000_000), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar.wrong"]


def test_a_full_disk_is_told_before_the_download(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(StorageError, match=r"needs about 1\.0 MB .* 1\.0 kB are free"):
        bring(item(site), tmp_path)
    assert list(tmp_path.iterdir()) == []
