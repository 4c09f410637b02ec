"""Where evaluations of estimators are kept: in a run's folder, or in a folder of their own beside the runs.

The folder of an estimator that was not trained here holds card.json, which says what it is made of, with the SHA-256 of
its files where they lie, and COMMITTED, as a run's does.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agebench import __version__
from agebench.errors import RunError
from agebench.estimators import Estimator
from agebench.estimators.run import RunEstimator
from agebench.files import file_hash, write_whole
from agebench.training.runs import CARD, COMMITTED, changed_in

PACKAGES = ("numpy", "onnxruntime", "opencv-python-headless", "opencv-python")


def keep(estimator: Estimator, runs_dir: Path) -> Path:
    """The folder in which an estimator's evaluations are kept, made if need be.

    Raises RunError if the card that is there was changed.
    """
    if isinstance(estimator, RunEstimator):
        return estimator.path
    folder = runs_dir / estimator.id
    if (folder / COMMITTED).exists():
        if changed := changed_in(folder):
            raise RunError(
                f"{', '.join(changed)} of {folder} changed after the estimator was kept.",
                "Restore it, or remove the folder with its predictions.",
            )
        return folder
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    card: dict[str, Any] = {
        "run": estimator.id,
        "model": estimator.recipe.name,
        "recipe": estimator.recipe.model_dump(mode="json"),
        "estimator": estimator.facts(),
        "versions": {"agebench": __version__} | _versions(),
        "started": now,
        "finished": now,
    }
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    write_whole(folder / CARD, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    write_whole(folder / COMMITTED, f"{file_hash(folder / CARD)}  {CARD}\n".encode())
    return folder


def changed_sources(card: dict[str, Any]) -> list[str]:
    """The files of an estimator that was not trained here that are missing, or differ from what its card says."""
    files = card.get("estimator", {}).get("files", {})
    return [path for path, digest in files.items() if not Path(path).is_file() or file_hash(Path(path)) != digest]


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
