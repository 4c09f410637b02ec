"""A bundle is checked without pictures or weights, and whatever was changed in it is named."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from agebench.bench.bundle import SUMS, verify_bundle, write_bundle
from agebench.errors import Missing, UsageError
from agebench.files import file_hash

from .conftest import keep_predictions

Run = Callable[..., Any]
PREDICTIONS = "runs/mine/predictions/fg-net.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs` and a `bundle` of them."""
    folder = tmp_path_factory.mktemp("made")
    keep_predictions(folder / "runs", "mine", 2.0, leaked=(0, 1))
    (folder / "runs" / "mine" / "weights.safetensors").write_bytes(b"weights")
    write_bundle(folder / "bundle", [3], runs=folder / "runs")
    return folder


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "runs", tmp_path / "runs"))


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "bundle", tmp_path / "bundle"))


def older_by_a_year(parquet: bytes) -> bytes:
    frame = pl.read_parquet(io.BytesIO(parquet)).with_columns(pl.col("predicted") + 1)
    frame.write_parquet(changed := io.BytesIO())
    return changed.getvalue()


def list_anew(bundle: Path) -> None:
    """Write the sums of the files as they are now, as somebody would who wants to hide a change."""
    names = [line.split("  ", 1)[1] for line in (bundle / SUMS).read_text().splitlines()]
    (bundle / SUMS).write_text("".join(f"{file_hash(bundle / name)}  {name}\n" for name in names))


def test_it_holds_what_the_numbers_need_and_no_weights(bundle: Path) -> None:
    names = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert names == {
        SUMS, "bundle.json", "tables.json", "tables.md", "runs/mine/card.json", "runs/mine/COMMITTED",
        PREDICTIONS, "runs/mine/predictions/fg-net.json",
    }  # fmt: skip
    assert "numpy" in json.loads((bundle / "bundle.json").read_text())["packages"]


def test_a_bundle_is_verified_without_the_runs(bundle: Path, agebench: Run) -> None:
    outcome = agebench("report", "--verify", "--bundle", bundle)
    assert outcome.status == 0, outcome.out
    checked = verify_bundle(bundle)
    assert not checked.problems
    assert any("mine on fg-net" in line for line in checked.verified)


@pytest.mark.parametrize(
    "name", [PREDICTIONS, "runs/mine/predictions/fg-net.json", "runs/mine/card.json", "tables.json", "tables.md"]
)
def test_a_changed_file_is_named(bundle: Path, agebench: Run, name: str) -> None:
    with (bundle / name).open("ab") as file:
        file.write(b" ")
    outcome = agebench("report", "--verify", "--bundle", bundle, "--json")
    assert outcome.status == 1
    assert f"{name} was changed" in json.loads(outcome.out)["problems"]


def test_missing_and_extra_files_are_named(bundle: Path, agebench: Run) -> None:
    (bundle / "runs/mine/predictions/fg-net.json").unlink()
    (bundle / "runs" / "more.txt").write_text("more")
    outcome = agebench("report", "--verify", "--bundle", bundle, "--json")
    assert outcome.status == 1
    problems = json.loads(outcome.out)["problems"]
    assert "runs/mine/predictions/fg-net.json is missing" in problems
    assert any(problem.startswith("runs/more.txt is not listed") for problem in problems)


@pytest.mark.parametrize("name", [PREDICTIONS, "runs/mine/card.json", "tables.json"])
def test_a_change_whose_sum_was_written_anew_is_found_all_the_same(bundle: Path, name: str) -> None:
    path = bundle / name
    if name == PREDICTIONS:
        path.write_bytes(older_by_a_year(path.read_bytes()))
    elif name == "tables.json":
        path.write_text(path.read_text().replace('"mae": 2.0', '"mae": 1.0'))
    else:
        path.write_text(path.read_text().replace('"Mine"', '"Ours"'))
    list_anew(bundle)
    problems = verify_bundle(bundle).problems
    assert any((name if name == "tables.json" else "mine") in problem for problem in problems)


@pytest.mark.parametrize("change", [lambda text: text[:-20], lambda text: text.replace("  ", " "), lambda _: ""])
def test_a_changed_list_of_sums_is_told(bundle: Path, agebench: Run, change: Callable[[str], str]) -> None:
    (bundle / SUMS).write_text(change((bundle / SUMS).read_text()))
    assert agebench("report", "--verify", "--bundle", bundle).status == 1


def test_an_existing_folder_is_refused_and_left_as_it_is(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(tmp_path / "bundle", [3], runs=runs)
    assert [path.name for path in (tmp_path / "bundle").iterdir()] == ["mine.txt"]


def test_without_a_number_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no measured number"):
        write_bundle(tmp_path / "bundle", runs=tmp_path / "runs")
    assert not (tmp_path / "bundle").exists()


def test_a_folder_that_is_no_bundle_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not a bundle"):
        verify_bundle(tmp_path)


def test_without_leaks_the_bundle_still_verifies(runs: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "bundle", [3], runs=runs, without_leaks=True)
    assert not verify_bundle(tmp_path / "bundle").problems
    assert "left out" in (tmp_path / "bundle" / "tables.md").read_text()
