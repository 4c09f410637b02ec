"""What `curate` derives of many observations together, before it judges: copies, identities, groups, suspect labels.

Each is made anew only where what it is made of has changed. Every step reads what an earlier transaction committed (see
`curate`), and nobody holds the manifest while networks compute.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from agebench.curate.duplicates import near_duplicates
from agebench.curate.estimates import (
    embedding_rows,
    estimate_rows,
    meant_rows,
    picture_rows,
    unestimated,
    write_estimates,
)
from agebench.curate.groups import connect_groups
from agebench.curate.identities import age_offsets, find_identities
from agebench.curate.observing import measures
from agebench.curate.observing.observers import Observers
from agebench.curate.suspicion import label_suspicion
from agebench.errors import NothingCurated
from agebench.faces.crops import crop_records
from agebench.faces.embedders import EmbedderChoice
from agebench.manifest.derived import is_current, state, write_derived
from agebench.manifest.fingerprints import content_digest, picture_fingerprint
from agebench.manifest.records import folders_of
from agebench.manifest.store import get_meta, open_manifest, set_meta
from agebench.recipes import digest, load_model_recipe
from agebench.train.runs import Run

Stage = Callable[[str, int, int], None]


CROSS_FIT = "cross-fit"  # estimator, recipe, and the name for it on the command line


FOLDS = 5


SUSPICION = 7  # raise when suspicion, identities or copies are derived otherwise: they are made anew then


def fingerprint_pictures(manifest: Path) -> None:
    """Fingerprint the contents of all records, where they have changed since that was done."""
    with open_manifest(manifest, write=True) as con:
        if get_meta(con, "picture_fingerprint") is None or get_meta(con, "content_digest") is None:
            set_meta(con, picture_fingerprint=picture_fingerprint(con), content_digest=content_digest(con))


def derive(
    manifest: Path,
    observers: Observers,
    runs: Sequence[Run],
    *,
    cross_fit: bool,
    workers: int,
    on_stage: Stage | None = None,
) -> None:
    """Bring all derived tables of a manifest up to date. Raises what cropping and predicting raise, and Interrupted."""
    _copies(manifest)
    with open_manifest(manifest, write=True) as con:
        if not is_current(con, "groups", state(con)):
            connect_groups(con)
            set_meta(con, **{"derived:groups": state(con)})
    _identities(manifest, observers.embedder)
    names = {e.name: observers.versions[f"age:{e.name}"] for e in observers.estimators if observers.detector}
    for run in runs:
        names |= _by_run(manifest, run, workers, on_stage)
    if cross_fit:
        names |= _by_cross_fit(manifest, workers, on_stage)
    _suspicion(manifest, names)


def _copies(manifest: Path) -> None:
    """Which records show the same photograph."""
    with open_manifest(manifest) as con:
        made_of = f"{state(con)}:{measures.VERSION}:{SUSPICION}"
        if is_current(con, "copies", made_of):
            return
        pictures = picture_rows(con)
    found = near_duplicates(pictures)
    with open_manifest(manifest, write=True) as con:
        write_derived(con, "copies", "near_copy", found, made_of)
        set_meta(con, **{"derived:groups": None})


def _identities(manifest: Path, embedder: EmbedderChoice | None) -> None:
    """Which face is the subject's, where faces were embedded."""
    if embedder is None:
        with open_manifest(manifest, write=True) as con:
            if get_meta(con, "derived:identities") is not None:
                write_derived(con, "identities", "identity", None, None)
        return
    with open_manifest(manifest) as con:
        made_of = f"{state(con)}:{get_meta(con, 'detector')}:{embedder.name}:{embedder.version}:{SUSPICION}"
        if is_current(con, "identities", made_of):
            return
        faces = embedding_rows(con, embedder.name)
    found = find_identities(faces, same_person=embedder.same_person)
    rows = found.filter((pl.col("identity_pictures") > 0) & (pl.col("identity_faces") > 0)).select(
        "record_id", face_no="identity_face_no", distance="identity_distance", bound="identity_bound",
        pictures="identity_pictures",
    )  # fmt: skip
    with open_manifest(manifest, write=True) as con:
        write_derived(con, "identities", "identity", rows, made_of)


