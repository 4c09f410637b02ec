"""`agebench fetch`: the licence first, then a release that the readers read, whatever happens on the way."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from agebench import recipes, resources
from agebench.datasets.fetch import fetch, plan_fetch
from agebench.datasets.release import read_release
from agebench.demo.releases import draw_releases
from agebench.errors import FetchError, RecipeError, StorageError, UsageError
from agebench.recipes import Card, Download
from agebench.workflows.status import status

from .conftest import Site

NAMES = ["001A02.JPG", "001A43a.JPG", "002A03.JPG"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fgnet(names: list[str] = NAMES, inside: str = "FGNET/images") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in names:
            made.writestr(f"{inside}/{name}", name.encode() * 5000)
        made.writestr("__MACOSX/FGNET/._images", b"x")
    return out.getvalue()


def card_at(folder: Path, site: Site, name: str, **more: str) -> None:
    """The shipped card as a card of the folder, whose files are on the loopback server."""
    shipped = resources.find("manifests", name).read_text(encoding="utf-8")
    for item in recipes.load_card(name).download:
        shipped = shipped.replace(item.url, site.url(item.file))
    for old, new in more.items():
        shipped = shipped.replace(f"{old} = ", f"{new}\n{old} = ", 1)
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / f"{name}.toml").write_text(shipped, encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory in which FG-NET is at the loopback server."""
    site.files["FGNET.zip"] = fgnet()
    card_at(tmp_path, site, "fg-net")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- licence ---------------------------------------------------------------------------------------------------


def test_without_acceptance_the_licence_is_shown_and_nobody_is_asked(
    folder: Path, site: Site, agebench: Callable
) -> None:
    done = agebench("fetch", "fg-net")
    assert done.status == 2
    shown = " ".join(done.out.split())
    for words in (
        "non-commercial research",
        "@article{lanitis2002toward",
        "about 46.0 MB",
        "FGNET.zip",
        "no published hash",
    ):
        assert words in shown
    done = agebench("fetch", "fg-net", "--json")
    assert done.status == 2
    told = json.loads(done.out)["error"]
    assert told["kind"] == "UsageError"
    assert "`--accept-licence`" in told["next"]
    with pytest.raises(UsageError, match="not accepted"):
        fetch("fg-net", accept_licence=False)
    assert site.asked == []
    assert not (folder / "data").exists()


def test_a_dry_run_shows_the_same_and_exits_with_0(folder: Path, site: Site, agebench: Callable) -> None:
    done = agebench("fetch", "fg-net", "--dry-run", "--json")
    assert done.status == 0
    found = json.loads(done.out)
    assert (found["command"], found["dry_run"], found["dataset"]) == ("fetch", True, "fg-net")
    assert found["licence"].startswith("for non-commercial research")
    [item] = found["downloads"]
    assert (item["file"], item["about_bytes"], item["there"]) == ("FGNET.zip", 46_000_000, False)
    assert "Licence: for non-commercial research" in agebench("fetch", "fg-net", "--dry-run").out
    assert site.asked == []
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    ("dataset", "words"),
    [("morph", ["Wilmington", "agreement", "Album2/009055_1M54.JPG"]),
     ("cacd", ["bcsiriuschen.github.io", "CACD2000.tar.gz", "celebrity2000_meta.mat"]),
     ("utkface", ["susanqq.github.io", "non-commercial", "jpg.chip.jpg"])],
)  # fmt: skip
def test_a_release_that_no_program_can_download_says_where_to_ask(
    tmp_path: Path, agebench: Callable, dataset: str, words: list[str]
) -> None:
    for arguments in ([], ["--accept-licence"], ["--dry-run"]):
        done = agebench("fetch", dataset, *arguments, cwd=tmp_path)
        assert done.status == 3
        for word in [*words, f"data/{dataset}"]:
            assert word in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_release_got_by_hand_is_seen(tmp_path: Path, agebench: Callable) -> None:
    (tmp_path / "data" / "morph").mkdir(parents=True)
    (tmp_path / "data" / "morph" / "009055_1M54.JPG").touch()
    done = agebench("fetch", "morph", "--accept-licence", cwd=tmp_path)
    assert done.status == 0, done.err
    assert "already in data/morph" in done.out


