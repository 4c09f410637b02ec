"""Detection, curation and alignment on drawn faces alone, for checkouts without test pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from agebench.datasets.release import read_release
from agebench.demo.releases import DATASETS, DemoReleases
from agebench.errors import Missing
from agebench.faces.alignment import align, similarity, template
from agebench.faces.detectors import Detector, choose_detector, detect_faces, load_detector
from agebench.manifest.export import verdict_rows
from agebench.manifest.store import open_manifest
from agebench.pictures import decode
from agebench.recipes import load_card
from agebench.workflows.curate import curate

REJECTED_FOR = {
    "absolute_path": "path_outside_release", "path_escape": "path_outside_release", "missing_file": "missing_file",
    "empty_file": "empty_file", "truncated": "truncated", "one_pixel": "odd_size", "dob_zero": "impossible_birth_date",
    "negative_age": "born_after_photo", "age_over_100": "age_out_of_range", "no_face": "no_face",
}  # fmt: skip
SAME_FACE = ("", "wrong_age", "dob_zero", "grayscale", "gender_nan", "age_over_100", "negative_age", "png_as_jpg")


def read(file: Path) -> NDArray[np.uint8]:
    picture, fault = decode(file.read_bytes())
    assert picture is not None, (file, fault)
    return picture.rgb


def overlap(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Intersection over union of two boxes (4,): left, top, width, height."""
    low, high = np.maximum(first[:2], second[:2]), np.minimum(first[:2] + first[2:], second[:2] + second[2:])
    shared = np.clip(high - low, 0, None).prod()
    return float(shared / (first[2:].prod() + second[2:].prod() - shared))


def drawn_faces(drawn: DemoReleases) -> pl.DataFrame:
    """IMDB-WIKI's records with their faults and files."""
    root = drawn.roots["imdb-wiki"]
    records = read_release(load_card("imdb-wiki"), root).records
    truth = pl.read_csv(drawn.truth).select("part", pl.col("full_path").alias("path"), "fault")
    file = pl.concat_str(pl.lit(f"{root}/"), "part", pl.lit("_crop/"), "path")
    return records.join(truth, on=["part", "path"]).with_columns(file.alias("file"))


@pytest.fixture(scope="module", params=["yuface", "mtcnn"])
def detect(request: pytest.FixtureRequest) -> Detector:
    try:
        return load_detector(choose_detector(request.param))
    except Missing as error:
        pytest.skip(error.message)


def test_every_face_is_found_where_it_was_drawn(drawn_release: DemoReleases, detect: Detector) -> None:
    faces = drawn_faces(drawn_release).filter(pl.col("fault").fill_null("").is_in(SAME_FACE))
    assert len(faces) >= 30
    for file, *box in faces.select("file", "box_x", "box_y", "box_w", "box_h").iter_rows():
        found = detect_faces(detect, read(Path(file)))
        assert len(found) == 1, file
        assert overlap(found[0, :4], np.array(box)) > 0.5, file


def test_nobody_and_two_people_are_counted_as_drawn(drawn_release: DemoReleases, detect: Detector) -> None:
    for fault, faces in (("no_face", 0), ("two_faces", 2)):
        files = drawn_faces(drawn_release).filter(pl.col("fault") == fault)["file"]
        assert [len(detect_faces(detect, read(Path(file)))) for file in files] == [faces] * len(files)


def test_the_drawn_eyes_lie_where_the_aligned_crop_has_eyes(drawn_release: DemoReleases, detect: Detector) -> None:
    root, size = drawn_release.roots["fg-net"], 64
    files = sorted((root / "images").glob("*.JPG"))
    for file in files:
        points = np.loadtxt(root / "points" / f"{file.stem.lower()}.pts", skiprows=3, max_rows=68)
        eyes, rgb = points[[31, 36]], read(file)
        landmarks = detect_faces(detect, rgb)[0, 5:].reshape(5, 2)
        between = np.hypot(*(eyes[1] - eyes[0]))
        assert np.hypot(*(landmarks[:2] - eyes).T).max() < 0.35 * between, file  # yuface puts babies' eyes high
        matrix = similarity(landmarks, template(size))
        aligned = eyes @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(aligned - template(size)[:2]).max() < 0.12 * size, file
        assert align(rgb, landmarks, size).any(axis=2).mean() > 0.9, file  # the face fills the crop


@pytest.mark.parametrize("dataset", DATASETS)
def test_curation_finds_the_injected_faults_and_keeps_the_rest(
    dataset: str, drawn_release: DemoReleases, detector: str, tmp_path: Path
) -> None:
    manifest = tmp_path / f"{dataset}.duckdb"
    report = curate(dataset, root=drawn_release.roots[dataset], manifest=manifest, detector=detector, estimators=[])
    assert report.records == drawn_release.records[dataset]
    if dataset != "imdb-wiki":
        assert (report.kept, report.unreadable) == (report.records, 0)
        return
    truth = pl.read_csv(drawn_release.truth).rename({"full_path": "path"})
    with open_manifest(manifest) as con:
        both = truth.join(verdict_rows(con), on=["part", "path"], how="left")
    verdicts = dict(both.select("path", "verdict").iter_rows())
    for fault, verdict, reasons, original in both.select("fault", "verdict", "reasons", "duplicate_of").iter_rows():
        if fault in REJECTED_FOR:
            assert (verdict, REJECTED_FOR[fault]) == ("reject", reasons.split(";")[0]), fault
        elif fault in ("tiny_face", "blurred", "two_faces"):
            assert verdict != "keep", fault
        elif fault in ("near_duplicate", "exact_duplicate"):
            assert {verdict, verdicts[original]} != {"keep"}
        elif fault is None:
            assert verdict == "keep" or "duplicates" in reasons
