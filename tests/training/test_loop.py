"""The training loop: what it learns, what it keeps, and that nothing depends on being undisturbed."""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from lightning_fabric import Fabric
from pydantic import ValidationError
from safetensors.torch import load_file

from agebench.errors import Interrupted, NothingCurated, RecipeError, RunError
from agebench.recipes import Augment, NetworkRecipe, Training
from agebench.training import loop
from agebench.training.augment import augment, mixup
from agebench.training.crossfit import crossfit
from agebench.training.data import TrainingData
from agebench.training.decoding import expected_age
from agebench.training.features import Faces
from agebench.training.fitting import fit_faces
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import MovingAverage, make_optimiser, rate_at
from agebench.training.resolve import resolve_recipe
from agebench.training.runs import list_runs, load_network, same_training, train_run

from .conftest import TINY, InMemoryMany, data_of, records_of, tiny, without_normalisation


def metrics(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_file(one / "weights.safetensors"), load_file(other / "weights.safetensors")
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def stop_at(step: int):
    def progress(done: int, steps: int, loss: float, rate: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def test_a_small_network_learns_32_pictures_by_heart(tmp_path):
    ages = np.arange(0, 96, 3)
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(32), records_of(ages, 1))
    recipe = tiny(steps=150, batch=32, rate=1e-2, average=0.0, validation=0.0)
    recipe = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"crop": 0, "colour": 0})})
    run = train_run(recipe, data, runs_dir=tmp_path)
    with torch.no_grad():
        predicted = expected_age(load_network(run)(normalise(torch.from_numpy(data.pictures.pictures))))
    assert np.abs(predicted.numpy() - ages).mean() < 3.0
    losses = [line["loss"] for line in metrics(run.path)]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("stop", [3, 5, 8, 11])
