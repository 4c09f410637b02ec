"""Training on several devices: the same losses, progress, errors and interrupts as on one."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch

from agebench.errors import RunError, UsageError
from agebench.recipes import MethodRecipe, load_model_recipe
from agebench.training.devices import check_devices, check_shares, train_on
from agebench.training.runs import list_runs, train_run

from .conftest import data_of, tiny, without_normalisation

pytestmark = pytest.mark.skipif(
    torch.cuda.device_count() == 1 or torch.backends.mps.is_available(), reason="two devices are needed, or none"
)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_two_devices_have_the_losses_of_one_and_tell_their_progress(tmp_path):
    told = []
    recipe = without_normalisation(batch=9)  # which two cannot share evenly
    both = train_on(
        2, recipe, data_of(), runs_dir=tmp_path / "two", seed=3, on_progress=lambda *news: told.append(news)
    )
    alone = train_run(recipe, data_of(), runs_dir=tmp_path / "one", seed=3)
    assert losses(both.path) == pytest.approx(losses(alone.path), abs=1e-4)
    assert both.card["hardware"]["processes"] == 2
    assert [step for step, *_ in told] == list(range(1, recipe.train.steps + 1))
    assert multiprocessing.active_children() == []


def test_what_stops_every_process_is_told_as_of_one(tmp_path):
    with pytest.raises(RunError, match=r"loss of tiny became (nan|inf) at step \d+.*Lower train\.rate"):
        train_on(2, tiny(optimiser="sgd", rate=1e12), data_of(), runs_dir=tmp_path)
    assert multiprocessing.active_children() == []


def test_what_a_callback_raises_stops_the_training_and_is_raised(tmp_path):
    def fail(step: int, *rest: object) -> None:
        if step == 3:
            raise ValueError("a broken callback")

    with pytest.raises(ValueError, match="a broken callback"):
        train_on(2, tiny(steps=100_000), data_of(), runs_dir=tmp_path, on_progress=fail)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_ends_the_training_with_a_sentence(tmp_path):
    def kill_one(step: int, *rest: object) -> None:
        if step == 3:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(RunError, match=r"A process of the training (ended|failed): .*Train on one device"):
        train_on(2, tiny(steps=100_000), data_of(), runs_dir=tmp_path, on_progress=kill_one)
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
import time
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {root!r})
from agebench.errors import Interrupted
from agebench.training.devices import train_on
from tests.training.conftest import data_of, tiny

STUCK = Path({runs!r} + ".stuck")

class Pictures:
    def __init__(self, pictures):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, row):
        while STUCK.exists():
            time.sleep(0.05)
        return self.pictures[row]

if __name__ == "__main__":
    recipe, data = tiny(steps=100_000, checkpoint_every=100_000), data_of()
    data = replace(data, pictures=Pictures(data.pictures))
    try:
        train_on(2, recipe, data, runs_dir=Path({runs!r}), on_progress=lambda *news: print(news[0], flush=True))
    except Interrupted as error:
        print(error, flush=True)
"""


@contextmanager
def training_of_two(tmp_path):
    """A process that trains on two devices, and is after its third step."""
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.format(root=str(Path(__file__).parents[2]), runs=str(tmp_path / "runs")))
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    try:
        assert process.stdout
        while int(process.stdout.readline()) < 3:
            time.sleep(0)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_second_interrupt_ends_every_process_at_once(tmp_path):
    with training_of_two(tmp_path) as process:
        (tmp_path / "runs.stuck").touch()  # no step ends from now on
        time.sleep(1)
        os.killpg(process.pid, signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=2)
        os.killpg(process.pid, signal.SIGINT)
        assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
        for _ in range(200):
            if not group_exists(process.pid):
                break
            time.sleep(0.05)
        assert not group_exists(process.pid)


def test_an_interrupt_reaches_every_process_and_leaves_a_checkpoint(tmp_path):
    with training_of_two(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: it reaches every process
        told = process.communicate(timeout=60)[0].splitlines()[-1]
    assert told.startswith("Stopped after step ")
    assert "--resume" in told
    [left] = list_runs(tmp_path / "runs")
    assert not left.complete
    assert (left.path / "checkpoint" / "state.pt").exists()


def test_devices_are_for_networks_with_a_batch_that_is_large_enough():
    with pytest.raises(UsageError, match=r"svr is no network.*Leave out --devices"):
        check_devices(2, load_model_recipe("svr"))
    assert isinstance(load_model_recipe("svr"), MethodRecipe)
    check_devices(1, load_model_recipe("svr"))
    with pytest.raises(UsageError, match=r"batch of 8 is too small for 5 devices.*train\.batch=10"):
        check_shares(5, tiny())
    check_shares(4, tiny())
    with pytest.raises(UsageError, match="small_loss selects from a whole batch"):
        check_shares(2, tiny(small_loss=0.1))
    with pytest.raises(UsageError, match="at least 1, not 0"):
        check_shares(0, tiny())


def test_more_devices_than_there_are_gpus_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UsageError, match="This machine has 1 GPU, not 2"):
        check_devices(2, tiny())
    check_shares(2, tiny())  # enough for a dry run
