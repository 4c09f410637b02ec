"""What `agebench predict` writes: intervals, files, overlays, and the mean of several runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

Run = Callable[..., object]


@pytest.fixture
def pictures(workshop: Path) -> Path:
    """A face, the same in a folder below under the same name, a grey picture, and a file that is none."""
    folder = workshop / "pictures"
    (folder / "more").mkdir(parents=True)
    shutil.copy(workshop / "photo.jpg", folder / "face.jpg")
    shutil.copy(workshop / "photo.jpg", folder / "more" / "face.jpg")
    Image.new("RGB", (200, 120), "grey").save(folder / "grey.png")
    (folder / "none.jpg").write_bytes(b"no picture")
    return folder


def test_ages_come_with_an_interval_and_a_distribution(workshop: Path, agebench: Run) -> None:
    done = agebench("predict", "photo.jpg", "--json", cwd=workshop)
    (face,) = json.loads(done.out)["faces"]
    low, high = face["interval"]
    shares = np.array(face["probabilities"])
    assert shares.shape == (100,)
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    assert 0 <= low < high <= 99
    assert shares[low : high + 1].sum() >= 0.9 - 1e-3
    assert f"{low} to {high}" in agebench("predict", "photo.jpg", cwd=workshop).out


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_a_folder_becomes_rows_of_a_file(workshop: Path, pictures: Path, agebench: Run, kind: str) -> None:
    done = agebench("predict", "pictures", "--out", f"ages.{kind}", "--json", cwd=workshop)
    assert done.status == 0
    faces = json.loads(done.out)["faces"]
    file = workshop / f"ages.{kind}"
    if kind == "json":
        assert json.loads(file.read_text()) == faces
        return
    rows = pl.read_csv(file) if kind == "csv" else pl.read_parquet(file)
    assert rows["picture"].to_list() == [face["picture"] for face in faces]
    assert rows["age"].to_list() == [face["age"] for face in faces]
    assert rows["low"].to_list() == [face["interval"] and face["interval"][0] for face in faces]
    assert rows.filter(pl.col("fault").is_not_null())["picture"].to_list() == ["pictures/none.jpg"]
    assert ("probabilities" in rows.columns) == (kind == "parquet")


def test_an_overlay_shows_the_box_and_the_age(workshop: Path, pictures: Path, agebench: Run) -> None:
    done = agebench("predict", "pictures", "--overlay", "drawn", cwd=workshop)
    assert done.status == 0
    assert sorted(path.name for path in (workshop / "drawn").iterdir()) == ["face-2.jpg", "face.jpg", "grey.jpg"]
    before = np.asarray(Image.open(pictures / "face.jpg").convert("RGB"), np.int16)
    after = np.asarray(Image.open(workshop / "drawn" / "face.jpg"), np.int16)
    assert after.shape == before.shape
    changed = np.abs(after - before).max(axis=2) > 60
    assert 0.005 < changed.mean() < 0.5
    assert (pictures / "face.jpg").read_bytes() == (workshop / "photo.jpg").read_bytes()


def test_several_runs_give_their_mean_distribution_and_its_median(workshop: Path, agebench: Run, run_id: str) -> None:
    small = ("--set", "train.steps=5", "--set", "train.batch=8", "--set", "train.warmup=1")
    assert agebench("train", "cross-entropy-quick", *small, cwd=workshop).status == 0

    def face(*runs: str) -> dict:
        words = [word for run in runs for word in ("--run", run)]
        return json.loads(agebench("predict", "photo.jpg", *words, "--json", cwd=workshop).out)["faces"][0]

    one, other, both = face(run_id), face("cross-entropy-quick"), face(run_id, "cross-entropy-quick")
    mean = (np.array(one["probabilities"]) + np.array(other["probabilities"])) / 2
    np.testing.assert_allclose(both["probabilities"], mean, atol=1e-6)
    edges = np.concatenate([[0], mean.cumsum()])  # half a year before age 0, half a year after it, ...
    assert both["age"] == pytest.approx(np.interp(0.5, edges, np.arange(101) - 0.5), abs=1e-3)


def test_runs_of_other_crops_are_not_mixed(workshop: Path, agebench: Run, run_id: str) -> None:
    assert agebench("train", "ridge", "--set", "method.features=hog", cwd=workshop).status == 0
    done = agebench("predict", "photo.jpg", "--run", run_id, "--run", "ridge", cwd=workshop)
    assert done.status == 2
    assert "crops of another size" in done.err


def test_a_wrong_ending_is_refused_before_anything_is_done(workshop: Path, agebench: Run) -> None:
    done = agebench("predict", "photo.jpg", "--out", "ages.txt", cwd=workshop)
    assert done.status == 2
    assert not (workshop / "ages.txt").exists()
