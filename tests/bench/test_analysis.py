"""What kept predictions say of each estimator, and how they are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from agebench.bench.analysis import analyses, analysis_facts, compared
from agebench.bench.details import as_rich
from agebench.errors import Missing, UsageError
from agebench.files import write_whole

from .conftest import records_of

Kept = Callable[..., Any]
N = len(records_of())


def test_they_come_by_mae_with_the_newest_of_each_recipe(kept: Kept, tmp_path: Path) -> None:
    kept("worse", 5.0)
    kept("better-1", 4.0, model="better")
    kept("better-2", 2.0, model="better")
    found = analyses("fg-net", tmp_path / "runs")
    assert [(one.id, one.accuracy.mae.value) for one in found] == [
        ("better-2", pytest.approx(2.0)), ("worse", pytest.approx(5.0)),
    ]  # fmt: skip


def test_the_datasets_own_manifest_counts_before_another_file(kept: Kept, tmp_path: Path) -> None:
    kept("mine", 9.0, manifest="manifests/copy.duckdb")  # its name is before fg-net in the alphabet
    kept("mine", 1.0)
    (one,) = analyses("fg-net", tmp_path / "runs")
    assert one.accuracy.mae.value == pytest.approx(1.0)


def test_other_sets_and_protocols_do_not_count(kept: Kept, tmp_path: Path) -> None:
    kept("mine", 1.0, dataset="morph")
    with pytest.raises(Missing, match="fg-net"):
        analyses("fg-net", tmp_path / "runs")
    kept("fold", 3.0, protocol="leave-one-person-out")
    with pytest.raises(Missing, match="Measured there: `--protocol leave-one-person-out`"):
        analyses("fg-net", tmp_path / "runs")
    (one,) = analyses("fg-net", tmp_path / "runs", protocol="leave-one-person-out")
    assert one.id == "fold"


def test_a_manifest_is_named_by_its_file_where_several_share_a_name(kept: Kept, tmp_path: Path) -> None:
    kept("one", 1.0, manifest="a/second.duckdb")
    kept("other", 2.0, dataset="morph", manifest="b/second.duckdb")
    with pytest.raises(UsageError, match=r"a/second\.duckdb, b/second\.duckdb"):
        analyses("second", tmp_path / "runs")
    for name in "b/second.duckdb", "./b/second.duckdb", str(Path("b/second.duckdb").resolve()):
        assert [one.id for one in analyses(name, tmp_path / "runs")] == ["other"]


def test_pictures_that_leak_to_one_are_left_out_for_all(kept: Kept, tmp_path: Path) -> None:
    off = np.where(np.arange(N) < 6, 0.0, 6.0)
    kept("leaky", off, leaked=tuple(range(6)))
    kept("honest", 5.0)
    with_leaks = analyses("fg-net", tmp_path / "runs")
    assert {one.accuracy.n for one in with_leaks} == {N}
    without = {one.id: one for one in analyses("fg-net", tmp_path / "runs", without_leaks=True)}
    assert {one.accuracy.n for one in without.values()} == {N - 6}
    assert without["leaky"].accuracy.mae.value == pytest.approx(6.0)
    assert without["leaky"].predictions["path"].equals(without["honest"].predictions["path"])


def test_nothing_is_left_where_everything_leaks(kept: Kept, tmp_path: Path) -> None:
    kept("leaky", 1.0, leaked=tuple(range(N)))
    with pytest.raises(Missing, match="No picture of fg-net is left"):
        analyses("fg-net", tmp_path / "runs", without_leaks=True)


def test_a_damaged_estimator_does_not_hide_the_others(kept: Kept, tmp_path: Path) -> None:
    kept("damaged", 1.0)
    kept("whole", 2.0)
    write_whole(tmp_path / "runs/damaged/predictions/fg-net.parquet", b"no parquet")
    assert [one.id for one in analyses("fg-net", tmp_path / "runs")] == ["whole"]


def test_differences_are_paired_and_name_the_estimators(kept: Kept, tmp_path: Path) -> None:
    kept("first", np.resize([1.0, 2.0, 3.0], N))
    kept("second", np.resize([2.0, 3.0, 4.0], N))
    (one,) = compared(analyses("fg-net", tmp_path / "runs"))
    assert (one.first, one.second, one.n) == ("first", "second", N)
    assert one.difference == pytest.approx(-1.0)
    assert one.interval == pytest.approx((-1.0, -1.0))  # every picture differs by a year


def test_only_an_estimator_with_distributions_has_a_calibration(kept: Kept, tmp_path: Path) -> None:
    kept("point", 1.0)
    kept("sure", 2.0, distributions=True)
    point, sure = analyses("fg-net", tmp_path / "runs")
    assert point.calibration is None
    assert sure.calibration is not None
    assert sure.calibration.n == N
    facts = [analysis_facts(one) for one in (point, sure)]
    assert [bool(one["calibration"]) for one in facts] == [False, True]
    assert json.loads(json.dumps(facts))[0]["n"] == N


def test_the_terminal_shows_every_estimator_and_group(kept: Kept, tmp_path: Path) -> None:
    kept("first", 1.0, distributions=True)
    kept("second", np.where(np.arange(N) % 2, 2.0, -9.0))
    found = analyses("fg-net", tmp_path / "runs")
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(as_rich(found, compared(found), "fg-net"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for one in found:
        assert text.count(one.label) >= 3
        assert f"{one.accuracy.mae.value:.2f} (" in text
        for row in one.groups.iter_rows(named=True):
            assert f"{row['mae']:.2f} ({row['bias']:+.1f})" in text
            assert row["group"] in text
    assert "p (Holm)" in text


def test_a_single_estimator_is_shown_without_differences(kept: Kept, tmp_path: Path) -> None:
    kept("first", 1.0)
    found = analyses("fg-net", tmp_path / "runs")
    assert compared(found) == []
    console = Console(width=200, file=io.StringIO(), color_system=None)
    console.print(as_rich(found, [], "fg-net"))
    assert "p (Holm)" not in console.file.getvalue()  # type: ignore[attr-defined]
