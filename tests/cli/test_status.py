"""status: what is here, what is under way, and a next command that follows the main job and does not fail."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agebench.training.run_lock import alone
from agebench.workflows.train import train

Run = Callable


@pytest.fixture
def look(workshop: Path, agebench: Run) -> Callable[[], dict[str, Any]]:
    def status() -> dict[str, Any]:
        done = agebench("status", "--json", cwd=workshop)
        assert done.status == 0, done.err
        return dict(json.loads(done.out))

    return status


def test_the_next_commands_follow_the_main_job(workshop: Path, look: Callable, run_id: str) -> None:
    manifests, runs = workshop / "manifests", workshop / "runs"
    done = workshop / "done"
    manifests.rename(done)
    runs.rename(workshop / "later")
    assert look()["next_command"] == "agebench curate imdb-wiki"
    manifests.mkdir()
    shutil.copy(done / "imdb-wiki.duckdb", manifests)
    assert look()["next_command"] == "agebench train"
    (workshop / "later").rename(runs)
    for name in ("cacd", "fg-net", "morph"):
        assert look()["next_command"] == f"agebench curate {name}"
        shutil.copy(done / f"{name}.duckdb", manifests)
    shutil.rmtree(workshop / "data" / "utkface")
    (runs / run_id / "predictions" / "morph.json").unlink()
    assert look()["next_command"] == f"agebench evaluate {run_id} --on morph"
    shutil.copy(done / "morph.duckdb", manifests / "morph.duckdb")


def test_what_status_proposes_up_to_the_report_works(workshop: Path, look: Callable, agebench: Run) -> None:
    shutil.rmtree(workshop / "data" / "utkface")
    (workshop / "manifests" / "morph.duckdb").unlink()
    shutil.rmtree(workshop / "data" / "cacd")
    (workshop / "manifests" / "cacd.duckdb").unlink()
    for run in (workshop / "runs").iterdir():
        (run / "predictions" / "morph.json").unlink()
    commands = []
    while not commands or not commands[-1].startswith("agebench report"):
        commands.append(look()["next_command"])
        assert agebench(*shlex.split(commands[-1])[1:], cwd=workshop).status == 0
        assert len(commands) < 6, commands
    assert [command.split()[1] for command in commands] == ["curate", "evaluate", "report"]


def test_a_training_under_way_is_shown_and_nothing_is_proposed_that_would_fail(
    workshop: Path, look: Callable, agebench: Run, run_id: str
) -> None:
    shutil.rmtree(workshop / "data" / "utkface")
    run = workshop / "runs" / run_id
    (run / "COMMITTED").unlink()
    (run / "metrics.jsonl").write_text(
        '{"step": 2, "loss": 9.0, "pictures_per_second": 4.0, "val_mae": 12.5}\n'
        '{"step": 3, "loss": 9.0, "pictures_per_second": 8.0}\n{"step": 4, "lo'
    )
    with alone(run):
        found = look()
        screen = agebench("status", cwd=workshop).out
    [shown] = found["runs"]
    assert shown["training"] == {
        "process": os.getpid(), "step": 3, "steps": 5, "seconds_left": (5 - 3) * 8 / 8.0, "val_mae": 12.5
    }  # fmt: skip
    assert found["next_command"] == "agebench status"
    assert f"process {os.getpid()} is at step 3 of 5" in screen
    assert look()["next_command"].split()[1:4] == ["train", "neighborhood-quick", "--resume"]
    assert look()["runs"][0]["training"] is None


def test_a_training_that_is_still_cropping_is_shown_and_not_proposed_again(
    workshop: Path, look: Callable, agebench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(workshop / "data" / "utkface")
    shutil.rmtree(workshop / "crops")
    shutil.rmtree(workshop / "runs")
    (workshop / "runs").mkdir()
    (workshop / "runs" / ".train-of-a-killed-process").write_text('{"process": "999999999 1"}')
    assert look()["next_command"] == "agebench train"
    seen: dict[str, list[dict[str, Any]]] = {"cropping": [], "measuring": []}
    monkeypatch.chdir(workshop)
    train(
        "neighborhood-quick", changes={"train.steps": 2, "train.batch": 8, "train.warmup": 1},
        on_crops=lambda *_: seen["cropping"].append(look()), on_predict=lambda *_: seen["measuring"].append(look()),
    )  # fmt: skip
    for stage, found in (("cropping", seen["cropping"][0]), ("measuring", seen["measuring"][0])):
        [training] = found["trainings"]
        assert (training["process"], training["stage"]) == (os.getpid(), stage)
        assert found["next_command"] == "agebench status"
    assert look()["trainings"] == []
    assert not [p for p in (workshop / "runs").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("log", ['{"step": 2, "lo}', "[1]", "\x00\x00", "{}", '{"step": "2"}'])
def test_half_a_line_of_a_training_log_does_not_break_status(
    workshop: Path, look: Callable, run_id: str, log: str
) -> None:
    run = workshop / "runs" / run_id
    (run / "COMMITTED").unlink()
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 9.0}\n' + log)
    with alone(run):
        [shown] = look()["runs"]
    assert shown["training"]["step"] == 1


def test_a_stopped_run_of_other_records_is_not_resumed(workshop: Path, look: Callable, run_id: str) -> None:
    run = workshop / "runs" / run_id
    (run / "COMMITTED").unlink()
    card = json.loads((run / "card.json").read_text())
    card["provenance"]["curated_fingerprint"] = "of other records"
    (run / "card.json").write_text(json.dumps(card))
    assert look()["next_command"] == "agebench train"


def test_a_recipe_that_is_called_like_a_plan_is_no_plan(workshop: Path, look: Callable, agebench: Run) -> None:
    assert agebench("cp", "imdb-wiki-paper", "plan-b", cwd=workshop).status == 0
    assert agebench("curate", "imdb-wiki", "--recipe", "plan-b", cwd=workshop).status == 0
    assert agebench("balance", "--per-class", 2, cwd=workshop).status == 0
    recipe = workshop / "pipelines" / "plan-b.toml"
    recipe.write_text(recipe.read_text().replace("title = ", 'title = "x" # ', 1))
    assert look()["next_command"].startswith("agebench curate imdb-wiki")


def test_an_old_plan_beside_a_new_one_is_left_alone(workshop: Path, look: Callable, agebench: Run) -> None:
    assert agebench("curate", "imdb-wiki", "--recipe", "imdb-wiki-none", cwd=workshop).status == 0
    words = shlex.split(look()["next_command"])
    assert words[1] == "balance"
    assert agebench("balance", "--per-class", 3, cwd=workshop).status == 0
    assert shlex.split(look()["next_command"])[1] != "balance"


def test_one_count_says_how_many_records_wait(workshop: Path, look: Callable, agebench: Run) -> None:
    listed = json.loads(agebench("review", "list", "--json", cwd=workshop).out)
    first = listed["records"][0]
    assert agebench("review", "decide", first["part"], first["path"], "--reject", "--by", "a", cwd=workshop).status == 0
    left = json.loads(agebench("review", "list", "--json", cwd=workshop).out)["left"]
    [ours] = [m for m in look()["manifests"] if m["dataset"] == "imdb-wiki"]
    assert ours["review"] == left == listed["left"] - 1


def test_screens_fit_eighty_columns(
    workshop: Path, agebench: Run, monkeypatch: pytest.MonkeyPatch, run_id: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    balance = agebench("balance", "--per-class", 500, cwd=workshop).out.splitlines()
    status = agebench("status", cwd=workshop).out.splitlines()
    assert max(map(len, balance + status)) <= 80
    bars = balance[: next(n for n, line in enumerate(balance) if line.startswith("Plan"))]
    assert all("-" in line[:5] or "ages" in line[:5] for line in bars)  # no bar is broken into two lines
    for name in ("cacd", "fg-net", "imdb-wiki", "morph", run_id):
        assert any(line.startswith(f"{name} ") for line in status)


def test_a_long_next_command_is_one_line_to_copy(
    workshop: Path, agebench: Run, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workshop / "runs" / run_id / "COMMITTED").unlink()
    found = json.loads(agebench("status", "--json", cwd=workshop).out)
    assert len(found["next_command"]) > 40
    monkeypatch.setenv("COLUMNS", "40")
    shown = agebench("status", cwd=workshop).out
    assert f"Next: {found['next_command']}" in shown.splitlines()


def test_an_estimator_that_was_not_trained_here_is_listed(workshop: Path, agebench: Callable[..., Any]) -> None:
    (workshop / "thirties.py").write_text("def thirty(faces):\n    return [30.0] * len(faces)\n")
    done = agebench("evaluate", "thirties:thirty", "--on", "fg-net", cwd=workshop)
    assert done.status == 0, done.err
    (found,) = json.loads(agebench("status", "--json", cwd=workshop).out)["estimators"]
    assert found["complete"]
    assert found["evaluated"] == ["fg-net"]
    (line,) = [line for line in agebench("status", cwd=workshop).out.splitlines() if "thirty" in line]
    assert line.split()[1:] == ["estimator", "fg-net"]
    shutil.rmtree(next((workshop / "runs").glob("neighborhood-quick-*")))
    assert "No run" not in agebench("status", cwd=workshop).out