@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_a_stopped_and_resumed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path, data, optimiser, stop):
    recipe = tiny(optimiser=optimiser, rate=1e-3)
    whole = train_run(recipe, data, runs_dir=tmp_path / "whole", seed=3)
    with pytest.raises(Interrupted, match=f"after step {stop} of 12"):
        train_run(recipe, data, runs_dir=tmp_path / "two", seed=3, on_progress=stop_at(stop))
    resumed = train_run(recipe, data, runs_dir=tmp_path / "two", seed=3, resume=True)
    assert same_weights(whole.path, resumed.path)
    assert resumed.card["val_mae"] == whole.card["val_mae"]
    validated = [(line["step"], line["val_mae"]) for line in metrics(resumed.path) if "val_mae" in line]
    assert validated == [(line["step"], line["val_mae"]) for line in metrics(whole.path) if "val_mae" in line]


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import data_of, tiny
from agebench.training.runs import train_run
import torch
torch.set_num_threads({threads})
train_run(tiny(), data_of(), runs_dir=Path({runs!r}), seed=5, on_progress=lambda *_: time.sleep(0.1))
"""


def test_a_killed_and_resumed_training_ends_with_the_weights_of_an_undisturbed_one(tmp_path, data):
    whole = train_run(tiny(), data, runs_dir=tmp_path / "whole", seed=5)
    runs = tmp_path / "two"
    threads = torch.get_num_threads()
    program = KILLED.format(tests=str(Path(__file__).parent), runs=str(runs), threads=threads)
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if list(runs.glob("*/checkpoint/state.pt")) or process.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    (left,) = list_runs(runs)
    assert not left.complete
    resumed = train_run(tiny(), data, runs_dir=runs, seed=5, resume=True)
    assert resumed.path == left.path
    assert same_weights(whole.path, resumed.path)
    steps = [line["step"] for line in metrics(resumed.path)]
    assert steps == sorted(set(steps))


def test_ctrl_c_ends_the_step_and_keeps_a_checkpoint(tmp_path, data):
    def press(step: int, *_: object) -> None:
        if step == 4:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=r"after step 4 .*--resume"):
        train_run(tiny(), data, runs_dir=tmp_path, on_progress=press)
    assert signal.getsignal(signal.SIGINT) is before
    (left,) = list_runs(tmp_path)
    state = torch.load(left.path / "checkpoint" / "state.pt", weights_only=True)
    assert state["step"] == 4


def test_ctrl_c_in_a_terminal_reaches_the_reader_processes_and_still_keeps_a_checkpoint(tmp_path):
    program = KILLED.format(tests=str(Path(__file__).parent), runs=str(tmp_path), threads=1).replace(
        "tiny()", "tiny(workers=2, steps=1000, checkpoint_every=1000)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, start_new_session=True)
    try:
        for _ in range(600):
            if any("step" in p.read_text() for p in tmp_path.glob("*/metrics.jsonl")) or process.poll() is not None:
                break
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=30)[1].decode()
    finally:
        process.kill()
    assert "Stopped after step" in told
    assert len(list(tmp_path.glob("*/checkpoint/state.pt"))) == 1


def test_a_checkpoint_that_is_none_is_refused_and_runs_no_code(tmp_path, data):
    with pytest.raises(Interrupted):
        train_run(tiny(), data, runs_dir=tmp_path, on_progress=stop_at(2))
    (state,) = tmp_path.glob("*/checkpoint/state.pt")
    for content in (b"", b"half", pickle.dumps(Path)):
        state.write_bytes(content)
        with pytest.raises(RunError, match="cannot be read"):
            train_run(tiny(), data, runs_dir=tmp_path, resume=True)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path, data):
    one, again, other = (train_run(tiny(), data, runs_dir=tmp_path, seed=seed) for seed in (1, 1, 2))
    assert same_weights(one.path, again.path)
    assert not same_weights(one.path, other.path)


def draws(recipe: NetworkRecipe, runs: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[torch.Tensor]]:
    """What each step of a training reads and draws: pictures, augmentation, dropout (100 random numbers each)."""
    found: dict[str, list[torch.Tensor]] = {"pictures": [], "augmentation": [], "dropout": []}

    def watched(pictures: torch.Tensor, how: Augment, generator: torch.Generator, *more: str) -> torch.Tensor:
        found["pictures"].append(pictures.clone())
        found["augmentation"].append(torch.rand(100, generator=generator.clone_state()))
        changed = augment(pictures, how, generator, *more)
        found["dropout"].append(torch.rand(100, generator=torch.default_generator.clone_state()))
        return changed

    monkeypatch.setattr(loop, "augment", watched)
    train_run(recipe, data_of(), runs_dir=runs, seed=4)
    return found


def test_augmentation_dropout_and_the_order_of_batches_draw_from_seeds_of_their_own(tmp_path, monkeypatch):
    recipe = tiny()
    augmented = recipe.model_copy(update={"augment": Augment(flip=False, crop=0.3, rotate=20, colour=0.5, gray=0.5)})
    network = recipe.network.model_copy(update={"dropout": 0.5})
    dropped = recipe.model_copy(update={"network": network})
    before, other_augmentation, other_dropout = (
        draws(one, tmp_path, monkeypatch) for one in (recipe, augmented, dropped)
    )
    assert network.settings["dropout"] == 0.5
    for what, steps in before.items():
        for after in (other_augmentation, other_dropout):
            assert all(torch.equal(a, b) for a, b in zip(steps, after[what], strict=True))
    drawn = [tuple(step.tolist()) for what in ("augmentation", "dropout") for step in before[what]]
    assert len(set(drawn)) == len(drawn) == 2 * recipe.train.steps  # neither repeats the other or itself


def of_two_processes(script: Path) -> str:
    """Run a script that starts a second process; what the two wrote to stderr."""
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, start_new_session=True)
    try:
        return process.communicate(timeout=120)[1].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


SHARED_BATCHES = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from conftest import data_of, without_normalisation
from lightning_fabric import Fabric
from pydantic import ValidationError
from agebench.training.runs import train_run

torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
train_run(without_normalisation(), data_of(), runs_dir=Path({runs!r}), fabric=fabric)
"""


def test_two_processes_that_share_each_batch_have_the_losses_of_one(tmp_path):
    """Without batch normalisation and augmentation, which each process has to itself."""
    script = tmp_path / "train.py"
    script.write_text(SHARED_BATCHES.format(tests=str(Path(__file__).parent), runs=str(tmp_path / "two")))
    told = of_two_processes(script)
    alone = train_run(without_normalisation(), data_of(), runs_dir=tmp_path / "one")
    [shared] = list_runs(tmp_path / "two")
    assert shared.complete, told
    one, two = ([line["loss"] for line in metrics(path)] for path in (alone.path, shared.path))
    assert len(one) == 20
    assert one == pytest.approx(two, abs=1e-4)
    assert one[-1] < one[0]


