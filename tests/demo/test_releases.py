"""The drawn releases: read by the readers of the real ones, the same for the same seed, with the faults stated."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import polars as pl
import pytest

from agebench.datasets.release import read_release
from agebench.demo.imdb_wiki import FAULTS
from agebench.demo.releases import DemoReleases, draw_releases
from agebench.demo.truth import caught
from agebench.errors import UsageError
from agebench.recipes import load_card


def truth_of(drawn: DemoReleases) -> pl.DataFrame:
    """truth.csv with what the release itself says of each record, and the file's bytes (None where there are none)."""
    records = read_release(load_card("imdb-wiki"), drawn.roots["imdb-wiki"]).records
    truth = pl.read_csv(drawn.truth, schema_overrides={"utkface_file": pl.Utf8})
    both = truth.join(records, left_on=["part", "full_path"], right_on=["part", "path"], how="inner")
    files = [drawn.roots["imdb-wiki"] / f"{part}_crop" / path for part, path in both.select("part", "full_path").rows()]
    return both.with_columns(
        content=pl.Series([f.read_bytes() if f.is_file() else None for f in files], dtype=pl.Binary)
    )


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_every_release_is_read_by_its_reader_without_remarks(drawn: DemoReleases) -> None:
    for dataset, root in drawn.roots.items():
        release = read_release(load_card(dataset), root)
        assert release.records.height == drawn.records[dataset]
        assert release.notes == []
        assert release.records["age"].null_count() == 0
        if dataset != "imdb-wiki":
            assert release.records["age"].is_between(0, 99).all()
            folder = release.folders[dataset]
            assert all(cv2.imread(str(folder / path)) is not None for path in release.records["path"])


def test_truth_has_the_columns_of_the_other_truths(drawn: DemoReleases) -> None:
    columns = ["part", "full_path", "true_age", "fault", "utkface_file", "duplicate_of"]
    assert pl.read_csv(drawn.truth).columns == columns


def test_every_fault_is_there_and_is_what_it_says(drawn: DemoReleases) -> None:
    truth = truth_of(drawn)
    assert truth.height == drawn.records["imdb-wiki"]
    assert set(truth["fault"].drop_nulls()) == set(FAULTS)
    by_path = {row["full_path"]: row for row in truth.iter_rows(named=True)}
    for row in truth.iter_rows(named=True):
        fault, age, true, content = row["fault"], row["age"], row["true_age"], row["content"]
        wrong_label = {"wrong_age", "age_over_100", "negative_age", "dob_zero"}
        if fault == "exact_duplicate":
            assert content == by_path[row["duplicate_of"]]["content"]
        else:
            assert (age != true) == (fault in wrong_label)
        if fault == "wrong_age":
            assert abs(age - true) >= 12
        if fault == "age_over_100":
            assert age > 100
        if fault == "negative_age":
            assert age < 0
        if fault == "dob_zero":
            assert row["dob"] is None
        if fault == "gender_nan":
            assert row["gender"] is None
        if fault == "no_face":
            assert row["face_score"] == -np.inf
        if fault == "two_faces":
            assert row["second_face_score"] > 0
        if fault in ("missing_file", "absolute_path", "path_escape"):
            assert content is None
            continue
        if fault == "empty_file":
            assert content == b""
            continue
        assert content.startswith(b"\x89PNG" if fault == "png_as_jpg" else b"\xff\xd8")
        if fault == "truncated":
            assert not content.endswith(b"\xff\xd9")
            continue
        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert (pixels.shape[:2] == (1, 1)) == (fault == "one_pixel")
        if fault == "grayscale":
            assert np.ptp(pixels.astype(int), axis=2).max() == 0


def test_celebrities_have_several_pictures_over_the_years_and_one_birthday(drawn: DemoReleases) -> None:
    truth = truth_of(drawn).filter(pl.col("fault").is_null() & (pl.col("part") == "imdb"))
    people = truth.group_by("subject_id").agg(
        pl.len(), pl.col("dob").n_unique(), pl.col("photo_year").n_unique().alias("years")
    )
    assert people["dob"].to_list() == [1] * people.height
    assert (people["years"] > 1).any()


def test_the_same_seed_gives_the_same_bytes(drawn: DemoReleases, tmp_path: Path) -> None:
    again = draw_releases(tmp_path, records=40, seed=3)
    assert hashes(again.truth.parents[1]) == hashes(drawn.truth.parents[1])


def test_drawing_begins_again_where_unfinished_and_never_overwrites(drawn: DemoReleases, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []

    def stop(n: int, total: int) -> None:
        if n == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_releases(tmp_path, records=40, seed=1, on_progress=stop)
    assert not (tmp_path / "data").exists()
    first = draw_releases(tmp_path, records=40, seed=1, on_progress=lambda n, total: done.append((n, total)))
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    total = sum(first.records.values())
    assert done == [(i + 1, total) for i in range(total)]
    assert first.truth.read_bytes() != drawn.truth.read_bytes()  # another seed
    assert draw_releases(tmp_path, records=40, seed=1, on_progress=lambda n, total: pytest.fail("drawn anew")) == first
    with pytest.raises(UsageError, match="seed 2"):
        draw_releases(tmp_path, records=40, seed=2)
    (tmp_path / "mine" / "data").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists, but was not drawn"):
        draw_releases(tmp_path / "mine", records=40, seed=1)


def test_too_few_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few"):
        draw_releases(tmp_path, records=10, seed=1)


def test_caught_counts_by_fault_and_verdict() -> None:
    truth = pl.DataFrame(
        {"part": ["imdb"] * 6, "full_path": list("abcdef"), "fault": ["blurred", "blurred", "no_face", None, None, ""]}
    )
    verdicts = pl.DataFrame(
        {"part": ["imdb"] * 5, "path": list("abcde"), "verdict": ["reject", "keep", "review", "keep", "review"]}
    )
    assert caught(truth, verdicts).rows() == [
        ("blurred", 2, 1, 0, 1, 0),
        ("no_face", 1, 0, 1, 0, 0),
        ("none", 3, 0, 1, 1, 1),
    ]
