"""Answers: appending one beside a raw append and fsync, folding 100,000 in, and the queue of 500,000 records.

Run by `make bench`. Both kinds of append take turns in one run on one disk.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from agebench.review.decisions import Decision, append, new_decision, parse
from agebench.review.queue import Answers, Queue, in_order
from agebench.review.resolution import resolve

RECORDS = 500_000
LINES = 100_000
TIMES = 500


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        appending(Path(folder))
    lines = [answer(i) for i in range(LINES)]
    data = b"".join(line.line() for line in lines)
    read, decisions = timed(lambda: parse(data, "made"))
    records = pl.DataFrame(
        {"record_id": range(RECORDS), "part": "p", "path": [f"{i}.jpg" for i in range(RECORDS)], "age": 30,
         "sha256": None, "looked": True}, schema_overrides={"sha256": pl.Utf8},
    )  # fmt: skip
    resolved, rows = timed(lambda: resolve(decisions, records))
    print(f"{LINES:,} lines: read {read:.2f} s, resolved to {len(rows):,} records {resolved:.2f} s")
    rng = np.random.default_rng(0)
    waiting = records.with_columns(
        reasons=pl.lit("odd;high"), checks=2, subject_id=pl.lit(None, pl.Utf8), near_group=pl.lit(None, pl.Int32),
        error=pl.lit(None, pl.Utf8),
        group_id=pl.Series(rng.integers(0, 30_000, RECORDS)), label_suspicion=pl.Series(rng.random(RECORDS)),
        suggested_age=pl.lit(None, pl.Float64), in_class=5, largest_class=10, per_class=pl.lit(None, pl.Int32),
        width=400, height=400, faces=1,
    )  # fmt: skip
    ordered, queue = timed(lambda: Queue(Path("m"), None, (), in_order(waiting)))
    answers = Answers(decisions)
    left, rest = timed(lambda: queue.left(answers.answered(queue), ages=(20, 40)))
    print(f"{RECORDS:,} records in order {ordered:.2f} s; the {len(rest):,} that are left of them {left:.2f} s")


def appending(folder: Path) -> None:
    ours, raw = [], []
    line = answer(0).line()
    for number in range(TIMES):
        ours.append(timed(partial(append, folder / "a.jsonl", answer(number)))[0])
        raw.append(timed(lambda: append_raw(folder / "b.jsonl", line))[0])
    p95 = [float(np.quantile(times, 0.95)) * 1000 for times in (ours, raw)]
    print(f"an answer on disk: p95 {p95[0]:.2f} ms, a raw append and fsync {p95[1]:.2f} ms (bound: 5 ms more)")


def append_raw(path: Path, line: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line)
    os.fsync(handle)
    os.close(handle)


def answer(number: int) -> Decision:
    return new_decision(by="anna", kind="decision", part="p", path=f"{number}.jpg", answer="keep")


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    main()
