"""curate: read the release, observe what was not seen yet, judge."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

import agebench
from agebench import recipes
from agebench.curate import verdicts
from agebench.curate.checks import compile_recipe
from agebench.curate.derive import Stage, derive, fingerprint_pictures
from agebench.curate.observing.engine import Look, Progress, look_here, observe, pending_files
from agebench.curate.observing.observers import File, Observers
from agebench.curate.observing.parts import fold_parts, known_faces, names_in_parts, one_at_a_time, remove_parts
from agebench.curate.observing.ray_engine import check_ray, look_on_ray
from agebench.curate.observing.worker import seconds_per_picture, set_up
from agebench.curate.settings import Setting, settle
from agebench.manifest import summary
from agebench.manifest.evidence import observers_run
from agebench.manifest.records import known_files, record_names, seen_content, write_records
from agebench.manifest.store import create_or_open, get_meta, must_be_of, open_manifest, set_meta
from agebench.pool import Crashed, run_batches
from agebench.remote import Folder
from agebench.review import folding as decisions

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class CurateReport:
    """What a curation did and found. `funnel`: step, verdict, records, in order."""

    dataset: str
    manifest: Path
    recipe: str
    detector: str | None
    estimators: list[str]
    records: int
    observed: int
    reused: int
    unreadable: int
    kept: int
    review: int
    rejected: int
    reasons: dict[str, int]
    not_run: list[str]
    seconds: float
    funnel: pl.DataFrame = field(repr=False, default_factory=pl.DataFrame)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CurateForecast:
    """What a curation would do. `seconds`: how long observing would take here; None where that is not known."""

    dataset: str
    manifest: Path
    recipe: str
    detector: str | None
    engine: Engine
    records: int
    pending: int
    seconds: float | None
    notes: list[str]


def curate(
    dataset: str,
    *,
    root: str | Folder | None = None,
    manifest: Path | None = None,
    recipe: str | None = None,
    detector: str | None = None,
    detector_model: Path | None = None,
    estimators: Sequence[str] | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_stage: Stage | None = None,
) -> CurateReport:
    """Build or renew the manifest of a dataset and give every record its verdict.

    root: folder of the release, or its URL (`s3://bucket/imdb-wiki`). estimators: what doubts the claimed ages, in
    place of the recipe's own list (see `recipes.Observe`). engine: what observes, this machine's processes or Ray Data
    (see `look_on_ray`); the rows are the same. on_stage names what comes after observing and gives its progress.
    Costly work is done once: pictures whose content was seen by the same observers are not looked at again.
    Raises UsageError, RecipeError, ReleaseNotFound, ReleaseError, ManifestError, ManifestBusy, Missing, Interrupted.
    """
    began = time.monotonic()
    look = _look(engine, ray_address)
    s = settle(dataset, root, manifest, recipe, detector, detector_model, estimators)
    s.notes.extend(create_or_open(s.manifest, s.card.name))
    decisions.check(s.manifest)
    with one_at_a_time(s.manifest):
        observed, reused = _observe(s, look, workers, on_progress)
        fingerprint_pictures(s.manifest)
        if s.observers is not None:
            derive(
                s.manifest,
                s.observers,
                s.runs,
                cross_fit=s.cross_fit,
                workers=workers or os.cpu_count() or 1,
                on_stage=on_stage,
            )
        answers = decisions.gather(s.manifest)
        s.notes.extend(answers.notes)
        with open_manifest(s.manifest, write=True) as con:
            decisions.write(con, answers)
        with open_manifest(s.manifest, write=True) as con:
            verdicts.keep_evidence(con)
        with open_manifest(s.manifest, write=True) as con:
            checks = compile_recipe(s.recipe, str(s.recipe_file), observers_run(con))
            verdicts.judge(con, checks, recipe=s.recipe.name, recipe_digest=recipes.digest(s.recipe))
    with open_manifest(s.manifest) as con:
        counts = summary.counts(con)
        report = CurateReport(
            dataset=s.card.name,
            manifest=s.manifest,
            recipe=s.recipe.name,
            detector=s.detector,
            estimators=s.estimators,
            records=len(s.release.records),
            observed=observed,
            reused=reused,
            unreadable=summary.unreadable(con),
            kept=counts["keep"],
            review=counts["review"],
            rejected=counts["reject"],
            reasons=summary.reasons(con),
            not_run=summary.not_run(con),
            seconds=0.0,
            funnel=summary.funnel(con),
            notes=s.notes,
        )
    if s.observers and report.unreadable == report.records:
        looked = ", ".join(map(str, s.release.folders.values()))
        report.notes.append(f"No picture could be read: looked in {looked}. `--root` names another folder.")
        if s.card.name == "imdb-wiki":
            report.notes[-1] += " `--recipe imdb-wiki-dir` judges by labels and the release's own scores alone."
    return dataclasses.replace(report, seconds=round(time.monotonic() - began, 3))


def _observe(
    s: Setting, look: Look, workers: int | None, on_progress: Callable[[Progress], None] | None
) -> tuple[int, int]:
    """Read the release and look at what was not seen; (pictures looked at, records whose picture was known).

    Every step reads what an earlier transaction committed: DuckDB 2.0 was seen to miss rows (over 122,880 in one
    insert) that its own open transaction had written.
    """
    with open_manifest(s.manifest, write=True) as con:
        leftover = fold_parts(con, s.manifest)
        before, root = len(record_names(con)), get_meta(con, "root")
        if root is not None and before != len(s.release.records):
            s.notes.append(
                f"The manifest was of {before:,} records in {root}; it is of {len(s.release.records):,} in "
                f"{s.root.resolve()} now. What was observed is kept."
            )
        write_records(con, s.release.records, s.release.folders)
        set_meta(con, card_digest=recipes.digest(s.card), agebench_version=agebench.__version__)
        set_meta(con, root=str(s.root.resolve()), recipe_place=s.recipe_place, estimators_asked=s.estimators_asked)
        if s.observers:  # where there are none, the detector of an earlier run stays remembered
            _put_in_force(con, s.observers)
        if leftover:
            set_meta(con, judged_at=None, picture_fingerprint=None)
    remove_parts(s.manifest, leftover)
    if s.observers is None:
        return 0, 0
    with open_manifest(s.manifest) as con:
        files, reused = pending_files(known_files(con), s.release.folders, _seen(con, s.observers))
        faces = known_faces(con, files.drop_nulls("sha256"))
        files = files.drop("faces").join(faces, on="sha256", how="left", maintain_order="left").select(File._fields)
    if len(files):
        observe(
            files, s.release.folders, s.manifest, observers=s.observers, workers=workers, look=look,
            on_progress=on_progress,
        )  # fmt: skip
    with open_manifest(s.manifest, write=True) as con:
        folded = fold_parts(con, s.manifest)
        if folded:
            set_meta(con, judged_at=None, picture_fingerprint=None)
    remove_parts(s.manifest, folded)
    return len(files), reused


def forecast(
    dataset: str,
    *,
    root: str | Folder | None = None,
    manifest: Path | None = None,
    recipe: str | None = None,
    detector: str | None = None,
    detector_model: Path | None = None,
    estimators: Sequence[str] | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    workers: int | None = None,
) -> CurateForecast:
    """What `curate` would do, and for how long, from a timed look at a few pictures. Writes nothing."""
    _look(engine, ray_address)
    s = settle(dataset, root, manifest, recipe, detector, detector_model, estimators)
    records = s.release.records
    observers = s.observers or Observers()
    if s.manifest.exists():
        must_be_of(s.manifest, s.card.name)
        with open_manifest(s.manifest, older=True) as con:
            known = known_files(con).drop("known").unique(["part", "path"])
            seen = _seen(con, observers)
        known = records.select("part", "path").join(known, on=["part", "path"], how="left", maintain_order="left")
        known = known.with_columns(known=pl.col("sha256").is_not_null() | pl.col("error").is_not_null())
    else:
        nothing = {"sha256": pl.Utf8, "bytes": pl.Int64, "mtime": pl.Int64, "error": pl.Utf8}
        columns = [pl.lit(None, dtype).alias(name) for name, dtype in nothing.items()]
        known = records.select("part", "path", *columns, known=pl.lit(False))
        seen = {observer: pl.Series([], dtype=pl.Utf8) for observer in observers.versions}
    files = pending_files(known, s.release.folders, seen)[0] if s.observers else pl.DataFrame()
    if len(files):
        files = files.join(names_in_parts(s.manifest), on=["part", "path"], how="anti", maintain_order="left")
    readable = [File(*row) for row in files.filter(pl.col("fault").is_null()).iter_rows()] if len(files) else []
    seconds = None
    if readable:
        sample = readable[:: max(1, len(readable) // 16)][:16]
        # In a worker, because there the detector has one thread, as it will have.
        timed = run_batches(
            seconds_per_picture, [sample], workers=1, setup=set_up, setup_args=(dict(s.release.folders), observers)
        )
        rates = [rate for rate in timed if not isinstance(rate, Crashed)]
        if rates:
            seconds = sum(rates) / len(rates) * len(readable) / (workers or os.cpu_count() or 1)
    if s.cross_fit:
        s.notes.append(
            "Then it trains small networks on the release itself (cross-fit): minutes more, not counted here."
        )
    if ray_address and workers is None and engine == "ray":
        seconds = None  # nobody has asked the cluster for its cores
    return CurateForecast(
        s.card.name, s.manifest, s.recipe.name, s.detector, engine, len(records), len(files), seconds, s.notes
    )


def _look(engine: Engine, ray_address: str | None) -> Look:
    if engine == "local":
        return look_here
    check_ray()
    return partial(look_on_ray, address=ray_address)


def _put_in_force(con: duckdb.DuckDBPyConnection, observers: Observers) -> None:
    """Remember the observers. With another detector the old verdicts fall: a run killed now leaves no faces behind."""
    detector = observers.detector
    name = detector.name if detector else None
    if get_meta(con, "detector") != name:
        set_meta(con, judged_at=None)
    set_meta(con, detector=name, detector_choice=json.dumps(dataclasses.asdict(detector) if detector else None))
    set_meta(con, embedder=observers.embedder.name if observers.embedder else None)


def _seen(con: duckdb.DuckDBPyConnection, observers: Observers) -> dict[str, pl.Series]:
    return {observer: seen_content(con, observer, version) for observer, version in observers.versions.items()}
