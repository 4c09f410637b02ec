"""The memory and the fit of a training that `train --dry-run` tells."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor

from agebench.errors import RunError
from agebench.training import forecast, loop
from agebench.training.forecast import training_cost
from agebench.training.runs import train_run

from .conftest import data_of, tiny


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_the_memory_of_a_batch_is_that_of_its_pictures_and_once_that_of_the_weights(
    monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    recipe = tiny(batch=64, precision=precision)
    wide = recipe.model_copy(update={"network": recipe.network.model_copy(update={"widths": (8, 512)})})
    extrapolated = training_cost(wide, 40)
    monkeypatch.setattr(forecast, "ON_A_CPU", 64)
    counted = training_cost(wide, 40)
    assert extrapolated.bytes == pytest.approx(counted.bytes, rel=0.01)
    weights = 4 * counted.parameters
    assert counted.bytes > 5 * weights  # weights, gradients, two moments, the average


def test_devices_share_the_pictures_of_a_batch_and_each_holds_the_weights() -> None:
    alone, shared = (training_cost(tiny(batch=16), 40, devices) for devices in (1, 4))
    quarter = training_cost(tiny(batch=4), 40)
    assert (alone.devices, alone.share) == (1, 16)
    assert (shared.devices, shared.share) == (4, 4)
    gradients = shared.bytes - quarter.bytes  # that are exchanged
    assert 0 < gradients < 1.1 * 4 * quarter.parameters
    assert quarter.bytes < shared.bytes < alone.bytes


@pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="this system does not tell its load")
def test_a_time_that_was_measured_beside_other_work_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = os.cpu_count() or 1
    for load, crowded in (0.1 * cores, False), (1.0 * cores, True):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        cost = training_cost(tiny(), 40)
        assert cost.crowded == (crowded and cost.device == "cpu")


def too_little_memory(most: int) -> object:
    real = loop.augment

    def augment(pictures: Tensor, *rest: object) -> Tensor:
        if len(pictures) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(pictures, *rest)  # type: ignore[arg-type]

    return augment


def test_a_batch_that_does_not_fit_is_told_with_what_it_would_need(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = training_cost(tiny(batch=16), 40)
    monkeypatch.setattr(forecast, "augment", too_little_memory(8))
    found = training_cost(tiny(batch=16), 40)
    assert (fitting.fits, found.fits) == (True, False)
    assert found.bytes == pytest.approx(fitting.bytes, rel=0.01)
    monkeypatch.setattr(forecast, "augment", too_little_memory(1))
    with pytest.raises(RunError, match="not enough memory"):
        training_cost(tiny(batch=16), 40)


def test_a_training_that_runs_out_of_memory_is_a_sentence(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(loop, "augment", too_little_memory(4))
    with pytest.raises(RunError, match="not enough memory for a batch of 8") as told:
        train_run(tiny(), data_of(), runs_dir=tmp_path)
    assert "--set train.batch=4" in told.value.next_step
