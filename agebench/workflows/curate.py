"""curate: read the release, observe new pictures, judge."""

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
from agebench.curation.observing.engine import ObserveFiles, Progress, observe, observe_here, pending_files
from agebench.curation.observing.observers import File, Observers
from agebench.curation.observing.parts import fold_parts, known_faces, names_in_parts, one_at_a_time, remove_parts
from agebench.curation.observing.ray_engine import check_ray, observe_on_ray
from agebench.curation.observing.worker import seconds_per_picture, set_up
from agebench.curation.settings import CurateSettings, Stage, resolve_settings
from agebench.manifest import summary
from agebench.manifest.records import known_files, record_names, seen_content, write_records
from agebench.manifest.renewal import DerivationState, derivations_made, forget, renew
from agebench.manifest.store import create, get_meta, open_manifest, set_meta
from agebench.pool import Crashed, run_batches
from agebench.remote import Folder
from agebench.review.decisions import decisions_file
from agebench.review.folding import answers_key, check_answers, describe_answers

OF_LABELS = ("contents", "decisions", "copy_answers", "evidence", "verdicts")  # derived even if no picture is observed
Engine = Literal["local", "ray"]
SAMPLE = 16  # pictures that each worker is timed on


@dataclass(frozen=True)
class CurateReport:
    """What a curation did and found.

    Attributes:
        dataset: Name of the card.
        manifest: The file that was built or renewed.
        recipe: Curation recipe used.
        detector: Face detector used; None if no faces were looked for.
        estimators: Age estimators that checked the claimed ages.
        trains: Whether the card has the role *train*; a test set keeps its labels.
        records: Records of the release.
        observed: Pictures observed by this call.
        reused: Records whose picture was already known.
        unreadable: Records whose picture cannot be read.
        kept: Records with the verdict *keep*.
        review: Records with the verdict *review*, which wait for an answer.
        rejected: Records with the verdict *reject*.
        reasons: Check → number of records that it took.
        not_run: Checks whose observer has not observed any picture.
        seconds: How long it took.
        funnel: One row per check, in order: position, step, verdict, records, status.
        notes: Sentences that the user should see.
    """

    dataset: str
    manifest: Path
    recipe: str
    detector: str | None
    estimators: list[str]
    trains: bool
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
    """What a curation would do. `seconds`: how long observing would take here; None if unknown."""

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
    manifest: str | Path | None = None,
    recipe: str | Path | None = None,
    detector: str | None = None,
    detector_model: str | Path | None = None,
    estimators: Sequence[str | Path] | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_stage: Stage | None = None,
) -> CurateReport:
    """Build or renew the manifest of a dataset and give every record its verdict.

    Costly work is done once: pictures whose content the same observers have seen are not observed again, and derived
    data is recomputed only if its inputs changed.

    Args:
        dataset: Name of a card, or its file.
        root: Folder of the release, or its URL (`s3://bucket/imdb-wiki`); the card's by default.
        manifest: The file to build, `manifests/<dataset>.duckdb` by default.
        recipe: Curation recipe, by name or file; the card's by default.
        detector: A name in the registry, `auto` or `none`; by default the one that the manifest was observed with.
        detector_model: For the detector `insightface`: an ONNX file, or a pack's folder or name.
        estimators: Age estimators that check the claimed ages, instead of the recipe's own list: `ready`, `cross-fit`
            or a model recipe whose name begins so, names in the registry, finished runs by id or folder.
        engine: Where pictures are observed: local processes (`local`) or Ray Data (`ray`); the rows are the same.
        ray_address: The cluster of the engine `ray`; this machine by default.
        workers: Worker processes, one per core by default.
        on_progress: Called with the progress of observing.
        on_stage: Called with the name and progress of every other stage; a total of 0 means unknown.

    Raises:
        UsageError: A name is unknown, or arguments contradict each other.
        RecipeError: The card or the recipe is wrong.
        ReleaseNotFound: There is no release in `root`.
        ReleaseError: The release cannot be read.
        ManifestError: The manifest is damaged or of another dataset.
        ManifestBusy: Another process holds it.
        DecisionError: The file of decisions is damaged or missing.
        Missing: A detector, weights or an extra is not installed.
        Interrupted: Ctrl-C; finished observations are kept.
    """
    began = time.monotonic()
    observe_files = _engine(engine, ray_address)
    s = resolve_settings(
        dataset,
        root=root,
        manifest=manifest,
        recipe=recipe,
        detector=detector,
        detector_model=detector_model,
        estimators=estimators,
    )
    say = on_stage or _say_nothing
    say(f"looking for {len(s.release.records):,} pictures", 0, 0)
    answers = answers_key(s.manifest)
    if s.before is None:
        create(s.manifest, s.card.name)
    else:
        check_answers(s.manifest, s.before, answers)
    with one_at_a_time(s.manifest):
        observed, reused, made = _observe(s, observe_files, workers, on_progress, say)
        say("judging", 0, 0)
        renew(
            s.manifest,
            s.request(workers or os.cpu_count() or 1, on_stage),
            s.facts() | {"answers": answers},
            names=None if s.observers else OF_LABELS,
            made=made,
        )
    with open_manifest(s.manifest) as con:
        counts = summary.counts(con)
        s.notes.extend(describe_answers(json.loads(get_meta(con, "decisions") or "{}"), decisions_file(s.manifest)))
        report = CurateReport(
            dataset=s.card.name,
            manifest=s.manifest,
            recipe=s.recipe.name,
            detector=s.detector,
            estimators=s.estimators,
            trains="train" in s.card.roles,
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
        report.notes.append(f"No picture could be read in {looked}. Name another folder with `--root`.")
        if s.card.name == "imdb-wiki":
            report.notes[-1] += " `--recipe imdb-wiki-dir` uses only the labels and the release's own face scores."
    return dataclasses.replace(report, seconds=round(time.monotonic() - began, 3))


def _observe(
    s: CurateSettings,
    observe_files: ObserveFiles,
    workers: int | None,
    on_progress: Callable[[Progress], None] | None,
    say: Stage,
) -> tuple[int, int, dict[str, DerivationState] | None]:
    """Write the release's records and observe new pictures.

    Returns (pictures observed, records whose picture was already known, state of the derivations or None if pictures
    were observed). Every step reads what an earlier transaction committed (see `manifest.renewal.renew`).
    """
    with open_manifest(s.manifest, write=True) as con:
        leftover = fold_parts(con, s.manifest)
        before, root = len(record_names(con)), get_meta(con, "root")
        if root is not None and before != len(s.release.records):
            s.notes.append(
                f"The manifest had {before:,} records from {root}; it now has {len(s.release.records):,} from "
                f"{s.root.resolve()}. Earlier observations are kept."
            )
        write_records(con, s.release.records, s.release.folders)
        set_meta(con, card_digest=recipes.digest(s.card), agebench_version=agebench.__version__)
        set_meta(con, root=str(s.root.resolve()), recipe_place=s.recipe_place, estimators_asked=s.estimators_asked)
        if s.observers:  # without any, the manifest still names the detector of an earlier run
            _record_observers(con, s.observers)
    remove_parts(s.manifest, leftover)
    with open_manifest(s.manifest) as con:
        made = derivations_made(con)
        if s.observers is None:
            return 0, 0, made
        files, reused = pending_files(known_files(con), s.release.folders, _seen(con, s.observers))
        faces = known_faces(con, files.drop_nulls("sha256"))
    if files.is_empty():
        return 0, reused, made
    if lost := files["fault"].count():
        say(f"{lost:,} of {len(s.release.records):,} files are missing or cannot be read", 0, 0)
    files = files.drop("faces").join(faces, on="sha256", how="left", maintain_order="left").select(File._fields)
    observe(
        files, s.release.folders, s.manifest, observers=s.observers, workers=workers, observe_files=observe_files,
        on_progress=on_progress,
    )  # fmt: skip
    with open_manifest(s.manifest, write=True) as con:
        folded = fold_parts(con, s.manifest)
    remove_parts(s.manifest, folded)
    return len(files), reused, None


def forecast(
    dataset: str,
    *,
    root: str | Folder | None = None,
    manifest: str | Path | None = None,
    recipe: str | Path | None = None,
    detector: str | None = None,
    detector_model: str | Path | None = None,
    estimators: Sequence[str | Path] | None = None,
    engine: Engine = "local",
    ray_address: str | None = None,
    workers: int | None = None,
    on_stage: Stage | None = None,
) -> CurateForecast:
    """What `curate` would do and how long it would take, estimated on a few pictures. Writes nothing."""
    _engine(engine, ray_address)
    s = resolve_settings(
        dataset,
        root=root,
        manifest=manifest,
        recipe=recipe,
        detector=detector,
        detector_model=detector_model,
        estimators=estimators,
    )
    records = s.release.records
    observers = s.observers or Observers()
    if s.manifest.exists():
        with open_manifest(s.manifest) as con:
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
        if on_stage:
            on_stage("timing a few pictures", 0, 0)
        # As many workers as will observe: they share memory and cores, and each detector has one thread.
        processes = min(workers or os.cpu_count() or 1, len(readable))
        some = readable[:: max(1, len(readable) // (SAMPLE * processes))]
        samples = [some[i::processes][:SAMPLE] for i in range(processes)]
        timed = run_batches(
            seconds_per_picture, samples, workers=processes, setup=set_up,
            setup_args=(dict(s.release.folders), observers),
        )  # fmt: skip
        rates = [rate for rate in timed if not isinstance(rate, Crashed)]
        if rates:
            seconds = sum(rates) / len(rates) * len(readable) / processes
    if s.cross_fitted:
        s.notes.append(
            f"{', '.join(s.cross_fitted)} then trains on the release itself: minutes more, not counted here."
        )
    if ray_address and workers is None and engine == "ray":
        seconds = None  # the number of the cluster's cores is unknown
    return CurateForecast(
        s.card.name, s.manifest, s.recipe.name, s.detector, engine, len(records), len(files), seconds, s.notes
    )


def _say_nothing(stage: str, done: int, total: int) -> None:
    pass


def _engine(engine: Engine, ray_address: str | None) -> ObserveFiles:
    if engine == "local":
        return observe_here
    check_ray()
    return partial(observe_on_ray, address=ray_address)


def _record_observers(con: duckdb.DuckDBPyConnection, observers: Observers) -> None:
    """Record the observers. A new detector deletes the old verdicts: if this run is killed, none rest on old faces."""
    detector = observers.detector
    name = detector.name if detector else None
    if get_meta(con, "detector") != name:
        forget(con, ["verdicts"])
    set_meta(con, detector=name, detector_choice=json.dumps(dataclasses.asdict(detector) if detector else None))
    set_meta(con, embedder=observers.embedder.name if observers.embedder else None)


def _seen(con: duckdb.DuckDBPyConnection, observers: Observers) -> dict[str, pl.Series]:
    return {observer: seen_content(con, observer, version) for observer, version in observers.versions.items()}