TWO_PROCESSES = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
from conftest import data_of, tiny
from lightning_fabric import Fabric
from pydantic import ValidationError
from agebench.errors import RunError
from agebench.training import loop
from agebench.training.runs import train_run

torch.set_num_threads(1)
fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()
rank, make_loss = fabric.global_rank, loop.make_loss

def of_one_process(recipe):
    plain, calls = make_loss(recipe), []

    def loss(logits, ages):
        calls.append(1)
        return plain(logits, ages) * (float("nan") if (rank, len(calls)) == (1, {nan_at}) else 1)

    return loss

loop.make_loss = of_one_process
try:
    train_run(tiny(), data_of(), runs_dir=Path({runs!r}), fabric=fabric)
    said = "complete"
except RunError as error:
    said = str(error)
Path({runs!r}, f"said-{{rank}}").write_text(said)
"""


@pytest.mark.parametrize("nan_at", [4, 0])
def test_all_processes_stop_together_where_the_loss_of_one_is_not_a_number(tmp_path, nan_at):
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parent), runs=str(tmp_path), nan_at=nan_at))
    told = of_two_processes(script)
    said = {rank: path.read_text() for rank in (0, 1) if (path := tmp_path / f"said-{rank}").exists()}
    assert said.keys() == {0, 1}, told
    assert said[0] == said[1]
    assert ("nan at step 4" in said[0]) if nan_at else (said[0] == "complete")


def test_reader_processes_change_nothing(tmp_path, data):
    alone = train_run(tiny(), data, runs_dir=tmp_path)
    read_ahead = train_run(tiny(workers=2), data, runs_dir=tmp_path)
    assert same_weights(alone.path, read_ahead.path)


def test_a_diverging_training_stops_and_says_at_which_step_and_what_to_do(tmp_path, data):
    with pytest.raises(RunError, match=r"neighborhood loss of tiny became (nan|inf) at step \d+.*[Ll]ower train\.rate"):
        train_run(tiny(optimiser="sgd", rate=1e12), data, runs_dir=tmp_path)
    (left,) = list_runs(tmp_path)
    assert not left.complete


def test_a_diverged_training_leaves_no_checkpoint_of_broken_weights(tmp_path, data):
    recipe = tiny(optimiser="sgd", rate=1e12, checkpoint_every=1, validate_every=1)
    with pytest.raises(RunError):
        train_run(recipe, data, runs_dir=tmp_path)
    for state in tmp_path.glob("*/checkpoint/state.pt"):
        # the loss of the checkpoint's step was a number
        assert torch.load(state, weights_only=True)["step"] < 12


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_computed_in_parts_trains_as_the_whole(tmp_path, data, parts):
    weights = []
    for accumulate in (1, parts):
        run = train_run(without_normalisation(accumulate=accumulate), data, runs_dir=tmp_path / str(accumulate))
        weights.append(load_file(run.path / "weights.safetensors"))
    whole, in_parts = weights
    assert all(torch.allclose(whole[name], in_parts[name], atol=1e-5) for name in whole)


def test_small_loss_selection_learns_less_from_wrong_ages(tmp_path):
    """A quarter of the ages are wrong; the network is measured with the true ones."""
    ages = np.tile(np.arange(5, 85), 3)
    pictures = InMemoryMany(ages)
    claimed = ages.copy()
    wrong = np.random.default_rng(1).random(len(ages)) < 0.25
    claimed[wrong] = 99
    errors = []
    for small_loss in (0.0, 0.3):
        recipe = tiny(steps=120, batch=48, rate=1e-2, warmup=30, validation=0.0, small_loss=small_loss)
        data = TrainingData.from_records(pictures, np.arange(len(ages)), records_of(claimed, 1))
        run = train_run(recipe, data, runs_dir=tmp_path)
        with torch.no_grad():
            predicted = expected_age(load_network(run)(normalise(torch.from_numpy(pictures.pictures))))
        errors.append(np.abs(predicted.numpy() - ages).mean())
    assert errors[1] < 0.6 * errors[0]


def test_blends_learn_from_both_ages(tmp_path):
    """With half of each picture, every age is as likely as its partner's: brightness tells less of the age."""
    ages = np.tile(np.arange(5, 85), 3)
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(len(ages)), records_of(ages, 1))
    losses = []
    for alpha in (0.0, 100.0):
        recipe = tiny(steps=100, batch=48, rate=1e-2, validation=0.0)
        recipe = recipe.model_copy(update={"augment": recipe.augment.model_copy(update={"mixup": alpha})})
        run = train_run(recipe, data, runs_dir=tmp_path)
        losses.append(metrics(run.path)[-1]["loss"])
    assert losses[1] > losses[0] + 0.3