def _by_run(manifest: Path, run: Run, workers: int, on_stage: Stage | None) -> dict[str, str]:
    """Estimates of a finished run for the faces that it has not seen; {estimator: version}."""
    from agebench.train.inference import predict_ages, spread  # torch, which judging again does not need

    name = f"run:{run.id}"
    with open_manifest(manifest) as con:
        version = f"{digest(run.recipe)[:12]} on {get_meta(con, 'detector')}"  # a run's weights never change
        rows = unestimated(con, meant_rows(con), name, version)
        dataset, detector, folders = get_meta(con, "dataset") or "", get_meta(con, "detector"), folders_of(con)
    if rows.is_empty():
        return {name: version}
    cropped = crop_records(
        rows, folders, dataset=dataset, detector=detector, crop=run.recipe.crop, workers=workers,
        on_progress=_named(on_stage, "cropping"),
    )  # fmt: skip
    ages, probabilities = predict_ages(
        run, cropped.pictures, range(len(cropped.records)), on_progress=_named(on_stage, f"estimating by {run.id}")
    )
    estimates = cropped.records.select("sha256", "face_no").with_columns(
        pl.Series("age", ages.astype(np.float64)),
        pl.Series("spread", spread(probabilities)),
        pl.Series("probabilities", probabilities.astype(np.float32).tolist(), dtype=pl.List(pl.Float32)),
    )
    with open_manifest(manifest, write=True) as con:
        write_estimates(con, estimates, name, version)
    return {name: version}


def _by_cross_fit(manifest: Path, workers: int, on_stage: Stage | None) -> dict[str, str]:
    """Estimates by networks trained on this very release, each of what it was not trained on; {estimator: version}.

    Finished folds lie in `<manifest>.crossfit/` until all are done. Changed records, faces or recipes mean all anew.
    """
    from agebench.train.crossfit import crossfit  # torch, which judging again does not need
    from agebench.train.data import TrainingData

    with open_manifest(manifest) as con:
        rows = meant_rows(con)
        dataset, detector, folders = get_meta(con, "dataset") or "", get_meta(con, "detector"), folders_of(con)
        done = get_meta(con, f"derived:{CROSS_FIT}")
    recipe = load_model_recipe(CROSS_FIT)
    steps = max(recipe.train.steps, len(rows) * 4 // (5 * recipe.train.batch))
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps})})
    labels = rows.select("sha256", "face_no", "age", "group_id").hash_rows(seed=0).to_numpy().tobytes()
    version = f"{digest(recipe)[:12]}-{hashlib.sha256(labels).hexdigest()[:12]} on {detector}"
    if done == version:
        return {CROSS_FIT: version}
    if rows["group_id"].n_unique() < 2 * FOLDS:
        raise NothingCurated(
            f"Cross-fitting needs at least {2 * FOLDS} people with a face and an age; {manifest} has "
            f"{rows['group_id'].n_unique()}.",
            "Name another `--estimator`; `agebench ls estimators` lists them.",
        )
    cropped = crop_records(
        rows, folders, dataset=dataset, detector=detector, crop=recipe.crop, workers=workers,
        on_progress=_named(on_stage, "cropping"),
    )  # fmt: skip
    records = cropped.records.drop("landmarks").with_columns(copies=pl.lit(1))
    data = TrainingData.from_records(cropped.pictures, range(len(records)), records)
    advance = _named(on_stage, "cross-fitting")
    folder = manifest.with_name(manifest.name + ".crossfit")
    found = crossfit(
        recipe, data, folder=folder, folds=FOLDS,
        on_progress=None if advance is None else lambda step, of, loss, rate: advance(step, of),
    )  # fmt: skip
    estimates = found.select("sha256", records["face_no"], "spread", "probabilities", age="estimate")
    with open_manifest(manifest, write=True) as con:
        write_estimates(con, estimates, CROSS_FIT, version, whole=True)
        set_meta(con, **{f"derived:{CROSS_FIT}": version})
    shutil.rmtree(folder, ignore_errors=True)
    return {CROSS_FIT: version}


def _suspicion(manifest: Path, names: dict[str, str]) -> None:
    """How suspect each claimed age is, by all estimators together, and how a subject's pictures agree."""
    if not names:
        with open_manifest(manifest, write=True) as con:
            if get_meta(con, "derived:ages") is not None:
                write_derived(con, "ages", "suspicion", None, None)
                write_derived(con, "offsets", "age_offset", None, None)
        return
    with open_manifest(manifest) as con:
        parts = (state(con), get_meta(con, "derived:identities"), get_meta(con, "detector"), *sorted(names.items()))
        made_of = hashlib.sha256(repr((parts, SUSPICION)).encode()).hexdigest()
        if is_current(con, "ages", made_of):
            return
        rows = estimate_rows(con, sorted(names))
    suspect = label_suspicion(rows)
    recognised = rows.filter("recognised").select("record_id", "subject_id", "sha256", "age").unique("record_id")
    offsets = age_offsets(recognised.join(suspect.select("record_id", estimated="suggested_age"), on="record_id"))
    with open_manifest(manifest, write=True) as con:
        write_derived(con, "ages", "suspicion", suspect, made_of)
        write_derived(con, "offsets", "age_offset", offsets, made_of)


def _named(on_stage: Stage | None, name: str) -> Callable[[int, int], None] | None:
    return None if on_stage is None else lambda done, total: on_stage(name, done, total)
