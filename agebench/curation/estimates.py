"""Age estimates that no observer makes: by finished runs, and by models cross-fitted on the release itself.

The manifest is closed while networks compute.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb
import polars as pl

from agebench.curation.settings import Request, Stage, cross_fit_recipe, stored_name
from agebench.errors import NothingCurated
from agebench.estimators import Estimator, Faces
from agebench.faces.crops import crop_records
from agebench.manifest.fingerprints import frame_digest
from agebench.manifest.records import folders_of
from agebench.manifest.renewal import Derived, derivations_made, mark_made
from agebench.manifest.store import get_meta, open_manifest, query
from agebench.recipes import NetworkRecipe, digest

FOLDS = 5


def derive_estimates(manifest: Path, request: Request) -> Derived | None:
    """Estimates by runs and cross-fitted models for faces that they have not estimated yet; the result names all
    estimators with their versions. None if nothing estimates ages."""
    observers = request.observers
    names = {e.name: observers.versions[f"age:{e.name}"] for e in observers.estimators if observers.detector}
    for estimator in request.other_estimators:
        names |= _by_estimator(manifest, estimator, request)
    for name in request.cross_fitted:
        names |= _by_cross_fit(manifest, name, request)
    return Derived(result=hashlib.sha256(repr(sorted(names.items())).encode()).hexdigest()) if names else None


def _by_estimator(manifest: Path, estimator: Estimator, request: Request) -> dict[str, str]:
    """Estimates for faces that an estimator has not estimated yet; {its stored name: version}."""
    name = stored_name(estimator)
    with open_manifest(manifest) as con:
        version = f"{estimator.id} on {get_meta(con, 'detector')}"  # what would estimate otherwise has another id
        rows = unestimated(con, meant_rows(con), name, version)
        dataset, detector, folders = get_meta(con, "dataset") or "", get_meta(con, "detector"), folders_of(con)
    if rows.is_empty():
        return {name: version}
    found = estimator.estimate(
        Faces(rows, folders, dataset, detector, request.workers),
        _named(request.on_stage, "cropping"),
        _named(request.on_stage, f"estimating by {estimator.id}"),
    )
    shares = [None] * len(found.ages) if found.probabilities is None else found.probabilities.tolist()
    estimates = found.records.select("sha256", "face_no").with_columns(
        pl.Series("age", found.ages),
        pl.Series("spread", found.spreads).fill_nan(None),
        pl.Series("probabilities", shares, dtype=pl.List(pl.Float32)),
    )
    with open_manifest(manifest, write=True) as con:
        write_estimates(con, estimates, name, version)
    return {name: version}


def _by_cross_fit(manifest: Path, name: str, request: Request) -> dict[str, str]:
    """Estimates by models trained on this release by the recipe `name`, each of records that it was not trained on;
    {estimator: version}.

    Finished folds are kept in `<manifest>.crossfit/<name>/` until all are done. If records, faces or recipes change,
    all folds start again.
    """
    from agebench.training.crossfit import crossfit  # imports torch, which judging again does not need
    from agebench.training.data import TrainingData
    from agebench.training.splits import TRAIN

    with open_manifest(manifest) as con:
        rows = meant_rows(con)
        dataset, detector, folders = get_meta(con, "dataset") or "", get_meta(con, "detector"), folders_of(con)
        done = derivations_made(con).get(name)
    recipe = cross_fit_recipe(name)
    if isinstance(recipe, NetworkRecipe):
        steps = max(recipe.train.steps, len(rows) * 4 // (5 * recipe.train.batch))
        recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps})})
    labels = frame_digest(rows.select("sha256", "face_no", "age", "group_id", "photograph_id"))
    version = f"{digest(recipe)[:12]}-{labels[:12]} on {detector}"
    if done is not None and done.inputs_hash == version:
        return {name: version}
    if rows["group_id"].n_unique() < 2 * FOLDS:
        raise NothingCurated(
            f"Cross-fitting needs at least {2 * FOLDS} people with a face and an age; {manifest} has "
            f"{rows['group_id'].n_unique()}.",
            "Name another `--estimator`; `agebench ls estimators` lists them.",
        )
    cropped = crop_records(
        rows, folders, dataset=dataset, detector=detector, crop=recipe.crop, workers=request.workers,
        on_progress=_named(request.on_stage, "cropping"),
    )  # fmt: skip
    records = cropped.records.drop("landmarks").with_columns(split=pl.lit(TRAIN), copies=pl.lit(1))
    data = TrainingData.from_records(cropped.pictures, range(len(records)), records)
    advance = _named(request.on_stage, "cross-fitting" if isinstance(recipe, NetworkRecipe) else "extracting features")
    folder = manifest.with_name(manifest.name + ".crossfit") / name
    found = crossfit(
        recipe, data, folder=folder, folds=FOLDS,
        on_progress=None if advance is None else lambda step, of, loss, val_mae: advance(step, of),
    )  # fmt: skip
    estimates = found.select("sha256", records["face_no"], "spread", "probabilities", age="estimate")
    with open_manifest(manifest, write=True) as con:
        write_estimates(con, estimates, name, version, whole=True)
        mark_made(con, name, version)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # another recipe's folds are kept there
        folder.parent.rmdir()
    return {name: version}


def meant_rows(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Every record with a readable picture, a face and a claimed age from 0 to 99, in order: record_id, part, path,
    age, subject_id, group_id, photograph_id, sha256, face_no, x, y, w, h, landmarks."""
    return query(
        con,
        """SELECT record_id, part, path, age, subject_id, group_id, photograph_id, m.sha256, m.face_no, m.x,
                  m.y, m.w, m.h, m.landmarks
           FROM record JOIN meant_face m USING (record_id) LEFT JOIN record_group USING (record_id)
           WHERE age BETWEEN 0 AND 99 ORDER BY record_id""",
    )


