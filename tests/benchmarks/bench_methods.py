"""The classical methods beside plain scikit-learn on the same features and the same pictures.

Chips of UTKFace (the test data's, or those in the folder that is named) are cropped as for training, one of each
photograph; 2,000 train and 500 test by default. Counterparts: `StandardScaler` and `SVR` with scikit-learn's defaults,
the same with the best of a grid by three-fold cross-validation, and `RidgeCV`.

    python tests/benchmarks/bench_methods.py [--train 2000] [--test 500] [--pictures FOLDER] [METHOD …]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from agebench.faces.crops import crop_records
from agebench.manifest.records import folders_of
from agebench.manifest.store import get_meta, open_manifest
from agebench.recipes import MethodRecipe, load_model_recipe
from agebench.training.features import Faces, extract
from agebench.training.fitting import fit_faces
from agebench.training.inference import predict_faces
from agebench.training.rows import training_rows
from agebench.workflows.curate import curate

Fit = Callable[[NDArray[Any], NDArray[Any]], Any]
GRID = {"svr__C": [1, 10, 100], "svr__epsilon": [0.1, 1.0]}
METHODS = ("ridge", "svr", "ca-svr", "ohrank", "dif")
PLAIN: dict[str, Fit] = {
    "SVR, defaults": lambda x, y: make_pipeline(StandardScaler(), SVR()).fit(x, y),
    "SVR, grid": lambda x, y: GridSearchCV(make_pipeline(StandardScaler(), SVR()), GRID, cv=3, n_jobs=-1).fit(x, y),
    "RidgeCV": lambda x, y: make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 6))).fit(x, y),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--train", type=int, default=2000)
    parser.add_argument("--test", type=int, default=500)
    shared = Path(os.environ.get("AGEBENCH_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    parser.add_argument("--pictures", type=Path, default=shared / "utkface")
    asked = parser.parse_args()
    if not asked.pictures.is_dir():
        print(f"no pictures in {asked.pictures}")
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        curate("utkface", root=asked.pictures, manifest=Path("utkface.duckdb"))
        measure(asked.methods, Path("utkface.duckdb"), asked.train, asked.test)


def measure(methods: list[str], manifest: Path, n_train: int, n_test: int) -> None:
    recipes = {name: load_model_recipe(name) for name in methods}
    with open_manifest(manifest) as con:
        rows, folders, detector = training_rows(con), folders_of(con), get_meta(con, "detector")
    rows = rows.unique("photograph_id", keep="first", maintain_order=True)
    rows = rows.sample(n_train + n_test, seed=0, shuffle=True)
    plain: dict[tuple[str, int], None] = {}
    for name, recipe in recipes.items():
        assert isinstance(recipe, MethodRecipe)
        crop = recipe.crop
        cropped = crop_records(rows, folders, dataset="utkface", detector=detector, crop=crop)
        ages = cropped.records["age"].cast(int).to_numpy()
        faces = Faces(cropped.pictures, np.arange(len(ages)))
        train, test = faces.take(np.arange(n_train)), faces.take(np.arange(n_train, len(ages)))
        truth = ages[n_train:]
        feature = str(recipe.method.model_dump().get("features", "bif"))
        if (feature, crop.size) not in plain:
            plain[feature, crop.size] = None
            x, y = extract(feature, train), extract(feature, test)
            median = np.abs(np.median(ages[:n_train]) - truth).mean()
            print(f"{feature}: {x.shape[1]:,} numbers a face; the training median is {median:.2f} years off")
            for title, fit in PLAIN.items():
                began = time.perf_counter()
                error = np.abs(fit(x, ages[:n_train]).predict(y) - truth).mean()
                print(f"{feature}: {title:>14} {error:6.2f} years, {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        trained = fit_faces(recipe, train, ages[:n_train], folder=Path(name), seed=0)
        found, _ = predict_faces(recipe, trained.weights, test)
        print(f"{feature}: {name:>14} {np.abs(found - truth).mean():6.2f} years, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
