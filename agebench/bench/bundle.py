"""A bundle: the tables with all that their numbers come from but pictures and weights, so that others can check them.

`tables.json`, `tables.md`, `bundle.json` (what was asked, versions of all packages), `runs/<id>/` with card,
COMMITTED, training log and predictions, and `SHA256SUMS`, in the form that `sha256sum --check` reads.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agebench import __version__
from agebench.bench.render import render
from agebench.bench.report import Report, report, verified_predictions
from agebench.bench.tables import Table, tables_json
from agebench.errors import AgebenchError, Missing, RunError, StorageError, UsageError
from agebench.files import file_hash, read_file
from agebench.training.log import METRICS
from agebench.training.run_cards import RUNS
from agebench.training.runs import CARD, COMMITTED, changed_in, list_evaluated

SUMS, FACTS, TABLES = "SHA256SUMS", "bundle.json", "tables.json"
PARTS = (CARD, COMMITTED, METRICS)


@dataclass(frozen=True)
class Bundle:
    """A bundle that was written. files: relative to its folder. digest: SHA-256 of its SHA256SUMS."""

    folder: Path
    runs: list[str]
    files: list[str]
    digest: str


@dataclass(frozen=True)
class BundleCheck:
    """A sentence for each thing that was verified, and for each that is wrong; digest: SHA-256 of its SHA256SUMS."""

    verified: list[str]
    problems: list[str]
    digest: str


def write_bundle(
    folder: Path, tables: Sequence[int] | None = None, *, runs: str | Path = RUNS, without_leaks: bool = False
) -> Bundle:
    """Write the tables and what they come from into a new folder.

    Raises UsageError if the folder exists and is not empty, or there is no such table; Missing if no number was
    measured; StorageError if it cannot be written. Then there is no folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists already.", "Name a new folder with `--bundle`.")
    found = report(tables, runs=runs, without_leaks=without_leaks)
    used = _runs_in(found.tables)
    if not used:
        raise Missing("The tables have no measured number yet.", "`agebench evaluate` measures one.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
            place = Path(made) / "bundle"
            for name in used:
                _copy_run(Path(runs) / name, place / "runs" / name)
            (place / TABLES).write_text(_as_json(found), encoding="utf-8")
            (place / "tables.md").write_text(render(found.tables, "markdown"), encoding="utf-8")
            facts = {"tables": [table.number for table in found.tables], "without_leaks": without_leaks}
            (place / FACTS).write_text(json.dumps(facts | _environment(), indent=2) + "\n", encoding="utf-8")
            files = [str(path.relative_to(place)) for path in _files(place)]
            sums = "".join(f"{file_hash(place / name)}  {name}\n" for name in files)
            (place / SUMS).write_text(sums, encoding="utf-8")
            if folder.exists():
                folder.rmdir()
            place.rename(folder)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written: {error}.", "Name another folder with `--bundle`.") from error
    return Bundle(folder, used, files, file_hash(folder / SUMS))


def verify_bundle(folder: Path) -> BundleCheck:
    """Hash every file of a bundle, recompute every measured number from the predictions, and build the tables again.

    Raises Missing if the folder is not a bundle, RunError if what lists its files cannot be read.
    """
    if not (folder / SUMS).is_file():
        raise Missing(f"{folder} is not a bundle: it has no {SUMS}.", "`agebench report --bundle DIR` writes one.")
    try:
        lines = read_file(folder / SUMS).decode().splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        facts = json.loads(read_file(folder / FACTS))
        tables, without_leaks = list(facts["tables"]), bool(facts["without_leaks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder} cannot be read: {error}.", "Ask for the bundle again.") from error
    problems = [f"{name} is missing" for name in sums if not (folder / name).is_file()]
    problems += [
        f"{name} was changed" for name, digest in sums.items()
        if (folder / name).is_file() and file_hash(folder / name) != digest
    ]  # fmt: skip
    here = {str(path.relative_to(folder)) for path in _files(folder)} - {SUMS}
    problems += [f"{name} is not listed in {SUMS}" for name in sorted(here - sums.keys())]
    verified = [] if problems else [f"{len(sums)} files are as {SUMS} says"]
    for good, text in _numbers(folder):
        (verified if good else problems).append(text)
    try:
        again = report(tables, runs=folder / "runs", without_leaks=without_leaks)
        same = json.loads(_as_json(again)) == json.loads(read_file(folder / TABLES))
        (verified if same else problems).append(
            f"{TABLES} " + ("follows from the predictions" if same else "is not what the predictions give")
        )
    except (AgebenchError, OSError, ValueError) as error:
        problems.append(f"The tables cannot be built: {error}")
    return BundleCheck(verified, problems, file_hash(folder / SUMS))


def _numbers(folder: Path) -> Iterator[tuple[bool, str]]:
    """Whether each run's files, as far as they are in the bundle, and its numbers are what they were."""
    for listed in list_evaluated(folder / "runs"):
        if changed := changed_in(listed.path, PARTS):
            yield False, f"{listed.id}: {', '.join(changed)} changed, or missing, since the run was completed"
        yield from verified_predictions(listed)


def _runs_in(tables: Sequence[Table]) -> list[str]:
    cells = [cell for table in tables for row in table.rows for cell in row.cells.values() if cell is not None]
    return sorted({run for cell in cells for run in cell.runs})


def _copy_run(source: Path, target: Path) -> None:
    target.mkdir(parents=True)
    for name in PARTS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    shutil.copytree(source / "predictions", target / "predictions")


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _as_json(found: Report) -> str:
    return json.dumps(tables_json(found.tables), indent=2, ensure_ascii=False) + "\n"


def _environment() -> dict[str, Any]:
    packages = {dist.name: dist.version for dist in importlib.metadata.distributions() if dist.name}
    return {
        "agebench": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": dict(sorted(packages.items())),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