def unestimated(con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, estimator: str, version: str) -> pl.DataFrame:
    """The rows (sha256, face_no, …) whose face this version of an estimator has not estimated."""
    seen = query(
        con,
        """SELECT DISTINCT a.sha256, a.face_no FROM age_estimate a JOIN observed o
           ON o.sha256 = a.sha256 AND o.observer = 'age:' || a.estimator WHERE a.estimator = ? AND o.version = ?""",
        [estimator, version],
    )
    return rows.join(seen, on=["sha256", "face_no"], how="anti", maintain_order="left")


def write_estimates(
    con: duckdb.DuckDBPyConnection, rows: pl.DataFrame, estimator: str, version: str, *, whole: bool = False
) -> None:
    """Store an estimator's estimates (sha256, face_no, age, spread, probabilities), replacing its earlier estimates for
    these faces; with `whole`, for all faces."""
    if whole:
        con.execute("DELETE FROM age_estimate WHERE estimator = ?", [estimator])
        con.execute("DELETE FROM observed WHERE observer = ?", [f"age:{estimator}"])
    con.register("incoming_estimates", rows.unique(["sha256", "face_no"], maintain_order=True).to_arrow())
    observer = f"age:{estimator}"
    con.execute(
        "DELETE FROM age_estimate USING incoming_estimates i WHERE age_estimate.sha256 = i.sha256 "
        "AND age_estimate.face_no = i.face_no AND estimator = ?",
        [estimator],
    )
    con.execute(
        "INSERT INTO age_estimate SELECT sha256, face_no, ?, age, spread, probabilities FROM incoming_estimates",
        [estimator],
    )
    con.execute(
        "DELETE FROM observed USING incoming_estimates i WHERE observed.sha256 = i.sha256 AND observer = ?", [observer]
    )
    con.execute("INSERT INTO observed SELECT DISTINCT sha256, ?, ?, NULL FROM incoming_estimates", [observer, version])
    con.unregister("incoming_estimates")


def _named(on_stage: Stage | None, name: str) -> Callable[[int, int], None] | None:
    return None if on_stage is None else lambda done, total: on_stage(name, done, total)