# --- the whole way ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_releases(folder, records=40, seed=3)
    return folder / "data" / "imdb-wiki"


@pytest.fixture
def imdb_wiki(folder: Path, site: Site, drawn: Path) -> Path:
    """The drawn IMDB-WIKI as the two tars of its authors, at the loopback server."""
    for part in ("imdb", "wiki"):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            made.add(drawn / f"{part}_crop", arcname=f"{part}_crop")
        site.files[f"{part}_crop.tar"] = out.getvalue()
    card_at(folder, site, "imdb-wiki")
    return folder


def test_imdb_wiki_comes_whole_and_is_curated(imdb_wiki: Path, site: Site, drawn: Path, agebench: Callable) -> None:
    done = agebench("fetch", "imdb-wiki", "--accept-licence", "--json")
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert {"command", "dataset", "root", "licence", "downloads", "unpacked", "seconds"} <= set(found)
    assert (found["command"], found["dataset"], found["root"]) == ("fetch", "imdb-wiki", "data/imdb-wiki")
    assert [set(item) for item in found["downloads"]] == [{"file", "url", "bytes", "resumed", "verified"}] * 2
    assert [item["file"] for item in found["downloads"]] == ["imdb_crop.tar", "wiki_crop.tar"]
    assert [item["verified"] for item in found["downloads"]] == ["size", "size"]
    assert found["records"] == 40
    wanted = {name: data for name, data in tree(drawn).items() if name.startswith(("imdb_crop", "wiki_crop"))}
    assert found["unpacked"] == len(wanted)
    assert tree(imdb_wiki / "data" / "imdb-wiki") == wanted
    assert not (imdb_wiki / "data" / "imdb-wiki" / ".fetch").exists()
    assert any("the card expects 460,723" in note for note in found["notes"])
    curated = agebench("curate", "imdb-wiki", "--recipe", "imdb-wiki-dir", "--detector", "none", "--json")
    assert json.loads(curated.out)["records"] == 40
    site.asked.clear()
    again = agebench("fetch", "imdb-wiki")
    assert again.status == 0
    assert "nothing was downloaded" in " ".join(again.out.split())
    assert site.asked == []


def test_one_part_and_later_the_other(imdb_wiki: Path, site: Site, agebench: Callable) -> None:
    assert agebench("fetch", "imdb-wiki", "--part", "wiki", "--accept-licence").status == 0
    root = imdb_wiki / "data" / "imdb-wiki"
    assert sorted(p.name for p in root.iterdir()) == ["wiki_crop"]
    done = agebench("fetch", "imdb-wiki", "--accept-licence")
    assert done.status == 0
    assert [path for path, _ in site.asked] == ["wiki_crop.tar", "imdb_crop.tar"]
    assert sorted(p.name for p in root.iterdir()) == ["imdb_crop", "wiki_crop"]
    done = agebench("fetch", "imdb-wiki", "--part", "wikki")
    assert done.status == 2
    assert "'wiki'" in done.err


def test_fg_net_lies_as_its_reader_wants_it(folder: Path, agebench: Callable) -> None:
    done = agebench("fetch", "fg-net", "--accept-license")
    assert done.status == 0, done.err
    assert sorted(tree(folder / "data" / "fg-net")) == [f"images/{name}" for name in NAMES]
    assert "agebench curate fg-net" in done.out


def test_archives_are_kept_on_demand(folder: Path, site: Site) -> None:
    fetch("fg-net", accept_licence=True, keep_archives=True)
    assert (folder / "data" / "fg-net" / "FGNET.zip").read_bytes() == site.files["FGNET.zip"]
    assert not (folder / "data" / "fg-net" / ".fetch").exists()


