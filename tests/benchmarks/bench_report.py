"""Reports over many runs, as whole processes: the tables, their verification, and all statistics of one test set.

Ratios are to `agebench --help` in the same round, the least of five rounds. Bound (tables over 50 runs): 2 seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import polars as pl

from agebench.bench.evaluations import Evaluation, measures
from agebench.estimators.keeping import begin, commit
from agebench.files import write_whole
from agebench.recipes import EstimatorRecipe

PICTURES, PEOPLE = 1002, 82


def made_run(folder: Path, number: int) -> None:
    """An estimator with made predictions of as many pictures as FG-NET has."""
    rng = np.random.default_rng(number)
    facts = {"kind": "predictions", "file": "made.csv"}
    shown = {"name": f"made-{number}", "title": "made", "label": f"Made {number}", "estimator": facts}
    begin(folder, EstimatorRecipe.model_validate(shown), facts | {"files": {}, "called": f"made-{number}"})
    ages = np.random.default_rng(0).integers(0, 70, PICTURES)
    frame = pl.DataFrame(
        {
            "part": "fg-net",
            "path": [f"{i}.jpg" for i in range(PICTURES)],
            "subject_id": [str(i % PEOPLE) for i in range(PICTURES)],
            "age": ages,
            "predicted": ages + rng.normal(0, 5, PICTURES),
            "face_no": 0,
            "leak": pl.Series([None] * PICTURES, dtype=pl.String),
        }
    )
    frame.write_parquet(buffer := io.BytesIO())
    write_whole(folder / "predictions" / "fg-net.parquet", buffer.getvalue())
    evaluation = Evaluation(
        name="fg-net", dataset="fg-net", manifest="manifests/fg-net.duckdb", **measures(frame), unreadable=0,
        matches_card=True, pictures_match=True, records=PICTURES, expected=PICTURES, detector="made",
        training_detector="made", predictions_sha256=hashlib.sha256(buffer.getvalue()).hexdigest(),
    )  # fmt: skip
    write_whole(folder / "predictions" / "fg-net.json", json.dumps(asdict(evaluation)).encode())
    commit(folder)


def seconds(*arguments: str, cwd: Path) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "agebench", *arguments], cwd=cwd, check=True, capture_output=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    asked = parser.parse_args()
    commands = {
        "--help": ("--help",),
        "report": ("report",),
        "report --verify": ("report", "--verify"),
        "report --on fg-net": ("report", "--on", "fg-net", "--json"),
    }
    with tempfile.TemporaryDirectory() as work:
        for number in range(asked.runs):
            made_run(Path(work) / "runs" / f"made-{number}", number)
        took: dict[str, float] = dict.fromkeys(commands, float("inf"))
        rounds = {name: 1 if "--on" in name else 5 for name in commands}
        for number in range(max(rounds.values())):
            for name, arguments in commands.items():
                if number < rounds[name]:
                    took[name] = min(took[name], seconds(*arguments, cwd=Path(work)))
    for name, least in took.items():
        print(f"{name:20} {least:6.2f} s  {least / took['--help']:6.1f} × --help, over {asked.runs} estimators")


if __name__ == "__main__":
    main()
