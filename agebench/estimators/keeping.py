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
from agebench.files import file_hash, read_file, write_whole
from agebench.recipes import TableRow
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
    begin(folder, estimator.recipe, estimator.facts() | {"called": estimator.called})
    commit(folder)
    return folder


def begin(folder: Path, recipe: TableRow, facts: dict[str, Any], **more: Any) -> None:
    """Make the folder of an estimator with its card. more: further keys of the card."""
    card: dict[str, Any] = {
        "run": folder.name,
        "model": recipe.name,
        "recipe": recipe.model_dump(mode="json"),
        "estimator": facts,
        **more,
        "versions": {"agebench": __version__} | _versions(),
        "started": _now(),
    }
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    _write(folder, card)


def commit(folder: Path) -> None:
    """Mark an estimator's folder as complete."""
    _write(folder, json.loads(read_file(folder / CARD)) | {"finished": _now()})
    write_whole(folder / COMMITTED, f"{file_hash(folder / CARD)}  {CARD}\n".encode())


def _write(folder: Path, card: dict[str, Any]) -> None:
    write_whole(folder / CARD, (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