def test_an_archive_that_people_put_there_is_taken_and_kept(folder: Path, site: Site) -> None:
    (folder / "data" / "fg-net").mkdir(parents=True)
    (folder / "data" / "fg-net" / "FGNET.zip").write_bytes(fgnet())
    report = fetch("fg-net", accept_licence=True)
    assert (report.downloads, report.unpacked, report.records) == ([], 3, 3)
    assert (folder / "data" / "fg-net" / "FGNET.zip").exists()
    assert site.asked == []


def test_a_file_that_is_no_archive_is_put_beside_the_others(folder: Path, site: Site) -> None:
    """Such as a `.mat` of its own."""
    text = (folder / "manifests" / "fg-net.toml").read_text()
    more = f'[[download]]\nurl = "{site.url("labels.mat")}"\nfile = "labels.mat"\nunpack = false\n'
    (folder / "manifests" / "fg-net.toml").write_text(text.replace("\n[expected]", f"\n{more}\n[expected]"))
    site.files["labels.mat"] = b"labels"
    report = fetch("fg-net", accept_licence=True)
    assert [item.file for item in report.downloads] == ["FGNET.zip", "labels.mat"]
    assert (folder / "data" / "fg-net" / "labels.mat").read_bytes() == b"labels"


def test_progress_tells_every_phase_to_its_end(folder: Path, site: Site) -> None:
    last: dict[str, tuple[int, int]] = {}
    fetch("fg-net", accept_licence=True, on_progress=lambda phase, done, total: last.update({phase: (done, total)}))
    size = len(site.files["FGNET.zip"])
    assert last == {"downloading FGNET.zip": (size, size), "unpacking FGNET.zip": (size, size)}


# --- what goes wrong -------------------------------------------------------------------------------------------


def test_a_hostile_archive_is_refused_and_leaves_no_release(folder: Path, site: Site, agebench: Callable) -> None:
    out = io.BytesIO(fgnet())
    with zipfile.ZipFile(out, "a") as made:
        made.writestr("FGNET/../../../evil", b"x")
    site.files["FGNET.zip"] = out.getvalue()
    done = agebench("fetch", "fg-net", "--accept-licence", "--json")
    assert done.status == 1
    assert json.loads(done.out)["error"]["kind"] == "ArchiveError"
    assert "leads out of the folder" in done.err
    assert sorted(p.name for p in folder.iterdir()) == ["data", "manifests"]
    assert [p.name for p in (folder / "data" / "fg-net").iterdir()] == [".fetch"]


def test_a_wrong_hash_stops_before_unpacking(folder: Path, site: Site, agebench: Callable) -> None:
    card_at(folder, site, "fg-net", about_bytes=f'sha256 = "{"0" * 64}"')
    done = agebench("fetch", "fg-net", "--accept-licence")
    assert done.status == 1
    assert hashlib.sha256(site.files["FGNET.zip"]).hexdigest() in done.err
    assert "moved aside" in done.err
    assert list(tree(folder / "data")) == ["fg-net/.fetch/FGNET.zip.wrong"]


def test_files_of_the_user_are_never_overwritten(folder: Path, site: Site, agebench: Callable) -> None:
    mine = folder / "data" / "fg-net" / "images" / "notes" / "001A02.txt"
    taken = folder / "data" / "fg-net" / "images" / "001a02.JPG"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    taken.with_name("002A03.JPG").mkdir()
    done = agebench("fetch", "fg-net", "--accept-licence")
    assert done.status == 1
    assert "002A03.JPG differs from the release. Nothing was overwritten" in done.err
    assert sorted(p.name for p in taken.parent.iterdir()) == ["002A03.JPG", "notes"]
    taken.with_name("002A03.JPG").rmdir()
    site.files.clear()
    assert agebench("fetch", "fg-net", "--accept-licence").status == 0
    assert len(site.asked) == 1
    assert mine.read_text() == "mine"


