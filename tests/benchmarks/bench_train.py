"""How much of the bare network's speed the training loop keeps, with pictures read from disk.

Trains a recipe through `train_run`, its faces read from a memory-mapped file, and by hand on one batch that stays in
memory (forward, loss, backward, optimiser), in turn, several rounds, and prints the ratio of the rates. What the loop
does beyond reading (augmentation, clipping, the moving average of the weights, logging) is not in the bare rate; a
second ratio has the same of them on both sides, and so shows what reading and the loop itself cost: the bound is 97 %.

    python tests/benchmarks/bench_train.py [MODEL] [--steps 60] [--rounds 5]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import torch
from lightning_fabric import Fabric

from agebench.recipes import NetworkRecipe, load_model_recipe
from agebench.training.augment import augment
from agebench.training.data import TrainingData
from agebench.training.losses import make_loss
from agebench.training.networks import make_network, normalise
from agebench.training.optimise import MovingAverage, make_optimiser
from agebench.training.runs import train_run


class Mapped:
    """Faces in a memory-mapped .npy file, opened again by path in each process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faces = np.load(path, mmap_mode="r")

    def __reduce__(self) -> tuple[type[Mapped], tuple[Path]]:
        return Mapped, (self.path,)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, row: int) -> np.ndarray:
        return np.array(self.faces[row])

    def read_many(self, rows: np.ndarray) -> np.ndarray:
        return self.faces[rows]


def loop_rate(recipe: NetworkRecipe, data: TrainingData, runs: Path) -> float:
    """Pictures a second through the loop, without its first log interval."""
    run = train_run(recipe, data, runs_dir=runs)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["pictures_per_second"] for line in lines[1:])


def bare_rate(recipe: NetworkRecipe, steps: int, changed: bool) -> float:
    """Pictures a second of the same network on one batch in memory; `changed`: augmented and averaged too."""
    device = Fabric(accelerator="auto", devices=1).device
    network = make_network(recipe.network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = MovingAverage(copy.deepcopy(network), network, 0.99)
    optimiser, loss_of = make_optimiser(network, recipe.train), make_loss(recipe.loss)
    size, batch = recipe.crop.size, recipe.train.batch
    pictures = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, device=device)
    ages, generator = torch.randint(0, 100, (batch,), device=device), torch.Generator(device)
    ready = normalise(pictures)
    warm = 20
    for step in range(steps):
        if step == warm:
            _wait(device)
            begun = time.perf_counter()
        values = ready
        if changed:
            values = normalise(augment(pictures, recipe.augment, generator, recipe.crop.border))
        loss = loss_of(network(values), ages)
        optimiser.zero_grad()
        loss.backward()
        if changed and recipe.train.clip:
            torch.nn.utils.clip_grad_norm_(network.parameters(), recipe.train.clip)
        optimiser.step()
        if changed and recipe.train.average:
            average.follow(step)
    _wait(device)
    return (steps - warm) * batch / (time.perf_counter() - begun)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", default="neighborhood-quick")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    changes = {"train.steps": asked.steps, "train.warmup": 0, "train.validation": 0.0, "train.checkpoint_every": 10**6}
    recipe = load_model_recipe(asked.model, changes=changes)
    assert isinstance(recipe, NetworkRecipe)
    with tempfile.TemporaryDirectory() as folder:
        count, size = 2000, recipe.crop.size
        faces = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        np.save(Path(folder) / "faces.npy", faces)
        records = pl.DataFrame(
            {"part": "p", "path": [f"{n}" for n in range(count)], "sha256": "", "age": [n % 100 for n in range(count)]}
        ).with_columns(
            group_id=pl.int_range(count), photograph_id=pl.int_range(count), split=pl.lit("train"), copies=pl.lit(1)
        )
        data = TrainingData.from_records(Mapped(Path(folder) / "faces.npy"), np.arange(count), records)
        rounds = []
        for _ in range(asked.rounds):
            bare, changed = bare_rate(recipe, asked.steps, False), bare_rate(recipe, asked.steps, True)
            loop = loop_rate(recipe, data, Path(folder) / "runs")
            rounds.append((loop / bare, loop / changed))
            print(f"loop {loop:7.1f}/s   one tensor {bare:7.1f}/s   augmented and averaged {changed:7.1f}/s")
    against_bare, against_changed = (statistics.median(ratios) for ratios in zip(*rounds, strict=True))
    print(f"{recipe.name}: {against_bare:.3f} of the network on one tensor in memory")
    print(f"{recipe.name}: {against_changed:.3f} of the same with augmentation, clipping and averaging (bound 0.97)")


if __name__ == "__main__":
    main()
