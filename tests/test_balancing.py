"""The 5000 rule as a plan, on records that are made up."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agebench.balancing import balance, draw_plan
from agebench.datasets.records import SCHEMA
from agebench.errors import NothingCurated, UsageError
from agebench.manifest.export import plan_rows
from agebench.manifest.plans import curated_fingerprint, plans
from agebench.manifest.records import write_records
from agebench.manifest.renewal import mark_made
from agebench.manifest.store import create, open_manifest, set_meta
from agebench.training.rows import training_rows, with_draws


def manifest_of(path: Path, ages: list[int | None], *, judged: bool = True) -> Path:
    """A manifest that keeps every record."""
    if not path.exists():
        create(path, "fg-net")
    frame = pl.DataFrame({"part": "p", "path": [f"{i:05d}" for i in range(len(ages))],
                          "age": pl.Series(ages, dtype=pl.Int32)})  # fmt: skip
    frame = frame.select(pl.col(k).cast(t) if k in frame.columns else pl.lit(None, t).alias(k) for k, t in
                         SCHEMA.items())  # fmt: skip
    with open_manifest(path, write=True) as con:
        write_records(con, frame, {})
        set_meta(con, recipe="none")
        if judged:
            mark_made(con, "verdicts", "test")
    return path


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("balance") / "a.duckdb"


AGES = st.lists(st.sampled_from([0, 5, 19, 20, 30, 60, 61, 99]), min_size=1, max_size=80)


@given(
    ages=AGES, per_class=st.integers(1, 30), seed=st.integers(0, 3),
    thin=st.sampled_from([(20, 60), (0, 99), (30, 30), (99, 99)]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_every_class_has_its_share(
    empty: Path, ages: list[int], per_class: int, seed: int, thin: tuple[int, int]
) -> None:
    manifest_of(empty, list(ages))
    with open_manifest(empty) as con:
        rows = draw_plan(con, per_class=per_class, thin_ages=thin, seed=seed)
    assert rows["record_id"].to_list() == list(range(len(ages)))
    assert rows["age"].to_list() == ages
    for age, n in Counter(ages).items():
        copies = rows.filter(pl.col("age") == age)["copies"].to_list()
        if n <= per_class:
            assert sum(copies) == per_class
            assert max(copies) - min(copies) <= 1
        elif thin[0] <= age <= thin[1]:
            assert Counter(copies) == {1: per_class, 0: n - per_class}
        else:
            assert copies == [1] * n


def test_the_same_seed_gives_the_same_plan_and_another_another(tmp_path: Path) -> None:
    path = manifest_of(tmp_path / "a.duckdb", [30] * 200 + [5] * 7)
    with open_manifest(path) as con:
        one, same, other = (draw_plan(con, per_class=10, thin_ages=(20, 60), seed=s) for s in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_ages_outside_the_classes_are_not_drawn_and_told(tmp_path: Path) -> None:
    report = balance(manifest_of(tmp_path / "a.duckdb", [-3, 5, 120, None]), per_class=2)
    assert report.total == 2
    assert "2 curated records claim an age outside 0-99" in report.notes[-1]


def test_an_empty_class_is_told_and_not_invented(tmp_path: Path) -> None:
    report = balance(manifest_of(tmp_path / "a.duckdb", [*range(10, 97)]), per_class=3)
    row = report.classes.row(by_predicate=pl.col("age") == 9, named=True)
    assert (row["curated"], row["drawn"], row["copies"]) == (0, 0, 0)
    assert report.notes == ["No curated record of ages 0-9, 97-99: these classes stay empty."]
    assert len(report.classes) == 100
    assert report.total == 3 * 87


def test_many_copies_of_a_face_are_warned_of(tmp_path: Path) -> None:
    report = balance(manifest_of(tmp_path / "a.duckdb", [5, 6, 6]), per_class=101)
    assert "50 copies of a record at ages 5-6 (up to 101)" in report.notes[1]


def test_a_plan_is_stored_under_its_name_and_in_place_of_an_older_one(tmp_path: Path) -> None:
    path = manifest_of(tmp_path / "a.duckdb", [5, 6, 6])
    balance(path, per_class=4)
    balance(path, per_class=9, plan="mine")
    balance(path, per_class=3, plan="mine")
    balance(path, per_class=2, plan="never", dry_run=True)
    with open_manifest(path) as con:
        found = plans(con)
        assert [facts.plan for facts in found] == ["mine", "per-class-4"]
        assert plan_rows(con, "mine").columns[:4] == ["part", "path", "age", "copies"]
        assert sorted(plan_rows(con, "mine")["copies"]) == [1, 2, 3]
        assert plan_rows(con, "per-class-4")["copies"].sum() == 8
        assert found[0].curated == curated_fingerprint(con)
        assert with_draws(training_rows(con), None, validation=0, seed=0)["copies"].to_list() == [1, 1, 1]


def test_rows_for_training_have_the_label_suspicion_of_ages_that_nobody_confirmed(tmp_path: Path) -> None:
    path = manifest_of(tmp_path / "a.duckdb", [5, 6, 7])
    with open_manifest(path, write=True) as con:
        con.execute(
            "INSERT INTO suspicion BY NAME SELECT record_id, 1 AS estimates, 0.3 AS label_suspicion FROM record "
            "WHERE age < 7"
        )
        con.execute(
            "INSERT INTO decision BY NAME SELECT record_id, 'decided' AS status, 'keep' AS answer, 'anna' AS \"by\", "
            "'' AS \"at\", 1 AS answers FROM record WHERE age = 6"
        )
        assert dict(training_rows(con).select("age", "label_suspicion").iter_rows()) == {5: 0.3, 6: 0.0, 7: None}


def test_other_records_make_a_plan_stale_though_the_kept_ones_are_the_same(tmp_path: Path) -> None:
    path = manifest_of(tmp_path / "a.duckdb", [5, 6, 6])
    balance(path, per_class=4)
    manifest_of(path, [5, 6, 6, 150])
    with open_manifest(path) as con:
        assert plans(con)[0].curated != curated_fingerprint(con)


def test_changed_ages_make_a_plan_stale(tmp_path: Path) -> None:
    path = manifest_of(tmp_path / "a.duckdb", [5, 6, 6])
    balance(path, per_class=4)
    manifest_of(path, [5, 6, 7])
    with open_manifest(path) as con:
        assert plans(con)[0].curated != curated_fingerprint(con)


@pytest.mark.parametrize(
    "wrong",
    [{"per_class": 0}, {"per_class": -1}, {"per_class": 2**40}, {"thin_ages": (60, 20)}, {"thin_ages": (0, 100)}],
)
def test_impossible_numbers_are_wrong_usage(tmp_path: Path, wrong: dict) -> None:
    with pytest.raises(UsageError, match="expected"):
        balance(manifest_of(tmp_path / "a.duckdb", [5]), **wrong)


def test_nothing_curated_and_an_unfinished_curation_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NothingCurated, match="no curated record"):
        balance(manifest_of(tmp_path / "a.duckdb", []))
    with pytest.raises(NothingCurated, match="was not finished"):
        balance(manifest_of(tmp_path / "b.duckdb", [5], judged=False))