def test_a_fetch_killed_at_any_step_is_completed_by_the_next(
    folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*arguments: object, **more: object) -> None:
        raise Killed

    root = folder / "data" / "fg-net"
    for step in ("agebench.datasets.fetch.unpack", "agebench.datasets.fetch.merge"):
        with monkeypatch.context() as patch:
            patch.setattr(step, kill)
            with pytest.raises(Killed):
                fetch("fg-net", accept_licence=True)
        assert [p.name for p in root.iterdir()] == [".fetch"]
        assert status(folder / "runs").next_command != "agebench curate fg-net"
    rename = Path.rename
    (root / "images").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", lambda self, to: kill() if self.name == NAMES[1] else rename(self, to))
        with pytest.raises(Killed):
            fetch("fg-net", accept_licence=True)
    assert [p.name for p in (root / "images").iterdir()] == [NAMES[0]]
    report = fetch("fg-net", accept_licence=True)
    assert (report.unpacked, report.records) == (2, 3)
    assert sorted(tree(root)) == [f"images/{name}" for name in NAMES]
    assert len(site.asked) == 1
    assert status(folder / "runs").next_command == "agebench curate fg-net"


def test_moving_what_is_unpacked_needs_no_more_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_fetch("fg-net").needs == 92_000_000
    (folder / "data" / "fg-net" / ".fetch" / "FGNET.zip.unpacked").mkdir(parents=True)
    assert plan_fetch("fg-net").needs == 0


def test_a_copy_of_a_card_fetches_as_well(folder: Path, agebench: Callable) -> None:
    assert agebench("cp", "fg-net", "my-faces").status == 0
    done = agebench("fetch", "my-faces", "--root", "here", "--accept-licence")
    assert done.status == 0, done.err
    assert sorted(tree(folder / "here")) == [f"images/{name}" for name in NAMES]


def test_what_a_killed_unpacking_left_is_cleared(folder: Path) -> None:
    left = folder / "data" / "fg-net" / ".fetch" / "FGNET.zip.unpacked.part"
    left.mkdir(parents=True)
    (left / "half.jpg").touch()
    fetch("fg-net", accept_licence=True)
    assert sorted(tree(folder / "data" / "fg-net")) == [f"images/{name}" for name in NAMES]


def test_two_at_once_do_not_disturb_each_other(folder: Path) -> None:
    work = folder / "data" / "fg-net" / ".fetch"
    work.mkdir(parents=True)
    with FileLock(work / "lock"), pytest.raises(FetchError, match="Another fetch is running"):
        fetch("fg-net", accept_licence=True)


def test_a_disk_without_room_is_told_before_anything_is_written(
    folder: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10**9, 10**9, 90_000_000))
    with pytest.raises(StorageError, match=r"92\.0 MB .* 90\.0 MB are free"):
        fetch("fg-net", accept_licence=True)
    assert not (folder / "data").exists()
    assert site.asked == []


def test_a_folder_that_cannot_be_written_is_a_sentence(folder: Path, agebench: Callable) -> None:
    (folder / "data" / "fg-net" / ".fetch" / "FGNET.zip.part").mkdir(parents=True)
    done = agebench("fetch", "fg-net", "--accept-licence", "--json")
    assert done.status == 1
    assert json.loads(done.out)["error"]["kind"] == "StorageError"
    assert "FGNET.zip.part" in done.err


def test_another_layout_than_the_cards_is_told(folder: Path, site: Site, agebench: Callable) -> None:
    site.files["FGNET.zip"] = fgnet(["cat.JPG", "dog.JPG"])
    done = agebench("fetch", "fg-net", "--accept-licence")
    assert done.status == 1
    assert "not as the card says" in done.err


