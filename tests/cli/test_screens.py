"""What people see of the commands: help, lists, refusals, progress."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agebench.cli import train as train_command
from agebench.workflows import curate as curate_workflow

Run = Callable
MAIN = "import sys; from agebench.cli import main; sys.argv = ['agebench', *sys.argv[1:]]; main()"


def test_the_funnels_last_line_says_that_no_estimator_looked_for_wrong_labels(workshop: Path, agebench: Run) -> None:
    lines = agebench("curate", "imdb-wiki", "--estimator", "none", cwd=workshop).out.splitlines()
    kept = next(n for n, line in enumerate(lines) if re.match(r"kept\s+keep", line))
    assert lines[kept + 1].startswith("No age estimator")
    assert "agebench[age]" in " ".join(lines[kept + 1 :])
    assert "No age estimator" not in agebench("curate", "fg-net", "--estimator", "none", cwd=workshop).out


def test_curate_speaks_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    code = f"import sys; sys.modules['polars'] = None; {MAIN}"
    done = subprocess.run(
        [sys.executable, "-c", code, "curate", "fg-net"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode != 0
    assert done.stderr.startswith("reading fg-net")


def test_curate_says_at_once_how_many_files_are_missing(workshop: Path, agebench: Run) -> None:
    (workshop / "labels.csv").write_text("path,age\n" + "".join(f"{n}.jpg,{n % 90}\n" for n in range(500)))
    assert agebench("add", "lost", "--table", "labels.csv", "--root", "data", cwd=workshop).status == 0
    told = agebench("curate", "lost", cwd=workshop).err.splitlines()
    assert told[:3] == [
        "reading lost …", "looking for 500 pictures …", "500 of 500 files are missing or cannot be read …",
    ]  # fmt: skip


def test_the_forecast_times_real_pictures_in_as_many_workers_as_will_observe(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def run_batches(work: object, batches: list[list[object]], *, workers: int, **_: object) -> list[float]:
        asked[workers] = [len(batch) for batch in batches]
        return [0.5] * len(batches)

    monkeypatch.setattr(curate_workflow, "run_batches", run_batches)
    done = agebench("curate", "utkface", "--dry-run", "--json", "--workers", 3, cwd=workshop)
    assert asked == {3: [4, 4, 4]}
    assert json.loads(done.out)["seconds"] == pytest.approx(12 * 0.5 / 3)


def test_a_wrong_change_is_the_command_lines_fault(workshop: Path, agebench: Run) -> None:
    for change in ("nope=1", "train.steps=none", "network.blocks=3", "loss.sigmma=2"):
        done = agebench("train", "neighborhood-quick", "--set", change, cwd=workshop)
        assert done.status == 2
        assert "--set" in done.err
        assert change.partition("=")[0] in done.err
        assert ".toml" not in done.err


def test_a_broken_recipe_is_blamed_before_a_change_of_it(workshop: Path, agebench: Run) -> None:
    (workshop / "models").mkdir()
    (workshop / "models" / "mine.toml").write_text('name = "mine"\n')
    done = agebench("train", "mine", "--set", "train.steps=1", cwd=workshop)
    assert done.status == 2
    assert "models/mine.toml has" in done.err


def test_report_refuses_a_file_of_an_unknown_kind(workshop: Path, agebench: Run) -> None:
    done = agebench("report", "--out", "r.pdf", cwd=workshop)
    assert (done.status, ".pdf" in done.err, (workshop / "r.pdf").exists()) == (2, True, False)
    assert agebench("report", "--out", "r.pdf", "--format", "html", cwd=workshop).status == 0


@pytest.mark.parametrize(
    "command",
    [
        ["curate", "utkface"], ["balance", "--per-class", "3"], ["status"], ["ls"], ["doctor"], ["report"],
        ["explain", "fg-net", "PERSON", "--manifest", "fg-net"], ["evaluate", "RUN"], ["predict", "photo.jpg"],
        ["review", "list"], ["train", "neighborhood-quick", "--set", "train.steps=2", "--set", "train.warmup=1"],
    ],
)  # fmt: skip
def test_with_json_people_are_told_nothing_but_warnings(
    workshop: Path, agebench: Run, run_id: str, command: list[str]
) -> None:
    person = next((workshop / "data" / "fg-net" / "images").iterdir()).name
    words = [{"RUN": run_id, "PERSON": person}.get(word, word) for word in command]
    done = agebench(*words, "--json", cwd=workshop)
    assert all(line.startswith("note:") for line in done.err.splitlines()), done.err


def test_h_is_help_everywhere(agebench: Run) -> None:
    for command in ((), ("curate",), ("review",), ("review", "decide")):
        done = agebench(*command, "-h")
        assert (done.status, "Usage:" in done.out) == (0, True)


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    where = os.environ | {"_AGEBENCH_COMPLETE": "complete_bash", "COMP_WORDS": "agebench cur", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", MAIN], capture_output=True, text=True, cwd=tmp_path, env=where, check=True
    )
    assert done.stdout.split() == ["curate"]


def test_the_root_help_says_whole_sentences_at_eighty_columns(agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    listed = agebench("--help").out.partition("Commands:")[2].strip().splitlines()
    assert len(listed) == 19
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_ls_is_one_line_a_name_and_ls_kind_is_more(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    short = agebench("ls", cwd=workshop).out.splitlines()
    assert max(map(len, short)) <= 80
    assert any(line.startswith("neighborhood-34-published ") for line in short)
    assert not any("second_face_ratio" in line for line in short)
    assert len(short) < 80
    assert "second_face_ratio" in agebench("ls", "evidence", cwd=workshop).out


def test_explain_leaves_out_what_did_not_fire(workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "240")  # no name is folded
    found = json.loads(agebench("review", "list", "--json", cwd=workshop).out)["records"][0]
    short = agebench("explain", found["path"], cwd=workshop).out
    whole = agebench("explain", found["path"], "--all", cwd=workshop).out
    assert found["reasons"][0] in short
    assert "did not fire: `--all`" in " ".join(short.split())
    assert "impossible_birth_date" in whole
    assert "impossible_birth_date" not in short


def test_explain_asks_for_the_part_only_where_several_have_the_path(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = json.loads(agebench("review", "list", "--json", cwd=workshop).out)["records"][0]
    alone = json.loads(agebench("explain", found["path"], "--json", cwd=workshop).out)
    assert (alone["part"], alone["path"]) == (found["part"], found["path"])
    unknown = agebench("explain", "nowhere.jpg", cwd=workshop)
    assert (unknown.status, "no record nowhere.jpg" in unknown.err) == (2, True)
    monkeypatch.setattr("agebench.workflows.explain.parts_with", lambda con, path: ["imdb", "wiki"])
    several = agebench("explain", found["path"], cwd=workshop)
    assert (several.status, "imdb and wiki" in several.err) == (2, True)
    assert agebench("explain", "a", "b", "c", cwd=workshop).status == 2


def test_a_dry_run_of_a_training_tells_its_cost_and_writes_nothing(workshop: Path, agebench: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in workshop.rglob("*")}
    words = ("train", "neighborhood-quick", "--set", "train.steps=7", "--set", "train.warmup=1", "--dry-run")
    found = json.loads(agebench(*words, "--json", cwd=workshop).out)
    assert found["recipe"]["train"]["steps"] == 7
    assert (found["parameters"], found["plan"]) == (1_577_204, "per-class-2")
    assert found["bytes"] > 4 * 4 * found["parameters"]  # weights, gradients and Adam's two moments, of 4 bytes each
    assert found["seconds"] > 0
    assert found["draws"] >= found["records"] > 0
    assert len(found["test_sets"]) == 3
    assert "train.steps" in agebench(*words, cwd=workshop).out
    assert {p: p.stat().st_mtime_ns for p in workshop.rglob("*")} == before


def test_a_dry_run_for_several_devices_tells_what_each_of_them_holds(workshop: Path, agebench: Run) -> None:
    words = ("train", "neighborhood-quick", "--set", "train.steps=7", "--set", "train.warmup=1", "--dry-run")
    shared = json.loads(agebench(*words, "--devices", 4, "--json", cwd=workshop).out)
    assert (shared["devices"], shared["share"]) == (4, 16)
    told = " ".join(agebench(*words, "--devices", 4, cwd=workshop).out.split())
    assert "per device (4 devices, up to 16 pictures of a batch each)" in told
    refused = agebench("train", "neighborhood-quick", "--devices", 40, cwd=workshop)
    assert refused.status == 2
    assert "A batch of 64 is too small for 40 devices" in " ".join(refused.err.split())


def test_training_shows_a_smoothed_loss_the_validation_error_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with train_command.training_progress() as show:
        for step in range(1, 41):
            show(step, 100, 10.0 if step % 2 else 0.0, 7.25 if step > 20 else None)
            now += 1
    first, second = capsys.readouterr().err.splitlines()
    assert "validation" not in first
    assert "validation MAE 7.25 years" in second
    assert "left" in second
    loss = float(re.findall(r"loss ([\d.]+)", second)[0])
    assert 3 < loss < 8  # neither of the two that it jumps between


def test_predict_takes_a_folder(workshop: Path, agebench: Run, run_id: str) -> None:
    folder = workshop / "mine"
    (folder / "deep").mkdir(parents=True)
    (folder / "notes.txt").write_text("no picture")
    empty = agebench("predict", "mine", cwd=workshop)
    assert (empty.status, "holds no picture" in empty.err) == (2, True)
    shutil.copy(workshop / "photo.jpg", folder / "a.jpg")
    shutil.copy(workshop / "photo.jpg", folder / "deep" / "b.jpg")
    found = json.loads(agebench("predict", "mine", "photo.jpg", "--json", cwd=workshop).out)
    assert [face["picture"] for face in found["faces"]] == ["mine/a.jpg", "mine/deep/b.jpg", "photo.jpg"]
    assert len({round(face["age"], 2) for face in found["faces"]}) == 1


@pytest.mark.parametrize(
    "command",
    [
        ["curate", "imdb-wiki"], ["status"], ["ls", "models"], ["ls", "evidence"], ["doctor"], ["evaluate", "RUN"],
        ["predict", "photo.jpg", "none.jpg"], ["explain", "fg-net", "PERSON", "--manifest", "fg-net", "--all"],
        ["review", "list"],
    ],
)  # fmt: skip
def test_every_column_has_a_name(
    workshop: Path, agebench: Run, run_id: str, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rich.table import Table

    names: list[str] = []
    shown = Table.__rich_console__

    def noted(table: Table, *arguments: object) -> object:
        names.extend(str(column.header) for column in table.columns)
        return shown(table, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "__rich_console__", noted)
    person = next((workshop / "data" / "fg-net" / "images").iterdir()).name
    words = [{"RUN": run_id, "PERSON": person}.get(word, word) for word in command]
    assert agebench(*words, cwd=workshop).status in (0, 3)
    assert names
    assert "" not in names
