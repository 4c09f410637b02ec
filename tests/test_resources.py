"""Cards and recipes are found: the working directory first, then what ships; unknown names get the nearest ones."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from agebench.errors import UsageError
from agebench.resources import KINDS, Kind, available, find, is_yours, shipped_folder


@pytest.mark.parametrize("kind", KINDS)
def test_something_of_every_kind_ships(kind: Kind, tmp_path: Path) -> None:
    found = available(kind, tmp_path)
    assert found
    assert all(path.is_relative_to(shipped_folder(kind)) for path in found.values())


def test_published_numbers_are_no_recipe(tmp_path: Path) -> None:
    assert "published" not in available("models", tmp_path)


def test_a_file_in_the_working_directory_wins(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    mine = tmp_path / "pipelines" / "fg-net.toml"
    mine.touch()
    assert find("pipelines", "fg-net", tmp_path) == mine
    assert find("pipelines", "morph", tmp_path).is_relative_to(shipped_folder("pipelines"))


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.touch()
    assert find("models", str(mine)) == mine
    with pytest.raises(UsageError, match="no file"):
        find("models", str(tmp_path / "other.toml"))


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [("manifests", "fgnet", "fg-net"), ("manifests", "IMDB-WIKI", "imdb-wiki"),
     ("pipelines", "imdb-wiki-papers", "imdb-wiki-paper"), ("models", "neighbourhood-34", "neighborhood-34")],
)  # fmt: skip
def test_an_unknown_name_gets_the_nearest(kind: Kind, name: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"Did you mean .*'{near}'") as error:
        find(kind, name)
    assert error.value.exit_status == 2


def test_the_name_of_a_file_that_lies_beside_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    with pytest.raises(UsageError, match="not in pipelines/") as error:
        find("pipelines", "mine", tmp_path)
    assert "mine.toml" in error.value.next_step


def test_a_name_near_to_none_gets_them_all() -> None:
    with pytest.raises(UsageError, match=r"Known: afad, .*cacd, .*fg-net, imdb-wiki, .*utkface"):
        find("manifests", "zzz")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that is built from a copy of the project in which work has been done."""
    from hatchling.builders.wheel import WheelBuilder

    root = Path(__file__).resolve().parents[1]
    copy = tmp_path_factory.mktemp("project")
    for name in ("agebench", *KINDS):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.duckdb*"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(root / name, copy)
    (copy / "manifests" / "fg-net.duckdb.parts").mkdir()
    for made in ("fg-net.duckdb", "fg-net.decisions.jsonl", "fg-net.duckdb.parts/a.parquet", "fg-net.audit-1.json"):
        (copy / "manifests" / made).write_text("made here")
    [built] = WheelBuilder(str(copy)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    return set(zipfile.ZipFile(built).namelist())


def test_the_wheel_ships_every_declaration(wheel: set[str]) -> None:
    root = Path(__file__).resolve().parents[1]
    declared = {f"agebench/_shipped/{kind}/{p.name}" for kind in KINDS for p in (root / kind).glob("*.toml")}
    assert declared
    assert {name for name in wheel if name.startswith("agebench/_shipped/")} == declared


def test_the_wheel_ships_the_package_and_nothing_that_was_made_here(wheel: set[str]) -> None:
    assert {name.partition("/")[0].partition("-")[0] for name in wheel} == {"agebench"}
    assert {"agebench/py.typed", "agebench/manifest/schema.sql"} <= wheel
    assert not [name for name in wheel if ".duckdb" in name or name.endswith((".jsonl", ".json", ".parquet", ".pyc"))]


def test_an_unchanged_copy_of_what_ships_is_not_yours(tmp_path: Path) -> None:
    copied = tmp_path / "pipelines" / "fg-net.toml"
    copied.parent.mkdir()
    shutil.copy(shipped_folder("pipelines") / "fg-net.toml", copied)
    assert not is_yours("pipelines", "fg-net", copied)
    assert is_yours("pipelines", "my-rules", copied)
    copied.write_text(copied.read_text() + "# edited\n")
    assert is_yours("pipelines", "fg-net", copied)
