"""Batches over worker processes: same results for any number, one item lost for a worker that dies, no orphans."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from agebench.errors import WorkersFailed
from agebench.pool import THREAD_LIMITS, Crashed, run_batches

WORK = """
import os, signal, time
import cv2

offset = 0

def set_up(value):
    global offset
    offset = value

def add(batch):
    return [n + offset for n in batch]

def deadly(batch):
    for n in batch:
        if n % 7 == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return list(batch)

def limits(batch):
    return [(cv2.getNumThreads(), [os.environ.get(name) for name in batch], signal.getsignal(signal.SIGINT).name)]

def pages(batch):
    import resource
    import numpy as np
    layers = [np.ones(n, np.uint8) for n in batch]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        del layers
        layers = [np.ones(n, np.uint8) for n in batch]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def process(batch):
    time.sleep(0.3)
    return os.getpid()

def broken(batch):
    raise ValueError("no number")

def no_start():
    os._exit(3)

def linger_after_one(batch):
    return batch[0] if batch == ["first"] else linger(batch)

def linger(batch):
    with open(batch[0], "a") as handle:
        handle.write(f"{os.getpid()}\\n")
    time.sleep(3600)  # longer than any test waits
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that worker processes can import."""
    (tmp_path / "pool_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import pool_work  # type: ignore[import-not-found]

    yield pool_work
    del sys.modules["pool_work"]


def batches(n: int, size: int = 4) -> Iterator[list[int]]:
    return (list(range(i, min(n, i + size))) for i in range(0, n, size))


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_every_result_once(work: ModuleType, workers: int) -> None:
    found = list(run_batches(work.add, batches(50), workers=workers, setup=work.set_up, setup_args=(100,)))
    assert sorted(n for batch in found for n in batch) == list(range(100, 150))


def test_no_thread_of_a_pool_outlives_it(work: ModuleType) -> None:
    """One that did was seen to close a pipe that Python's exit then wrote to, with a traceback."""
    before = threading.active_count()
    for stop_after in (1, 50):
        found = run_batches(work.add, batches(50), workers=2)
        assert len([batch for batch, _ in zip(found, range(stop_after), strict=False)]) == min(stop_after, 13)
        found.close()
        assert threading.active_count() == before


def test_no_batches_give_no_results(work: ModuleType) -> None:
    assert list(run_batches(work.add, [], workers=2)) == []


def test_a_worker_that_dies_costs_its_item_alone(work: ModuleType) -> None:
    results = list(run_batches(work.deadly, batches(24), workers=2))
    crashed = sorted(r.item for r in results if isinstance(r, Crashed))
    done = sorted(n for r in results if not isinstance(r, Crashed) for n in r)
    assert crashed == [3, 10, 17]
    assert done == [n for n in range(24) if n % 7 != 3]


def test_workers_have_one_thread_and_leave_ctrl_c_to_the_parent(work: ModuleType) -> None:
    [[(opencv, limits, interrupt)]] = run_batches(work.limits, [list(THREAD_LIMITS)], workers=1)
    assert opencv == 1
    assert limits == ["1"] * len(THREAD_LIMITS)
    assert interrupt == "SIG_IGN"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to keep freed memory")
def test_workers_keep_the_memory_that_a_picture_leaves_for_the_next_one(work: ModuleType) -> None:
    [fetched] = run_batches(work.pages, [[2**20] * 20], workers=1)
    assert fetched < 10 * 20 * 256 / 10  # pages of 4 KiB


def test_memory_does_not_grow_with_the_number_of_batches(work: ModuleType) -> None:
    taken = 0

    def counted() -> Iterator[list[int]]:
        nonlocal taken
        for batch in batches(400):
            taken += 1
            yield batch

    results = run_batches(work.add, counted(), workers=1)
    next(results)
    assert taken <= 8
    results.close()


def test_an_error_of_the_work_itself_is_raised(work: ModuleType) -> None:
    with pytest.raises(ValueError, match="no number"):
        list(run_batches(work.broken, batches(4), workers=1))


def test_a_run_that_is_stopped_does_not_wait_for_its_workers(work: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "pids"
    results = run_batches(work.linger_after_one, [["first"], [str(log)], [str(log)]], workers=1)
    assert next(results) == "first"
    wait_for(lambda: log.is_file() and log.read_text().endswith("\n"), 30)
    results.close()
    [pid] = {int(line) for line in log.read_text().split()}
    wait_for(lambda: not alive(pid), 60)


def test_ctrl_c_while_workers_start_prints_no_traceback_of_theirs(work: ModuleType, tmp_path: Path) -> None:
    """A terminal sends it to the whole group of processes."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import sys, threading, pool_work
        from agebench.pool import run_batches
        if __name__ == "__main__":
            print("begun", flush=True)
            try:
                list(run_batches(pool_work.process, [[1]] * 200, workers=2))
            except KeyboardInterrupt:
                sys.exit(130)
        """)
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for pause in (0.02, 0.1, 0.3):
        parent = subprocess.Popen(
            [sys.executable, script], env=environment, start_new_session=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert parent.stdout is not None
        parent.stdout.readline()
        time.sleep(pause)
        os.killpg(parent.pid, signal.SIGINT)
        _, err = parent.communicate(timeout=30)
        assert parent.returncode == 130
        assert "Traceback" not in err


def test_ctrl_c_that_another_thread_takes_ends_no_start_of_a_worker(tmp_path: Path) -> None:
    """Python raises it in the main thread whoever takes it: a worker was started then, and never told its work."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing.util, os, signal, sys, threading, time
        from agebench.pool import run_batches

        start = multiprocessing.util.spawnv_passfds
        started = 0

        def start_and_interrupt(path, args, files):
            global started
            pid = start(path, args, files)
            if not any(b"resource_tracker" in os.fsencode(arg) for arg in args):
                started += 1
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.5)
            return pid

        if __name__ == "__main__":
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            multiprocessing.util.spawnv_passfds = start_and_interrupt
            try:
                list(run_batches(len, [[1]] * 20, workers=2))
            except KeyboardInterrupt:
                print(started, "started")
                sys.exit(130)
        """)
    )
    parent = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert (parent.returncode, parent.stdout, parent.stderr) == (130, "1 started\n", "")


def test_workers_that_never_start_blame_no_item(work: ModuleType) -> None:
    with pytest.raises(WorkersFailed, match="end while they start"):
        list(run_batches(work.add, batches(8), workers=1, setup=work.no_start))


def test_a_parent_killed_with_signal_9_leaves_no_worker_behind(work: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "pids"
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import pool_work
        from agebench.pool import run_batches
        if __name__ == "__main__":
            list(run_batches(pool_work.linger, [[{str(log)!r}], [{str(log)!r}]], workers=2))
        """)
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, script], env=environment)
    try:
        wait_for(lambda: log.is_file() and len(log.read_text().split()) == 2, 60)
        workers = [int(pid) for pid in log.read_text().split()]
        assert all(alive(pid) for pid in workers)
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers), 15)


def wait_for(what: object, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.is_file() and state.read_text().rpartition(")")[2].split()[0] == "Z")