def test_a_blend_is_its_share_of_two_pictures():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(16, 8, 8, 3, generator=generator) * 255
    blends, partner, share = mixup(pictures, 0.4, generator)
    assert 0 <= share <= 1
    assert sorted(partner.tolist()) == list(range(16))
    assert torch.allclose(blends, share * pictures + (1 - share) * pictures[partner], atol=1e-3)
    again = mixup(pictures, 0.4, torch.Generator().manual_seed(5))
    assert torch.equal(mixup(pictures, 0.4, torch.Generator().manual_seed(5))[0], again[0])


def test_blends_and_small_loss_selection_exclude_each_other():
    table = TINY | {"augment": {"mixup": 0.2}, "train": TINY["train"] | {"small_loss": 0.2}}
    with pytest.raises(ValidationError, match="no claimed age"):
        NetworkRecipe.model_validate(table)


def test_balanced_draws_even_out_the_groups_of_ages():
    ages = np.repeat([1, 2, 22, 50], [10, 10, 400, 80])
    plain = loop.Examples(InMemoryMany(ages), np.arange(500), ages, np.ones(500, dtype=np.int64))
    assert plain.balanced(0.0).copies is plain.copies
    drawn = np.bincount(ages // 5, plain.balanced(1.0).copies)
    assert drawn[[0, 4, 10]] / drawn.sum() == pytest.approx(1 / 3, abs=0.02)
    half = np.bincount(ages // 5, plain.balanced(0.5).copies)[[0, 4, 10]]
    assert half / half.sum() == pytest.approx(np.sqrt([20, 400, 80]) / np.sqrt([20, 400, 80]).sum(), abs=0.02)
    assert plain.balanced(1.0).copies[ages < 5].std() == 0


def test_records_with_a_suspicious_age_are_drawn_less_often():
    ages = np.repeat([22, 50], [40, 10])
    records = records_of(ages, 1).with_columns(label_suspicion=pl.Series([0.0, 1.0, 0.5, None, 0.25] * 10))
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(50), records)
    everyone = np.ones(50, dtype=bool)
    drawn = loop.Examples.drawn_by(tiny(distrust=1.0), data, everyone).copies
    assert drawn[:5].tolist() == [20, 0, 10, 20, 15]
    halved = loop.Examples.drawn_by(tiny(distrust=0.5), data, everyone).copies
    assert halved[:5].tolist() == [20, 10, 15, 20, 18]
    balanced = loop.Examples.drawn_by(tiny(distrust=1.0, balance=1.0), data, everyone).copies
    assert balanced[40:45].tolist() == [80, 0, 40, 80, 60]
    without = TrainingData.from_records(InMemoryMany(ages), np.arange(50), records.drop("label_suspicion"))
    with pytest.raises(RecipeError, match=r"train\.distrust needs label suspicion"):
        loop.Examples.drawn_by(tiny(distrust=1.0), without, everyone)
    assert len(loop.Examples.drawn_by(tiny(distrust=1.0), data, ~everyone).rows) == 0
    assert loop.Examples.drawn_by(tiny(), without, everyone).copies.tolist() == [1] * 50


def test_nothing_is_trained_where_every_record_is_wrong_and_distrusted(tmp_path):
    ages = np.arange(20, 40)
    records = records_of(ages, 1).with_columns(label_suspicion=pl.lit(1.0))
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(20), records)
    with pytest.raises(NothingCurated, match="No record is left to train on"):
        train_run(tiny(distrust=1.0, validation=0.0), data, runs_dir=tmp_path)


