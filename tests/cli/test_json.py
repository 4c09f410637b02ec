"""--json: one document on standard output with the keys that scripts rely on, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EVALUATION = {"dataset", "manifest", "n", "undetected", "unreadable", "mae", "ci95", "cs5", "matches_card"}


def document(done: Any, status: int = 0) -> dict[str, Any]:
    assert done.status == status, done.err
    [line] = done.out.splitlines()
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def test_curate(workshop: Path, agebench: Callable) -> None:
    found = document(agebench("curate", "imdb-wiki", "--json", cwd=workshop))
    assert {"command", "dataset", "manifest", "recipe", "records", "observed", "reused", "unreadable", "kept", "review",
            "rejected", "reasons", "not_run", "seconds"} <= set(found)  # fmt: skip
    assert (found["command"], found["dataset"], found["recipe"]) == ("curate", "imdb-wiki", "imdb-wiki-paper")
    assert (found["records"], found["observed"], found["reused"]) == (60, 0, 60)
    assert found["kept"] + found["review"] + found["rejected"] == 60
    assert found["reasons"]["path_outside_release"] >= 1
    assert set(found["not_run"]) <= {"wrong_age", "label_disagreement"}  # where no age model is installed


def test_curate_dry_run_touches_nothing(workshop: Path, agebench: Callable) -> None:
    before = {p: p.stat().st_mtime_ns for p in workshop.rglob("*")}
    found = document(agebench("curate", "utkface", "--dry-run", "--json", cwd=workshop))
    assert (found["command"], found["dry_run"], found["records"]) == ("curate", True, 12)
    assert found["pending"] == 12
    assert found["seconds"] > 0
    assert {p: p.stat().st_mtime_ns for p in workshop.rglob("*")} == before


def test_balance(workshop: Path, agebench: Callable) -> None:
    found = document(agebench("balance", "--per-class", 3, "--json", cwd=workshop))
    assert {"command", "plan", "per_class", "classes", "total"} <= set(found)
    assert (found["command"], found["plan"], found["per_class"]) == ("balance", "per-class-3", 3)
    assert [row["age"] for row in found["classes"]] == list(range(100))
    assert {"age", "curated", "drawn", "copies"} <= set(found["classes"][0])
    assert found["total"] == sum(row["copies"] for row in found["classes"])
    assert all(row["copies"] in {0, 3} or row["age"] not in range(20, 61) for row in found["classes"])


def test_balance_dry_run_touches_nothing(workshop: Path, agebench: Callable) -> None:
    file = workshop / "manifests" / "imdb-wiki.duckdb"
    before = file.read_bytes()
    document(agebench("balance", "--per-class", 3, "--dry-run", "--json", cwd=workshop))
    assert file.read_bytes() == before


def test_train_and_what_it_evaluates(workshop: Path, agebench: Callable) -> None:
    short = ["--set", "train.steps=2", "--set", "train.batch=4", "--set", "train.warmup=1"]
    done = agebench("train", "neighborhood-quick", *short, "--json", cwd=workshop)
    found = document(done)
    assert {"command", "run", "path", "model", "steps", "train_records", "seconds", "evaluated"} <= set(found)
    assert (found["model"], found["steps"]) == ("neighborhood-quick", 2)
    assert (workshop / found["path"] / "COMMITTED").is_file()
    assert {e["dataset"] for e in found["evaluated"]} == {"fg-net", "morph", "cacd"}
    assert all(set(e) >= EVALUATION for e in found["evaluated"])
    assert all(e["n"] == 12 and e["matches_card"] is False for e in found["evaluated"])


def test_evaluate(workshop: Path, run_id: str, agebench: Callable) -> None:
    found = document(agebench("evaluate", run_id, "--on", "morph", "--json", cwd=workshop))
    assert {"command", "run", "results"} <= set(found)
    [result] = found["results"]
    assert set(result) >= EVALUATION
    assert result["ci95"][0] <= result["mae"] <= result["ci95"][1]


def test_report(workshop: Path, run_id: str, agebench: Callable) -> None:
    found = document(agebench("report", "--tables", "2,3", "--json", cwd=workshop))
    assert found["command"] == "report"
    assert [t["table"] for t in found["tables"]] == [2, 3]
    for table in found["tables"]:
        assert set(table) >= {"table", "title", "columns", "rows"}
        assert table["columns"] == ["MORPH", "FG-NET", "CACD"]
        assert {row["source"] for row in table["rows"]} == {"published", "measured"}
        for row in table["rows"]:
            assert set(row) >= {"method", "source", "run", "cells"}
            assert set(row["cells"]) == set(table["columns"])
            assert all(cell is None or set(cell) >= {"mae", "n", "ci95", "note"} for cell in row["cells"].values())
        assert run_id in {row["run"] for row in table["rows"]}


def test_predict(workshop: Path, run_id: str, agebench: Callable) -> None:
    found = document(agebench("predict", "photo.jpg", "none.jpg", "--json", cwd=workshop))
    assert (found["command"], found["run"]) == ("predict", run_id)
    face, fault = found["faces"][0], found["faces"][-1]
    assert 0 <= face["age"] <= 99
    assert fault["fault"] == "no such file"


@pytest.mark.parametrize("command", [["status"], ["ls"], ["show", "imdb-wiki-paper"], ["cp", "fg-net", "mine"]])
def test_the_small_commands(workshop: Path, agebench: Callable, command: list[str]) -> None:
    assert document(agebench(*command, "--json", cwd=workshop))["command"] == command[0]


FAILURES = {
    "no command": (["nonsense", "--json"], 2),
    "no dataset": (["curate", "--json"], 2),
    "unknown dataset": (["curate", "fgnet", "--json"], 2),
    "unknown option": (["curate", "fg-net", "--foo", "--json"], 2),
    "unknown recipe": (["curate", "fg-net", "--recipe", "x", "--json"], 2),
    "bad ages": (["balance", "--thin-ages", "young", "--json"], 2),
    "no release": (["curate", "fg-net", "--root", "nowhere", "--json"], 3),
    "no manifest": (["balance", "--manifest", "utkface", "--json"], 3),
    "no run": (["evaluate", "neighborhood-quick", "--runs", "empty", "--json"], 3),
    "unknown run": (["evaluate", "none", "--json"], 2),
}


@pytest.mark.parametrize(("arguments", "status"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failure_is_one_document_too(workshop: Path, agebench: Callable, arguments: list[str], status: int) -> None:
    done = agebench(*arguments, cwd=workshop)
    found = document(done, status)
    assert set(found) == {"command", "error"}
    assert found["command"] == arguments[0]
    assert set(found["error"]) == {"kind", "message", "next"}
    assert found["error"]["message"]
    assert "Traceback" not in done.err
    assert done.err.startswith("agebench: ")
