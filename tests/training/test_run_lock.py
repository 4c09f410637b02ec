"""Two processes never both believe that they hold a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agebench.errors import RunError
from agebench.training import run_lock
from agebench.training.run_lock import alone, holder

HOLD = """
import sys
from pathlib import Path
from agebench.training.run_lock import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
TAKE_TURNS = """
import os, sys, time
from pathlib import Path
from agebench.errors import RunError
from agebench.training.run_lock import alone
folder, turns = Path(sys.argv[1]), 0
while turns < 40:
    try:
        with alone(folder):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # fails if another process is inside
            (folder / "inside").unlink()
            turns += 1
    except RunError:
        time.sleep(0.001)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_a_run_that_another_process_trains_is_refused_and_its_process_is_named(tmp_path: Path) -> None:
    other = start(HOLD, tmp_path)
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    assert holder(tmp_path) == other.pid
    with pytest.raises(RunError, match=f"Process {other.pid} is training the run"), alone(tmp_path):
        pass
    assert holder(tmp_path) == other.pid
    other.kill()
    other.communicate()
    assert holder(tmp_path) is None
    with alone(tmp_path):
        assert holder(tmp_path) == os.getpid()
    assert holder(tmp_path) is None


def test_a_process_that_takes_the_lock_as_soon_as_it_is_free_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = []

    class Watched(run_lock.FileLock):  # type: ignore[misc, valid-type]
        def release(self, force: bool = False) -> None:
            super().release(force)
            if not others:
                others.append(start(HOLD, tmp_path))
                assert others[0].stdout.readline() == "held\n"

    monkeypatch.setattr(run_lock, "FileLock", Watched)
    with alone(tmp_path):
        pass
    with pytest.raises(RunError, match="is training the run"), alone(tmp_path):
        pass
    others[0].communicate("")


def test_processes_that_compete_take_turns(tmp_path: Path) -> None:
    others = [start(TAKE_TURNS, tmp_path) for _ in range(3)]
    for other in others:
        other.communicate()
    assert [other.returncode for other in others] == [0, 0, 0]


def test_a_run_that_was_completed_in_the_meantime_is_not_trained_again(tmp_path: Path) -> None:
    with alone(tmp_path):
        (tmp_path / "COMMITTED").touch()
    assert not (tmp_path / "lock").exists()
    with pytest.raises(RunError, match="has completed the run"), alone(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["COMMITTED"]