def test_cross_fitting_and_cross_validation_refuse_distrust(tmp_path, data):
    with pytest.raises(RecipeError, match="cross-fitting"):
        crossfit(tiny(distrust=1.0), data, folder=tmp_path)
    with pytest.raises(RecipeError, match="cross-validation"):
        fit_faces(tiny(distrust=1.0), Faces(data.pictures, data.rows), data.ages, folder=tmp_path, seed=0)


def test_a_run_with_distrust_is_of_other_records_once_the_suspicion_changes(tmp_path):
    ages = np.tile(np.arange(20, 40), 4)
    records = records_of(ages, 1).with_columns(label_suspicion=pl.lit(0.1))
    data = TrainingData.from_records(InMemoryMany(ages), np.arange(80), records)
    recipe = tiny(steps=2, distrust=1.0)
    run = train_run(recipe, data, runs_dir=tmp_path)
    assert same_training(recipe, data, tmp_path, 0).id == run.id
    other = replace(data, records=records.with_columns(label_suspicion=pl.lit(0.2)))
    assert same_training(recipe, other, tmp_path, 0) is None


def test_a_run_from_before_a_setting_existed_was_trained_at_its_default(tmp_path, data):
    recipe = resolve_recipe("cross-fit", {"train.steps": 2, "crop.size": 32, "crop.encoding": "raw", "train.batch": 4})
    run = train_run(recipe, data, runs_dir=tmp_path)
    card = json.loads((run.path / "card.json").read_text())
    for missing, found in (({}, run.id), ({"drop"}, run.id), ({"drop", "change"}, None)):
        older = json.loads(json.dumps(card))
        if "drop" in missing:
            older["recipe"]["loss"].pop("two_sigma_squared")
            older["recipe_digest"] = "of an older version"
        if "change" in missing:
            older["recipe"]["loss"]["sigma"] += 1
        (run.path / "card.json").write_text(json.dumps(older))
        same = same_training(recipe, data, tmp_path, 0)
        assert (same and same.id) == found


def test_an_unfinished_run_from_before_a_setting_existed_is_continued(tmp_path, data):
    recipe = resolve_recipe("cross-fit", {"train.steps": 2, "crop.size": 32, "crop.encoding": "raw", "train.batch": 4})
    run = train_run(recipe, data, runs_dir=tmp_path)
    (run.path / "COMMITTED").unlink()
    card = json.loads((run.path / "card.json").read_text())
    card["recipe"]["loss"].pop("two_sigma_squared")
    card["recipe_digest"] = "of an older version"
    (run.path / "card.json").write_text(json.dumps(card))
    assert same_training(recipe, data, tmp_path, 0).id == run.id
    assert train_run(recipe, data, runs_dir=tmp_path, resume=True).id == run.id


def test_training_stops_early_and_keeps_the_best_weights(tmp_path, data, monkeypatch):
    """The MAE is made up: two validations in a row without a lower one end the training."""
    maes = iter([9.0, 5.0, 6.0, 7.0, 1.0])
    monkeypatch.setattr(loop, "mean_absolute_error", lambda *_: next(maes))
    recipe = tiny(steps=50, validate_every=3, patience=2)
    run = train_run(recipe, data, runs_dir=tmp_path)
    assert [line["val_mae"] for line in metrics(run.path) if "val_mae" in line] == [9.0, 5.0, 6.0, 7.0]
    assert (run.card["val_mae"], run.card["weights_of_step"], run.card["steps"]) == (5.0, 6, 12)
    maes = iter([9.0, 5.0])
    six = recipe.train.model_copy(update={"steps": 6})
    until_the_best = train_run(recipe.model_copy(update={"train": six}), data, runs_dir=tmp_path / "six")
    assert same_weights(run.path, until_the_best.path)


@pytest.mark.parametrize(("stop", "later"), [(8, [7.0]), (9, [])])
def test_a_stopped_training_still_knows_its_best_weights(tmp_path, data, monkeypatch, stop, later):
    """Stopped before the validation that ends the training, and at the step of that validation."""

    def train(runs: Path, maes: list[float], **how: object) -> Path:
        given = iter(maes)
        monkeypatch.setattr(loop, "mean_absolute_error", lambda *_: next(given))
        recipe = tiny(steps=50, validate_every=3, checkpoint_every=4, patience=2)
        return train_run(recipe, data, runs_dir=runs, **how).path

    whole = train(tmp_path / "whole", [5.0, 6.0, 7.0])
    with pytest.raises(Interrupted):
        train(tmp_path / "two", [5.0, 6.0, 7.0], on_progress=stop_at(stop))
    assert same_weights(whole, train(tmp_path / "two", later, resume=True))


