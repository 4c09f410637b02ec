"""demo: the whole main job on synthetic releases."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from agebench.balancing import BalanceReport, balance
from agebench.bench.report import Report, report
from agebench.demo.releases import DRAWN, draw_releases
from agebench.demo.truth import caught
from agebench.errors import UsageError
from agebench.manifest.export import verdict_rows
from agebench.manifest.places import manifest_of
from agebench.manifest.store import open_manifest
from agebench.workflows.curate import CurateReport, curate
from agebench.workflows.train import TrainReport, train

TEST_SETS = ("fg-net", "morph", "cacd")
SAYING = (
    "These numbers are from drawn faces: they show that every step works, and say nothing about photographs. "
    "The columns are not the real FG-NET, MORPH and CACD, and the tables mark them accordingly."
)


@dataclass(frozen=True)
class DemoSize:
    """How much the demo draws and trains."""

    records: int
    per_class: int
    steps: int


FULL = DemoSize(records=1200, per_class=20, steps=400)
SMALL = DemoSize(records=160, per_class=4, steps=40)


@dataclass(frozen=True)
class DemoReport:
    """What the demo did. caught: fault, records, reject, review, keep of the injected faults."""

    folder: Path
    curated: CurateReport
    caught: pl.DataFrame
    balanced: BalanceReport
    trained: TrainReport
    tables: Report


def demo(
    folder: Path,
    size: DemoSize,
    *,
    seed: int = 0,
    workers: int | None = None,
    on_stage: Callable[[str], None] | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
    on_step: Callable[[int, int, float | None, float | None], None] | None = None,
) -> DemoReport:
    """Draw releases in `folder`, then curate, balance, train, evaluate and report there, as the commands would.

    on_progress: Called with "drawing" or "observing NAME", pictures done and pictures in all.

    Pictures drawn there earlier with the same seed and size are reused. Raises UsageError if the folder has manifests
    of other releases, and what the stages raise.
    """

    def stage(what: str) -> None:
        if on_stage:
            on_stage(what)

    def counted(what: str, done: int, total: int) -> None:
        if on_progress:
            on_progress(what, done, total)

    def curated_of(name: str) -> CurateReport:
        return curate(
            name,
            root=drawn.roots[name],
            workers=workers,
            on_progress=lambda p: counted(f"observing {name}", p.done, p.total),
        )

    if (folder / "manifests").exists() and not (folder / "data" / DRAWN).exists():
        raise UsageError(
            f"{folder} has manifests that the demo did not make; it would rebuild them from drawn faces.",
            "Name another folder with `--out`.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):
        stage(
            f"Drawing five releases in {folder}/data: {size.records:,} records in IMDB-WIKI's layout with known faults"
        )
        drawn = draw_releases(Path(), records=size.records, seed=seed, on_progress=partial(counted, "drawing"))
        stage("agebench curate imdb-wiki (then fg-net, morph, cacd), with the real face detector")
        curated = curated_of("imdb-wiki")
        for name in TEST_SETS:
            curated_of(name)
        with open_manifest(manifest_of("imdb-wiki")) as con:
            faults = caught(pl.read_csv(drawn.truth), verdict_rows(con))
        stage(f"agebench balance --per-class {size.per_class}")
        balanced = balance(manifest_of("imdb-wiki"), per_class=size.per_class, seed=seed)
        stage(f"agebench train neighborhood-quick --set train.steps={size.steps}")
        trained = train(
            "neighborhood-quick",
            manifest="imdb-wiki",
            changes={"train.steps": size.steps, "train.warmup": size.steps // 10, "train.average": 0.98},
            seed=seed,
            on_step=on_step,
        )
        tables = report([2, 3])
    return DemoReport(folder, curated, faults, balanced, trained, tables)