def test_a_moved_file_is_a_sentence(folder: Path, site: Site, agebench: Callable) -> None:
    site.files.clear()
    done = agebench("fetch", "fg-net", "--accept-licence")
    assert done.status == 1
    assert "404" in done.err
    assert "authors' page" in done.err


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(folder: Path, site: Site, agebench: Callable) -> None:
    site.stall = threading.Event()
    run = subprocess.Popen(
        [sys.executable, "-c", "from agebench.cli import main; main()", "fetch", "fg-net", "--accept-licence",
         "--json"],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    part, half = folder / "data" / "fg-net" / ".fetch" / "FGNET.zip.part", len(site.files["FGNET.zip"]) // 2
    began = time.monotonic()
    while not (part.exists() and part.stat().st_size) and time.monotonic() - began < 60:
        time.sleep(0.02)
    time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=20)
    assert run.returncode == 130, err
    assert json.loads(out)["error"]["kind"] == "Interrupted"
    assert "are kept in" in err
    assert "same command resumes" in err
    assert "Traceback" not in err
    kept = part.stat().st_size
    assert 0 < kept <= half
    site.stall.set()
    site.stall = None
    done = agebench("fetch", "fg-net", "--accept-licence", "--json")
    assert done.status == 0, done.err
    assert json.loads(done.out)["downloads"][0]["resumed"] == kept


# --- cards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["imdb-wiki", "fg-net", "morph", "cacd", "utkface"])
def test_every_shipped_card_can_be_downloaded_or_says_how_people_get_it(name: str) -> None:
    card = recipes.load_card(name)
    assert bool(card.download) != bool(card.by_hand)
    for item in card.download:
        assert item.url.startswith("https://")
        assert item.part in (card.expected.parts or {None})


@pytest.mark.parametrize(
    ("bad", "told"),
    [('url = "http://example.org/a.tar"\nfile = "a.tar"', "download 2.url"),
     ('url = "https://example.org/a.tar"\nfile = "../a.tar"', "download 2.file"),
     ('url = "https://example.org/a.tar"\nfile = ".hidden"', "download 2.file"),
     ('url = "https://example.org/a.tar"\nfile = "a"\nsha256 = "abc"', "download 2.sha256"),
     ('url = "https://example.org/a.tar"\nfile = "a"\nbelow = "../x"', "download 2.below"),
     ('url = "https://example.org/a.tar"\nfile = "a"\nsha1 = "x"', "sha1: unknown key"),
     ('url = "https://x.org/a"\nfile = "a"\n[[download]]\npart = "y"\nurl = "https://x.org/A"\nfile = "A"',
      "two .*download.* tables have the file 'a'")],
)  # fmt: skip
def test_a_card_with_an_unsafe_download_is_refused(folder: Path, bad: str, told: str) -> None:
    file = folder / "manifests" / "fg-net.toml"
    file.write_text(file.read_text().replace("\n[expected]", f'\n[[download]]\npart = "x"\n{bad}\n\n[expected]'))
    with pytest.raises(RecipeError, match=told):
        recipes.load_card("fg-net")


def test_where_a_release_is_downloaded_from_does_not_make_manifests_stale() -> None:
    card = recipes.load_card("fg-net")
    assert recipes.digest(card.model_copy(update={"download": []})) == recipes.digest(card)
    assert recipes.digest(card.model_copy(update={"age_rule": "none"})) != recipes.digest(card)


def test_a_release_that_is_not_there_names_the_command_where_there_is_one(tmp_path: Path, agebench: Callable) -> None:
    assert "`agebench fetch fg-net` downloads it" in agebench("curate", "fg-net", cwd=tmp_path).err
    assert "agebench fetch" not in agebench("curate", "morph", cwd=tmp_path).err


def test_reading_is_what_decides_whether_a_release_is_there(folder: Path) -> None:
    fetch("fg-net", accept_licence=True)
    card: Card = recipes.load_card("fg-net")
    assert isinstance(card.download[0], Download)
    assert read_release(card, folder / "data" / "fg-net").records["age"].to_list() == [2, 43, 3]


def test_help_needs_no_network_library() -> None:
    code = "import sys; import agebench.cli; print(*[m for m in ('requests', 'urllib3', 'ssl') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