def test_settings_that_do_not_fit_together_are_refused(tmp_path, data):
    for wrong, told in (({"accumulate": 5}, "half of batch"), ({"accumulate": 2, "small_loss": 0.1}, "whole batch"),
                        ({"patience": 1, "validation": 0.0}, "validation MAE")):  # fmt: skip
        with pytest.raises(ValueError, match=told):
            tiny(**wrong)
    only_training = data.records.with_columns(split=pl.lit("train"))
    nothing_held_back = TrainingData.from_records(data.pictures, data.rows, only_training)
    with pytest.raises(RecipeError, match="the split holds none"):
        train_run(tiny(patience=1), nothing_held_back, runs_dir=tmp_path)


def test_metrics_have_a_line_per_validation_with_its_mae_rate_and_speed(tmp_path, data):
    run = train_run(tiny(), data, runs_dir=tmp_path)
    lines = metrics(run.path)
    assert [line["step"] for line in lines] == [5, 10, 12]
    assert all(math.isfinite(line["val_mae"]) for line in lines)
    assert all({"loss", "rate", "pictures_per_second"} <= line.keys() for line in lines)
    assert run.card["val_mae"] == lines[-1]["val_mae"]


def test_the_rate_falls_at_the_published_milestones():
    how = Training(steps=200_000, batch=1, rate=0.1, milestones=[50_000, 100_000, 150_000])
    at = [rate_at(how, step) for step in (0, 49_999, 50_000, 99_999, 100_000, 150_000, 199_999)]
    assert at == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-4, 1e-4])


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_rate_rises_through_the_warmup_and_falls_to_nearly_nothing(schedule):
    how = Training(steps=100, batch=1, rate=1.0, schedule=schedule, warmup=10)
    rates = [rate_at(how, step) for step in range(100)]
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert all(a >= b for a, b in itertools.pairwise(rates[9:]))
    assert 0 < rates[-1] < 0.02


def test_adam_decays_as_published_and_the_others_spare_biases_and_normalisation():
    network = make_network(tiny().network)
    adam = make_optimiser(network, Training(steps=1, batch=1, rate=0.1, weight_decay=5e-4))
    assert isinstance(adam, torch.optim.Adam)
    assert not isinstance(adam, torch.optim.AdamW)
    assert [(g["betas"][0], g["weight_decay"], len(g["params"])) for g in adam.param_groups] == [
        (0.9, 5e-4, len(list(network.parameters())))
    ]
    for name in ("adamw", "sgd"):
        decayed, spared = make_optimiser(
            network, Training(steps=1, batch=1, rate=0.1, weight_decay=5e-4, optimiser=name)
        ).param_groups
        assert (decayed["weight_decay"], spared["weight_decay"]) == (5e-4, 0.0)
        assert all(p.ndim > 1 for p in decayed["params"])
        assert all(p.ndim == 1 for p in spared["params"])


def test_the_moving_average_follows_the_weights():
    live, kept = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(kept.weight)
    torch.nn.init.ones_(live.weight)
    average = MovingAverage(kept, live, 0.9)
    average.follow(1)  # (1 + 1) / (10 + 1): short at first
    assert kept.weight.item() == pytest.approx(1 - 2 / 11)
    average.follow(10_000)
    assert kept.weight.item() == pytest.approx(1 - 0.9 * 2 / 11)


def test_mixed_precision_trains_and_resumes(tmp_path, data):
    recipe = tiny(precision="bf16-mixed", steps=6)
    with pytest.raises(Interrupted):
        train_run(recipe, data, runs_dir=tmp_path, on_progress=stop_at(2))
    run = train_run(recipe, data, runs_dir=tmp_path, resume=True)
    assert all(value.dtype != torch.bfloat16 for value in load_file(run.path / "weights.safetensors").values())


def test_a_fabric_of_the_callers_is_used(tmp_path):
    fabric = Fabric(accelerator="cpu", devices=1)
    run = train_run(tiny(steps=2), data_of(), runs_dir=tmp_path, fabric=fabric)
    assert run.card["hardware"]["device"] == "cpu"
