"""Whatever of agebench's own files is cut off or overwritten: a sentence that names it, or the file is made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut off": lambda content: content[: len(content) // 2],
    "something else": lambda content: b"\xff\xfe\x00 no such file \x93" * 20,
    "other JSON": lambda content: b'{"shards": {"a": 1}, "step": [], "url": 3}',
}
READERS = (
    ("status",), ("report", "--verify"), ("report", "--explain", "FG-NET"), ("evaluate", "RUN", "--on", "fg-net"),
    ("predict", "photo.jpg"),
)  # fmt: skip
OF_A_RUN = (
    "weights.safetensors", "card.json", "metrics.jsonl", "records.parquet", "COMMITTED", "predictions/fg-net.json",
    "predictions/fg-net.parquet",
)  # fmt: skip


def damaged(file: Path, damage: str) -> None:
    file.write_bytes(DAMAGES[damage](file.read_bytes()))


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_damaged_file_of_a_run_is_a_sentence_that_names_it(
    workshop: Path, agebench: Run, run_id: str, name: str
) -> None:
    run, whole = workshop / "runs" / run_id, workshop / "whole"
    shutil.copytree(run, whole)
    for damage in DAMAGES:
        told = ""
        for words in READERS:
            shutil.rmtree(run)
            shutil.copytree(whole, run)
            damaged(run / name, damage)
            done = agebench(*(run_id if word == "RUN" else word for word in words), "--json", cwd=workshop)
            document = json.loads(done.out)
            error = document.get("error", {"kind": "", "message": ""})
            assert error["kind"] not in ("Bug", "StorageError"), (damage, words, error)
            assert done.status in (0, 1, 2, 3), (damage, words)
            told += error["message"] + " ".join(document.get("problems", []))
        assert Path(name).name in told or f"predictions on {Path(name).stem}" in told, (damage, told)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_training_goes_on_or_says_which_file_is_damaged(
    workshop: Path, agebench: Run, run_id: str, damage: str
) -> None:
    run, whole = workshop / "runs" / run_id, workshop / "whole"
    (run / "COMMITTED").unlink()
    shutil.copytree(run, whole)
    words = ("train", "neighborhood-quick", "--resume", "--set", "train.steps=5", "--set", "train.batch=8", "--set",
             "train.warmup=1", "--json")  # fmt: skip
    for name, status in (("metrics.jsonl", 0), ("records.parquet", 0), ("card.json", 3), ("checkpoint/state.pt", 1)):
        shutil.rmtree(run)
        shutil.copytree(whole, run)
        (run / "checkpoint").mkdir()
        if status == 1:
            (run / name).write_bytes(DAMAGES[damage](b"PK\x03\x04" + bytes(5000)))
        else:
            damaged(run / name, damage)
        done = agebench(*words, cwd=workshop)
        assert done.status == status, (name, done.err)
        assert status != 1 or "state.pt cannot be read" in done.err


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("pattern", ["index.json", "*.arrow"])
def test_damaged_crops_are_made_again(workshop: Path, agebench: Run, run_id: str, damage: str, pattern: str) -> None:
    before = json.loads(agebench("evaluate", run_id, "--on", "fg-net", "--json", cwd=workshop).out)
    for file in (workshop / "crops" / "fg-net").rglob(pattern):
        damaged(file, damage)
    done = agebench("evaluate", run_id, "--on", "fg-net", "--json", cwd=workshop)
    assert done.status == 0, done.err
    assert [one["mae"] for one in json.loads(done.out)["results"]] == [one["mae"] for one in before["results"]]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_part_of_an_observation_is_observed_again(workshop: Path, agebench: Run, damage: str) -> None:
    parts = workshop / "manifests" / "fg-net.duckdb.parts"
    parts.mkdir()
    (parts / "00000000000000000001-1-00000.arrows").write_bytes(DAMAGES[damage](bytes(range(256)) * 8))
    (parts / "process").write_bytes(DAMAGES[damage](b"1 2"))
    for words in (("status",), ("curate", "fg-net")):
        done = agebench(*words, cwd=workshop)
        assert done.status == 0, done.err
