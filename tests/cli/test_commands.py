"""What the commands leave and show: exports, listings, copies, status, doctor, and the folder's own recipes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from agebench import resources
from agebench.curation.observing.parts import one_at_a_time, parts_folder
from agebench.files import file_hash
from agebench.manifest.renewal import forget
from agebench.manifest.store import open_manifest
from agebench.training import predict
from agebench.training.data import TrainingData
from agebench.training.resolve import resolve_recipe
from agebench.training.runs import train_run

Run = Callable
COLUMNS = {
    "verdicts": ["part", "path", "age", "verdict", "reasons", "label_suspicion"],
    "plan": ["part", "path", "age", "copies"],
    "faces": ["part", "path", "detector", "face_no", "x", "y", "w", "h", "score",
              *(f"l{axis}{i}" for i in range(5) for axis in "xy")],
    "curated": ["record_id", "part", "path", "age", "subject_id", "group_id", "sha256", "face_no", "landmarks"],
    "funnel": ["step", "verdict", "records"],
}  # fmt: skip


@pytest.mark.parametrize("rows", COLUMNS)
@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_export_writes_every_kind_of_rows_in_every_format(workshop: Path, agebench: Run, rows: str, kind: str) -> None:
    out = workshop / "deep" / f"rows.{kind}"
    done = agebench("export", "--rows", rows, "--out", out, "--json", cwd=workshop)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert (found["rows"], found["format"]) == (rows, kind)
    read = {"csv": pl.read_csv, "parquet": pl.read_parquet, "jsonl": pl.read_ndjson}[kind]
    frame = read(out)
    assert [c for c in COLUMNS[rows] if c not in frame.columns] == []
    assert len(frame) == found["count"] > 0
    if rows == "verdicts":
        assert len(frame) == 60
        assert set(frame["verdict"]) <= {"keep", "review", "reject"}
        rejected = frame.filter(pl.col("verdict") == "reject")
        assert (rejected["reasons"].str.len_chars() > 0).all()
    if rows == "faces":
        inside = (frame["lx0"] >= frame["x"] - frame["w"]) & (frame["lx0"] <= frame["x"] + 2 * frame["w"])
        assert inside.all()
    assert list(out.parent.iterdir()) == [out]


def test_export_goes_to_standard_output_as_csv(workshop: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    import contextlib
    import sys

    from agebench.cli import main

    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "argv", ["agebench", "export", "--rows", "plan"])
    with contextlib.chdir(workshop), pytest.raises(SystemExit) as end:
        main()
    patch.undo()
    assert end.value.code == 0
    frame = pl.read_csv(io.BytesIO(capfdbinary.readouterr().out))
    assert frame.columns[:4] == COLUMNS["plan"]


def test_export_of_a_plan_that_was_never_made_names_the_command(workshop: Path, agebench: Run) -> None:
    done = agebench("export", "--rows", "plan", "--manifest", "fg-net", cwd=workshop)
    assert done.status == 1
    assert "agebench balance" in done.err


def test_a_plan_older_than_the_curated_rows_is_not_exported(workshop: Path, agebench: Run) -> None:
    (workshop / "pipelines").mkdir()
    (workshop / "pipelines" / "mine.toml").write_text(
        'name = "mine"\ndataset = "imdb-wiki"\ntitle = "t"\n'
        '[[check]]\nname = "old"\nreject = "age > 30"\nreason = "old"\n'
    )
    assert agebench("curate", "imdb-wiki", "--recipe", "mine", "--workers", 1, cwd=workshop).status == 0
    done = agebench("export", "--rows", "plan", cwd=workshop)
    assert done.status == 1
    assert "agebench balance" in done.err
    assert done.out == ""


def test_a_release_that_changed_leaves_no_plan_that_points_at_other_records(workshop: Path, agebench: Run) -> None:
    root = workshop / "data" / "morph"
    assert agebench("balance", "--manifest", "morph", "--per-class", 2, cwd=workshop).status == 0
    next(root.rglob("*.JPG")).unlink()
    assert agebench("curate", "morph", "--root", root, "--workers", 1, cwd=workshop).status == 0
    with open_manifest(workshop / "manifests" / "morph.duckdb") as con:
        assert con.execute("SELECT count(*) FROM plan").fetchall() == [(0,)]
    assert agebench("export", "--rows", "plan", "--manifest", "morph", cwd=workshop).status == 1


@pytest.mark.parametrize("rows", ["verdicts", "curated", "funnel", "plan"])
def test_rows_of_a_curation_that_was_not_finished_are_not_exported(workshop: Path, agebench: Run, rows: str) -> None:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb", write=True) as con:
        forget(con, ["verdicts"])
    done = agebench("export", "--rows", rows, cwd=workshop)
    assert done.status == 1
    assert done.out == ""
    assert "not finished" in done.err
    assert "agebench curate imdb-wiki" in done.err


def test_one_odd_run_does_not_hide_the_others(workshop: Path, agebench: Run, run_id: str) -> None:
    odd = workshop / "runs" / f"{run_id}x"
    shutil.copytree(workshop / "runs" / run_id, odd)
    (odd / "predictions" / "fg-net.json").write_text("{")
    report = agebench("report", "--tables", "2", "--json", cwd=workshop)
    assert report.status == 0, report.err
    measured = [row for row in json.loads(report.out)["tables"][0]["rows"] if row["source"] == "measured"]
    assert [row["run"] for row in measured] == [run_id]
    assert odd.name in report.err
    assert agebench("status", cwd=workshop).status == 0
    assert agebench("report", "--verify", cwd=workshop).status == 1


def test_predictions_on_two_manifests_of_one_name_are_kept_apart(workshop: Path, agebench: Run, run_id: str) -> None:
    (workshop / "elsewhere").mkdir()
    shutil.copy(workshop / "manifests" / "morph.duckdb", workshop / "elsewhere" / "fg-net.duckdb")
    kept = (workshop / "runs" / run_id / "predictions" / "fg-net.json").read_bytes()
    done = agebench("evaluate", run_id, "--on", workshop / "elsewhere" / "fg-net.duckdb", "--json", cwd=workshop)
    assert done.status == 0, done.err
    [result] = json.loads(done.out)["results"]
    assert result["dataset"] == "morph"
    assert (workshop / "runs" / run_id / "predictions" / "fg-net.json").read_bytes() == kept
    assert len(list((workshop / "runs" / run_id / "predictions").glob("*.json"))) == 4


def test_ls_lists_what_ships_and_what_is_yours(workshop: Path, agebench: Run) -> None:
    assert agebench("cp", "imdb-wiki-paper", "my-rules", cwd=workshop).status == 0
    (workshop / "pipelines" / "broken.toml").write_text("name = 3")
    found = json.loads(agebench("ls", "--json", cwd=workshop).out)
    rows = {row["name"]: row for row in found["pipelines"]}
    assert rows["my-rules"]["yours"] is True
    assert rows["imdb-wiki-paper"]["yours"] is False
    assert rows["broken"]["valid"] is False
    assert {row["name"] for row in found["manifests"]} >= {"imdb-wiki", "fg-net", "morph", "cacd", "utkface"}
    assert "my-rules" in agebench("ls", cwd=workshop).out


def test_a_copied_recipe_is_valid_and_used(workshop: Path, agebench: Run) -> None:
    assert agebench("cp", "imdb-wiki-paper", "my-rules", cwd=workshop).status == 0
    done = agebench("curate", "imdb-wiki", "--recipe", "my-rules", "--json", cwd=workshop)
    assert json.loads(done.out)["recipe"] == "my-rules"
    again = agebench("cp", "imdb-wiki-paper", "my-rules", cwd=workshop)
    assert (again.status, "already exists" in again.err) == (2, True)


def test_a_recipe_that_shares_its_name_with_a_card_is_reached_by_its_folder(workshop: Path, agebench: Run) -> None:
    assert "[[check]]" in agebench("show", "pipelines/fg-net", cwd=workshop).out
    assert "[protocol]" in agebench("show", "fg-net", cwd=workshop).out
    assert agebench("cp", "pipelines/fg-net", cwd=workshop).status == 0
    assert (workshop / "pipelines" / "fg-net.toml").is_file()
    assert "'fg-net'" in agebench("show", "pipelines/fg-nett", cwd=workshop).err


def test_show_prints_the_file(workshop: Path, agebench: Run) -> None:
    assert 'name = "fg-net"' in agebench("show", "fg-net", cwd=workshop).out


def test_status_names_the_next_command(tmp_path: Path, workshop: Path, agebench: Run) -> None:
    empty = json.loads(agebench("status", "--json", cwd=tmp_path).out)
    assert empty["next_command"] == "agebench demo --small"
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert {m["dataset"] for m in found["manifests"]} == {"imdb-wiki", "fg-net", "morph", "cacd"}
    assert [m["problems"] for m in found["manifests"]] == [[]] * 4
    assert found["next_command"] == "agebench curate utkface"
    (workshop / "manifests" / "junk.duckdb").write_text("junk")
    with_junk = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert any("not a manifest" in p for m in with_junk["manifests"] for p in m["problems"])


def test_status_proposes_no_curate_where_one_runs(workshop: Path, agebench: Run) -> None:
    shutil.rmtree(workshop / "data")
    manifest = workshop / "manifests" / "imdb-wiki.duckdb"
    with one_at_a_time(manifest):
        parts_folder(manifest).joinpath("1.arrows").touch()
        found = json.loads(agebench("status", "--json", cwd=workshop).out)
        [ours] = [m for m in found["manifests"] if m["dataset"] == "imdb-wiki"]
        assert (ours["curating"], ours["problems"]) == (os.getpid(), [f"process {os.getpid()} is curating it"])
        assert (found["next_command"], found["why"].split(":")[0]) == (
            "agebench status", f"process {os.getpid()} is curating manifests/imdb-wiki.duckdb"
        )  # fmt: skip
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert found["next_command"].startswith("agebench curate imdb-wiki")
    assert found["why"].endswith("observations wait to be folded in")


def test_status_takes_no_name_for_a_reason(workshop: Path, agebench: Run) -> None:
    """A recipe whose name has the word `plan` in it, and which has changed since."""
    shutil.rmtree(workshop / "data" / "utkface")
    assert agebench("cp", "imdb-wiki-paper", "plan-b", cwd=workshop).status == 0
    curated = agebench("curate", "imdb-wiki", "--recipe", "plan-b", "--estimator", "none", cwd=workshop)
    assert curated.status == 0, curated.err
    assert agebench("balance", "--per-class", 2, cwd=workshop).status == 0
    fresh = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert fresh["next_command"].startswith("agebench report")
    recipe = workshop / "pipelines" / "plan-b.toml"
    recipe.write_text(re.sub("^title = .*", 'title = "t"', recipe.read_text(), count=1, flags=re.MULTILINE))
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert found["next_command"].startswith("agebench curate imdb-wiki")
    assert "recipe plan-b has changed" in found["why"]
    [ours] = [m for m in found["manifests"] if m["dataset"] == "imdb-wiki"]
    assert (ours["outdated"], ours["balance"]) == (True, None)


def test_status_names_the_folder_of_a_card_of_your_own(tmp_path: Path, agebench: Run) -> None:
    assert agebench("cp", "utkface", "chips", cwd=tmp_path).status == 0
    card = tmp_path / "manifests" / "chips.toml"
    card.write_text(card.read_text().replace('root = "data/utkface"', 'root = "elsewhere"'))
    (tmp_path / "elsewhere" / "chips").mkdir(parents=True)
    found = json.loads(agebench("status", "--json", cwd=tmp_path).out)
    assert (found["next_command"], found["why"].split()[0]) == ("agebench curate chips", "elsewhere")


def test_doctor_tries_the_detectors(agebench: Run, detector: str, tmp_path: Path) -> None:
    done = agebench("doctor", "--json", cwd=tmp_path)
    found = json.loads(done.out)
    states = {f["what"]: f["state"] for f in found["findings"]}
    assert states[f"detector {detector}"] == "ok"
    assert states["detector auto"] == "ok"
    assert (done.status == 0) == (found["broken"] == [])


def test_a_recipe_without_pictures_judges_labels_alone(workshop: Path, agebench: Run) -> None:
    for picture in (workshop / "data" / "imdb-wiki").rglob("*.jpg"):
        picture.unlink()
    before = json.loads(agebench("status", "--json", cwd=workshop).out)["manifests"]
    done = agebench("curate", "imdb-wiki", "--recipe", "imdb-wiki-dir", "--json", cwd=workshop)
    found = json.loads(done.out)
    assert found["observed"] == 0
    assert set(found["reasons"]) == {"low_face_score", "second_face", "age_out_of_range"}
    assert any("only the labels" in note for note in found["notes"])
    after = json.loads(agebench("status", "--json", cwd=workshop).out)["manifests"]
    assert [m["detector"] for m in before] == [m["detector"] for m in after]  # it stays remembered


def test_the_next_command_works_as_it_stands(workshop: Path, agebench: Run) -> None:
    """A manifest of another name, folder and recipe, whose curation is out of date."""
    shutil.rmtree(workshop / "manifests")
    shutil.move(workshop / "data" / "fg-net", workshop / "other pictures")
    shutil.rmtree(workshop / "data")
    (workshop / "pipelines").mkdir()
    recipe = workshop / "mine" / "faces.toml"
    recipe.parent.mkdir()
    recipe.write_text('name = "faces"\ndataset = "fg-net"\ntitle = "t"\ncheck = []\n')
    where = ("--root", "other pictures", "--manifest", "manifests/mine.duckdb", "--recipe", "mine/faces.toml")
    assert agebench("curate", "fg-net", *where, "--workers", 1, cwd=workshop).status == 0
    recipe.write_text(recipe.read_text().replace('"t"', '"u"'))
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert "has changed" in found["why"]
    words = shlex.split(found["next_command"])
    assert words[:3] == ["agebench", "curate", "fg-net"]
    assert agebench(*words[1:], cwd=workshop).status == 0
    [manifest] = json.loads(agebench("status", "--json", cwd=workshop).out)["manifests"]
    assert manifest["problems"] == []


def test_test_sets_alone_are_nothing_to_balance(workshop: Path, agebench: Run) -> None:
    (workshop / "manifests" / "imdb-wiki.duckdb").unlink()
    shutil.rmtree(workshop / "data")
    assert json.loads(agebench("status", "--json", cwd=workshop).out)["next_command"].startswith("agebench report")
    shutil.rmtree(workshop / "runs")
    assert json.loads(agebench("status", "--json", cwd=workshop).out)["next_command"] == "agebench curate imdb-wiki"


def test_an_unfinished_run_is_resumed_by_the_command_that_status_names(
    workshop: Path, agebench: Run, run_id: str
) -> None:
    shutil.rmtree(workshop / "data" / "utkface")
    run = workshop / "runs" / run_id
    (run / "COMMITTED").unlink()
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    words = shlex.split(found["next_command"])
    assert words[:4] == ["agebench", "train", "neighborhood-quick", "--resume"]
    assert "train.steps=5" in words
    done = agebench(*words[1:], "--json", cwd=workshop)
    assert (done.status, json.loads(done.out)["run"]) == (0, run_id)


def test_a_resumed_run_keeps_its_test_sets_and_leaves_out_the_same_leaks(workshop: Path, agebench: Run) -> None:
    shutil.rmtree(workshop / "runs")
    shutil.rmtree(workshop / "data" / "utkface")
    words = ["train", "neighborhood-quick", "--set", "train.steps=2", "--set", "train.warmup=0"]
    done = agebench(*words, "--on", "morph", "--without-leaks", "fg-net", "--json", cwd=workshop)
    assert done.status == 0, done.err
    (workshop / json.loads(done.out)["path"] / "COMMITTED").unlink()
    resume = shlex.split(json.loads(agebench("status", "--json", cwd=workshop).out)["next_command"])
    assert resume[resume.index("--on") + 1] == "manifests/morph.duckdb"
    assert resume[resume.index("--without-leaks") + 1] == "manifests/fg-net.duckdb"
    resumed = json.loads(agebench(*resume[1:], "--json", cwd=workshop).out)
    assert resumed["run"] == json.loads(done.out)["run"]
    assert [one["dataset"] for one in resumed["evaluated"]] == ["morph"]


@pytest.mark.skipif(torch.cuda.device_count() == 1 or torch.backends.mps.is_available(), reason="one device only")
def test_a_run_of_two_devices_is_measured_and_resumed_on_two(workshop: Path, agebench: Run) -> None:
    shutil.rmtree(workshop / "runs")
    shutil.rmtree(workshop / "data" / "utkface")
    words = ["train", "neighborhood-quick", "--set", "train.steps=2", "--set", "train.warmup=0", "--devices", "2"]
    done = agebench(*words, "--json", cwd=workshop)
    assert done.status == 0, done.err
    found = json.loads(done.out)
    assert len(found["evaluated"]) == 3
    run = workshop / found["path"]
    assert json.loads((run / "card.json").read_text())["hardware"]["processes"] == 2
    (run / "COMMITTED").unlink()
    resume = shlex.split(json.loads(agebench("status", "--json", cwd=workshop).out)["next_command"])
    assert resume[resume.index("--devices") + 1] == "2"
    done = agebench(*resume[1:], "--json", cwd=workshop)
    assert (done.status, json.loads(done.out)["run"]) == (0, found["run"])


@pytest.mark.parametrize("change", [{"n": 3}, {"ci95": [0.0, 1.0]}, {"cs5": None}, {"undetected": 99}, {"overlap": 7}])
def test_verify_computes_everything_again(
    workshop: Path, agebench: Run, run_id: str, change: dict[str, object]
) -> None:
    assert agebench("report", "--verify", cwd=workshop).status == 0
    file = workshop / "runs" / run_id / "predictions" / "fg-net.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    done = agebench("report", "--verify", "--json", cwd=workshop)
    assert done.status == 1
    [problem] = json.loads(done.out)["problems"]
    assert next(iter(change)) in problem


def test_verify_says_where_an_interval_was_drawn_by_other_versions(workshop: Path, agebench: Run, run_id: str) -> None:
    file = workshop / "runs" / run_id / "predictions" / "morph.json"
    kept = json.loads(file.read_text())
    assert kept["versions"] == {name: version(name) for name in ("numpy", "scipy")}
    file.write_text(json.dumps(kept | {"versions": {"numpy": "1.0", "scipy": "1.1"}}))
    done = agebench("report", "--verify", "--json", cwd=workshop)
    assert done.status == 0
    [told] = [text for text in json.loads(done.out)["verified"] if "on morph" in text]
    assert "scipy 1.1" in told


def test_predict_tells_a_detector_that_failed_from_one_that_found_no_face(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (200, 200), "grey").save(workshop / "grey.png")
    found = json.loads(agebench("predict", "photo.jpg", "grey.png", "--json", cwd=workshop).out)["faces"]
    assert [(bool(face["box"]), face["note"]) for face in found] == [(True, None), (False, "no face found")]

    def fails(*_: object) -> None:
        raise RuntimeError("an odd shape")

    monkeypatch.setattr(predict, "detect_faces", fails)
    [face] = json.loads(agebench("predict", "photo.jpg", "--json", cwd=workshop).out)["faces"]
    assert (face["box"], face["fault"]) == (None, None)
    assert 0 <= face["age"] <= 99
    assert face["note"] == "the detector failed: RuntimeError: an odd shape"
    assert "the detector failed" in agebench("predict", "photo.jpg", cwd=workshop).out


def test_predict_does_not_take_a_lack_of_memory_for_a_missing_face(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(predict, "detect_faces", fails)
    done = agebench("predict", "photo.jpg", "--json", cwd=workshop)
    assert (done.status, json.loads(done.out)["error"]["kind"]) == (1, "OutOfMemory")


def without_the_detector_of(run: Path) -> None:
    """As if the run had been trained with a detector that is not here, whole and committed as it is."""
    card = json.loads((run / "card.json").read_text())
    card["provenance"]["detector"] = card["provenance"]["detector_choice"]["name"] = "gone-1"
    card["provenance"]["detector_choice"] |= {"kind": "insightface", "weights": "/nowhere.onnx", "second": None}
    (run / "card.json").write_text(json.dumps(card))
    line = re.sub(
        "^.*card.json$", f"{file_hash(run / 'card.json')}  card.json", (run / "COMMITTED").read_text(), flags=re.M
    )
    (run / "COMMITTED").write_text(line)


def test_predict_takes_no_other_detector_than_the_trainings_without_being_told(
    workshop: Path, agebench: Run, run_id: str, detector: str
) -> None:
    run = workshop / "runs" / run_id
    same = json.loads(agebench("predict", "photo.jpg", "--json", cwd=workshop).out)
    assert same["detector"] == same["training_detector"]
    without_the_detector_of(run)
    refused = agebench("predict", "photo.jpg", cwd=workshop)
    assert (refused.status, "gone-1" in refused.err, "--detector" in refused.err) == (3, True, True)
    told = agebench("predict", "photo.jpg", "--detector", detector, cwd=workshop)
    assert told.status == 0
    assert "gone-1" in told.out


def test_a_test_set_that_was_observed_by_another_detector_is_marked(workshop: Path, agebench: Run, run_id: str) -> None:
    without_the_detector_of(workshop / "runs" / run_id)
    assert agebench("evaluate", run_id, "--on", "fg-net", cwd=workshop).status == 0
    tables = json.loads(agebench("report", "--json", cwd=workshop).out)["tables"]
    [row] = [row for row in tables[0]["rows"] if row["run"] == run_id]
    assert "gone-1" in row["cells"]["FG-NET"]["note"]


def test_a_report_on_a_manifest_has_the_name_that_evaluate_takes(workshop: Path, agebench: Run, run_id: str) -> None:
    shutil.copy(workshop / "manifests" / "fg-net.duckdb", workshop / "manifests" / "second.duckdb")
    [found] = json.loads(agebench("evaluate", run_id, "--on", "second", "--json", cwd=workshop).out)["results"]
    for name in "second", found["name"], "manifests/second.duckdb":
        shown = json.loads(agebench("report", "--on", name, "--json", cwd=workshop).out)
        assert (shown["dataset"], shown["estimators"][0]["n"]) == ("fg-net", found["n"])
    done = agebench("report", "--on", "secnod", cwd=workshop)
    assert done.status == 3
    assert "Did you mean 'second'?" in done.err


def test_train_measures_the_test_sets_that_are_named(workshop: Path, agebench: Run) -> None:
    trained = json.loads(agebench("train", "median", "--on", "morph", "--on", "cacd", "--json", cwd=workshop).out)
    assert [one["dataset"] for one in trained["evaluated"]] == ["morph", "cacd"]
    planned = json.loads(agebench("train", "median", "--on", "morph", "--dry-run", "--json", cwd=workshop).out)
    assert planned["test_sets"] == ["manifests/morph.duckdb"]
    runs = sorted((workshop / "runs").iterdir())
    (workshop / "manifests" / "broken.duckdb").write_text("no database")
    for name, status, told in (
        ("morhp", 2, "Did you mean 'morph'?"), ("imdb-wiki", 2, "not a test set"), ("broken", 1, "broken.duckdb"),
    ):  # fmt: skip
        done = agebench("train", "median", "--seed", "1", "--on", name, cwd=workshop)
        assert done.status == status
        assert told in done.err
    assert sorted((workshop / "runs").iterdir()) == runs
    twice = agebench(
        "train", "median", "--on", "morph", "--on", "manifests/morph.duckdb", "--dry-run", "--json", cwd=workshop
    )
    assert json.loads(twice.out)["test_sets"] == ["manifests/morph.duckdb"]


def test_shared_people_are_found_between_training_and_test(workshop: Path, agebench: Run, run_id: str) -> None:
    """A celebrity of the test set under the name of somebody who was trained on."""
    records = pl.read_parquet(workshop / "runs" / run_id / "records.parquet")
    [name] = records["name"].drop_nulls().head(1)
    with open_manifest(workshop / "manifests" / "cacd.duckdb", write=True) as con:
        [(subject, n)] = con.execute(
            "SELECT subject_id, count(*) FROM record WHERE age BETWEEN 0 AND 99 GROUP BY ALL ORDER BY ALL LIMIT 1"
        ).fetchall()
        con.execute("UPDATE record SET name = ? WHERE subject_id = ?", [name.upper(), subject])
    [found] = json.loads(agebench("evaluate", run_id, "--on", "cacd", "--json", cwd=workshop).out)["results"]
    assert found["shared_subjects"] >= 1
    assert found["shared_subjects"] + found["overlap"] + found["near_copies"] >= n - found["unreadable"]
    trained = json.loads(agebench("train", "median", "--without-leaks", "cacd", "--json", cwd=workshop).out)
    [found] = [one for one in trained["evaluated"] if one["dataset"] == "cacd"]
    assert found["shared_subjects"] + found["overlap"] + found["near_copies"] == 0
    assert trained["train_records"] < len(records)


def test_a_run_of_records_without_names_and_hashes_is_measured_and_what_was_not_looked_for_is_said(
    workshop: Path, agebench: Run
) -> None:
    frame = pl.DataFrame({
        "part": "", "path": [f"{n}.jpg" for n in range(8)], "sha256": [f"{n:064x}" for n in range(8)],
        "age": list(range(8)), "group_id": list(range(8)), "photograph_id": list(range(8)), "split": "train",
        "copies": 1,
    })  # fmt: skip
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
    recipe = resolve_recipe("neighborhood-quick", {"train.steps": 1, "train.batch": 4, "train.warmup": 0})
    run = train_run(recipe, TrainingData.from_records(noise, range(8), frame), runs_dir=workshop / "runs")
    done = agebench("evaluate", run.id, "--on", "fg-net", cwd=workshop)
    assert done.status == 0, done.err
    assert "near copies (no picture hashes)" in " ".join(done.out.split())
    [found] = json.loads(agebench("evaluate", run.id, "--on", "fg-net", "--json", cwd=workshop).out)["results"]
    assert found["unsearched"] == ["near copy", "same subject"]
    assert (found["overlap"], found["near_copies"], found["shared_subjects"]) == (0, 0, 0)
    tables = json.loads(agebench("report", "--json", cwd=workshop).out)["tables"]
    [row] = [row for row in tables[0]["rows"] if row["run"] == run.id]
    for told in ("near copies", "shared people", "the training set with an unknown detector"):
        assert told in row["cells"]["FG-NET"]["note"]
    explained = json.loads(agebench("report", "--explain", "FG-NET", "--json", cwd=workshop).out)["explained"]
    assert any(one["facts"]["leaks"].startswith("none found; not checked for near copies") for one in explained)


def test_export_without_a_training_set_takes_the_only_manifest(workshop: Path, agebench: Run) -> None:
    for name in ("imdb-wiki", "morph", "cacd"):
        (workshop / "manifests" / f"{name}.duckdb").unlink()
    done = agebench("export", "--rows", "verdicts", "--out", "v.csv", cwd=workshop)
    assert done.status == 0, done.err
    (workshop / "manifests" / "fg-net.duckdb").unlink()
    done = agebench("export", "--rows", "verdicts", cwd=workshop)
    assert (done.status, "to train on" in done.err) == (3, False)


def test_the_published_numbers_are_shown_and_copied(tmp_path: Path, agebench: Run) -> None:
    assert "2.78" in agebench("show", "published", cwd=tmp_path).out
    assert agebench("cp", "published", cwd=tmp_path).status == 0
    assert (tmp_path / "models" / "published.toml").is_file()


def test_training_after_an_unfinished_curation_names_the_command(workshop: Path, agebench: Run) -> None:
    with open_manifest(workshop / "manifests" / "imdb-wiki.duckdb", write=True) as con:
        forget(con, ["verdicts"])
    done = agebench("train", "neighborhood-quick", cwd=workshop)
    assert (done.status, "not finished" in done.err, "agebench curate imdb-wiki" in done.err) == (1, True, True)


def test_report_explains_where_a_number_comes_from(workshop: Path, run_id: str, agebench: Callable) -> None:
    done = agebench("report", "--explain", "fg-net", "--json", cwd=workshop)
    assert done.status == 0, done.err
    (found,) = json.loads(done.out)["explained"]
    assert (found["tables"], found["column"], found["source"]) == ([2, 3], "FG-NET", "measured")
    run = workshop / "runs" / run_id
    predictions = (run / "predictions" / "fg-net.parquet").read_bytes()
    assert hashlib.sha256(predictions).hexdigest() in found["facts"]["predictions' file"]
    assert hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest() in found["facts"]["weights"]
    cited = agebench("report", "--explain", "DEX:MORPH", cwd=workshop)
    assert "Rothe" in cited.out
    assert agebench("report", "--explain", "nothing", cwd=workshop).status == 2


def test_a_checkout_s_own_recipes_are_not_called_yours(workshop: Path, agebench: Run) -> None:
    shutil.copytree(resources.shipped_folder("pipelines"), workshop / "pipelines", dirs_exist_ok=True)
    assert "not the shipped one" not in agebench("curate", "imdb-wiki", cwd=workshop).out
    recipe = workshop / "pipelines" / "imdb-wiki-paper.toml"
    recipe.write_text(recipe.read_text() + "# edited\n")
    assert "not the shipped" in agebench("curate", "imdb-wiki", cwd=workshop).out


def test_the_page_of_a_report_holds_trainings_curations_and_faces_only_if_asked(
    workshop: Path, agebench: Callable
) -> None:
    done = agebench("report", "--html", "page.html", cwd=workshop)
    assert done.status == 0, done.err
    page = (workshop / "page.html").read_text(encoding="utf-8")
    for part in ("Training curves", "Training data: IMDB-WIKI", "records that each check took", "under the plan"):
        assert part in page
    assert "data:image" not in page
    asked = json.loads(agebench("report", "--html", "page.html", "--faces", "--json", cwd=workshop).out)
    assert asked["written"] == ["page.html"]
    page = (workshop / "page.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") >= 6
    assert "Faces are personal data" in page
