"""Run folders: one training each. Files are written atomically; a run is complete once `COMMITTED` exists.

`runs/<id>/`: weights.safetensors, card.json, metrics.jsonl, records.parquet, checkpoint/ while training, predictions/,
and COMMITTED, which holds the SHA-256 of each file in the form that `sha256sum --check` reads.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import platform
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from agebench import __version__
from agebench.errors import Missing, NothingCurated, RunError, StorageError, UsageError, nearest
from agebench.files import file_hash, read_file, write_whole
from agebench.recipes import ModelRecipe, NetworkRecipe, digest, model_recipe_kind
from agebench.training.log import METRICS
from agebench.training.run_lock import COMMITTED, alone

if TYPE_CHECKING:  # listing runs must not wait seconds for torch
    import polars as pl
    import torch
    from lightning_fabric import Fabric
    from torch import nn

    from agebench.training.data import TrainingData
    from agebench.training.loop import Examples, Progress
    from agebench.training.predict import FaceAge

WEIGHTS, CARD, RECORDS = "weights.safetensors", "card.json", "records.parquet"
HASHED = (WEIGHTS, CARD, RECORDS, METRICS)
CANNOT_WRITE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR}


@dataclass(frozen=True)
class Run:
    """A complete run.

    Attributes:
        id: Model, date and a short hash.
        path: Its folder.
        card: What `card.json` says: recipe, provenance of the data, seed, versions, hardware, times.
        recipe: Its model recipe as resolved at training.
    """

    id: str
    path: Path
    card: dict[str, Any]
    recipe: ModelRecipe

    @property
    def metrics(self) -> pl.DataFrame:
        """The training log, one row per line of `metrics.jsonl`: step, loss, rate, pictures_per_second, and val_mae
        (years) at validations. Empty for a classical method, which has no steps. Raises RunError if the file is
        damaged."""
        import polars as pl

        if not isinstance(self.recipe, NetworkRecipe):
            return pl.DataFrame(schema={"step": pl.Int64, "loss": pl.Float64, "rate": pl.Float64})
        path = self.path / METRICS
        try:
            return pl.read_ndjson(io.BytesIO(read_file(path)), infer_schema_length=None)
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{path} cannot be read: {reason}.", "Restore it, or train again.") from error

    def predict(self, pictures: Sequence[str | Path] | str | Path) -> list[FaceAge]:
        """Ages of every face of every picture (see `agebench.predict`)."""
        from agebench.training.predict import predict

        return predict(pictures, self)


@dataclass(frozen=True)
class Listed:
    """A folder as `list_runs` finds it; the card is empty if it cannot be read.

    trained: whether it is a run; if not, it holds the evaluations of an estimator that was not trained here.
    """

    id: str
    path: Path
    complete: bool
    card: dict[str, Any]

    @property
    def trained(self) -> bool:
        return "estimator" not in self.card


def train_run(
    recipe: ModelRecipe,
    data: TrainingData,
    *,
    runs_dir: Path,
    seed: int = 0,
    provenance: dict[str, Any] | None = None,
    resume: bool = False,
    on_progress: Progress | None = None,
    fabric: Fabric | None = None,
    holder: str | None = None,
) -> Run:
    """Train `recipe` on `data` in a new folder of `runs_dir`, or continue the newest unfinished run of the same
    recipe, seed and records (`resume`). A classical method is fitted at once, and starts again when it is resumed.

    provenance: what the caller knows of the data (manifest and plan fingerprints), kept in the card as it is.
    fabric: where and how to compute; one process on the best device, in the recipe's precision, by default.
    holder: the process that is named as training the run, as `this_process()`; this one by default.
    Raises Missing if there is nothing to resume, NothingCurated if there is nothing to train on, RecipeError if the
    pictures have another size, RunError if training diverges or the device has not enough memory,
    Interrupted at Ctrl-C, StorageError.
    """
    from safetensors.torch import save

    from agebench.training.data import check_size
    from agebench.training.fitting import fit_recipe, start_fabric
    from agebench.training.loop import Examples
    from agebench.training.pretrained import pretrained_of
    from agebench.training.splits import LEFT_OUT, TRAIN, VALIDATION, largest_group

    check_size(data.pictures, int(data.rows[0]), recipe.crop.size)
    pretrained = pretrained_of(recipe) if isinstance(recipe, NetworkRecipe) else None
    fabric = fabric or start_fabric(recipe)
    train = Examples.drawn_by(recipe, data, data.on_side(TRAIN))
    validation = Examples.of(data, data.on_side(VALIDATION))
    if not train.copies.any():
        raise NothingCurated(
            "No record is left to train on.", "Lower train.validation or train.distrust, or curate more records."
        )
    identity = _identity(recipe, data, seed)
    with _storage(runs_dir):
        place = _unfinished if resume else _new_folder
        folder = fabric.broadcast(place(runs_dir, recipe, identity) if fabric.is_global_zero else runs_dir)
        with alone(folder, holder) if fabric.is_global_zero else nullcontext():
            card: dict[str, Any] = {
                "run": folder.name,
                "model": recipe.name,
                "recipe": recipe.model_dump(mode="json"),
                **identity,
                "provenance": provenance or {},
                "train_records": int((train.copies > 0).sum()),
                "validation_records": len(validation.rows),
                "left_out_records": int((data.records["split"] == LEFT_OUT).sum()),
                "largest_group": largest_group(data.records),
                "draws_per_epoch": int(train.copies.sum()),
                "classes": _classes(train),
                "steps": recipe.train.steps if isinstance(recipe, NetworkRecipe) else None,
                "pretrained": pretrained.facts() if pretrained else None,
                "versions": _versions(),
                "hardware": _hardware(fabric),
                "started": _now(),
                "finished": None,
            }
            if (folder / CARD).exists():
                card["started"] = _read_card(folder)["started"]
            if fabric.is_global_zero:
                data.records.write_parquet(table := io.BytesIO())
                write_whole(folder / RECORDS, table.getbuffer())
                _write_json(folder / CARD, card)
            trained = fit_recipe(
                recipe, train, validation, folder=folder, seed=seed, fabric=fabric, on_progress=on_progress
            )
            if fabric.is_global_zero:
                write_whole(folder / WEIGHTS, save(trained.weights))
                card["calibration"] = _calibration(recipe, trained.weights, validation, fabric)
                card |= {"finished": _now(), "seconds": round(trained.seconds, 3), "val_mae": trained.val_mae}
                card |= {"steps": trained.steps, "weights_of_step": trained.weights_of}
                _write_json(folder / CARD, card)
                (folder / "predictions").mkdir(exist_ok=True)
                shutil.rmtree(folder / "checkpoint", ignore_errors=True)
                made = [name for name in HASHED if (folder / name).exists()]
                sums = "".join(f"{file_hash(folder / name)}  {name}\n" for name in made)
                write_whole(folder / COMMITTED, sums.encode())
        fabric.barrier()
    return load_run(folder)


def _calibration(
    recipe: ModelRecipe, weights: dict[str, torch.Tensor], validation: Examples, fabric: Fabric
) -> dict[str, Any] | None:
    """The temperature of the network's probabilities, and the validation records that it was found on; None without
    probabilities or records."""
    from agebench.training.calibrate import find_temperature
    from agebench.training.features import Faces
    from agebench.training.inference import predict_faces

    if not isinstance(recipe, NetworkRecipe) or not len(validation.rows):
        return None
    _, shares = predict_faces(recipe, weights, Faces(validation.pictures, validation.rows), device=fabric.device)
    if shares is None:
        return None
    return {"temperature": round(find_temperature(shares, validation.ages), 4), "records": len(validation.rows)}


def _classes(train: Examples) -> dict[str, list[int]]:
    """Records and draws of each age from 0 to 99 in an epoch."""
    import numpy as np

    records = np.bincount(train.ages, minlength=100)
    draws = np.bincount(train.ages, train.copies, minlength=100).astype(np.int64)
    return {"records": records.tolist(), "draws": draws.tolist()}


def load_run(path: Path) -> Run:
    """The complete run in a folder.

    Raises:
        Missing: There is no such folder.
        RunError: The run is unfinished, its card or recipe is damaged or changed, or its weights do not fit.
    """
    if not path.is_dir():
        raise Missing(f"There is no run in {path}.", "`agebench status` lists the runs; `agebench train` makes one.")
    if not (path / COMMITTED).exists():
        raise RunError(
            f"The run {path} is unfinished: it has no {COMMITTED}.",
            "`agebench status` names the command that continues it.",
        )
    card = _read_card(path)
    if committed_hashes(path).get(CARD) != file_hash(path / CARD):
        raise RunError(f"{path / CARD} was changed after the run was completed.", "Restore it, or train again.")
    try:
        facts = card.get("recipe") or {}
        recipe = model_recipe_kind(path, facts).model_validate(facts)
    except ValidationError as error:
        raise RunError(
            f"The recipe in {path / CARD} is not valid in this version: {error.errors()[0]['msg']}.",
            "Read it with the agebench version that the card names, or train again.",
        ) from error
    _check_weights(path / WEIGHTS, recipe)
    return Run(path.name, path, card, recipe)


def list_runs(runs_dir: Path) -> list[Listed]:
    """Every run folder, unfinished ones too, ordered by start. An empty list if the folder does not exist."""
    return [listed for listed in list_evaluated(runs_dir) if listed.trained]


def list_evaluated(runs_dir: Path) -> list[Listed]:
    """Every run folder, and every folder of an estimator that was not trained here, ordered by start."""
    listed = []
    for path in sorted(runs_dir.iterdir()) if runs_dir.is_dir() else []:
        if not path.is_dir() or not ((path / CARD).exists() or (path / COMMITTED).exists()):
            continue
        try:
            card = _read_card(path)
        except RunError:
            card = {}
        listed.append(Listed(path.name, path, (path / COMMITTED).exists() and bool(card), card))
    return sorted(listed, key=lambda run: (str(run.card.get("started", "")), run.id))


def find_run(name_or_path: str, runs_dir: Path) -> Run:
    """A run by its folder, its id, a unique start of an id, or a model's name (its newest complete run).

    Raises UsageError with the nearest ids if there is none, and what `load_run` raises.
    """
    if Path(name_or_path).is_dir() and (Path(name_or_path) / CARD).exists():
        return load_run(Path(name_or_path))
    listed = list_runs(runs_dir)
    fitting = [run for run in listed if run.id == name_or_path]
    fitting = fitting or [run for run in listed if run.complete and run.card.get("model") == name_or_path][-1:]
    fitting = fitting or [run for run in listed if run.id.startswith(name_or_path)]
    if len(fitting) == 1:
        return load_run(fitting[0].path)
    if not listed:
        raise Missing(f"There are no runs in {runs_dir}.", "`agebench train` makes one.")
    if fitting:
        raise UsageError(f"'{name_or_path}' matches {len(fitting)} runs: {', '.join(run.id for run in fitting)}.")
    raise UsageError(f"There is no run '{name_or_path}' in {runs_dir}. {nearest(name_or_path, [r.id for r in listed])}")


def load_weights(run: Run) -> dict[str, torch.Tensor]:
    """A network's weights, or the arrays that a method was fitted to. Raises RunError if they were changed."""
    from safetensors.torch import load_file

    if WEIGHTS in changed_files(run):
        raise RunError(f"{run.path / WEIGHTS} was changed after the run was completed.", "Restore it, or train again.")
    return load_file(run.path / WEIGHTS)


def load_network(run: Run, device: torch.device | str = "cpu") -> nn.Module:
    """The run's network with its weights, in evaluation mode.

    Raises RunError if they were changed, or if the run is of a classical method.
    """
    from agebench.training.networks import trained_network

    if not isinstance(run.recipe, NetworkRecipe):
        raise RunError(f"{run.id} is a run of {run.recipe.name}, which has no network.")
    return trained_network(run.recipe.network, load_weights(run), device)


def changed_files(run: Run) -> list[str]:
    """The files of a complete run that are missing or differ from their hashes in `COMMITTED`."""
    return changed_in(run.path)


def changed_in(folder: Path, only: Collection[str] | None = None) -> list[str]:
    """The files of a folder, or those in `only`, that are missing or differ from their hashes in `COMMITTED`."""
    sums = {name: sha256 for name, sha256 in committed_hashes(folder).items() if only is None or name in only}
    return [name for name, sha256 in sums.items() if not (file := folder / name).exists() or file_hash(file) != sha256]


def _new_folder(runs_dir: Path, recipe: ModelRecipe, identity: dict[str, Any]) -> Path:
    runs_dir.mkdir(parents=True, exist_ok=True)
    at, attempt = datetime.now(UTC).strftime("%Y%m%d-%H%M%S"), 0
    while True:  # two runs may start in one second
        short = hashlib.sha256(f"{identity}{attempt}".encode()).hexdigest()[:6]
        folder = runs_dir / f"{recipe.name}-{at}-{short}"
        try:
            folder.mkdir()
        except FileExistsError:
            attempt += 1
        else:
            return folder


def same_training(recipe: ModelRecipe, data: TrainingData, runs_dir: Path, seed: int) -> Listed | None:
    """The newest run of this recipe, seed and records, the complete ones first; None if there is none."""
    identity = _identity(recipe, data, seed)
    listed = [run for run in list_runs(runs_dir) if run.card.get("model") == recipe.name]
    return max(
        reversed([run for run in listed if _is_of(run.card, identity)]), key=lambda run: run.complete, default=None
    )


def _is_of(card: dict[str, Any], identity: dict[str, Any]) -> bool:
    """Whether a run's card has this identity. A run from before a setting existed was trained at its default."""
    differing = [key for key, value in identity.items() if card.get(key) != value]
    return not differing or (differing == ["recipe_digest"] and _digest_today(card) == identity["recipe_digest"])


def _digest_today(card: dict[str, Any]) -> str | None:
    """The digest of a run's recipe with the settings of today; None if it does not fit them."""
    from agebench.training.resolve import with_new_defaults

    facts = card.get("recipe") or {}
    try:
        today = with_new_defaults(model_recipe_kind(Path(CARD), facts).model_validate(facts))
    except ValidationError:
        return None
    return digest(today) if today else None


def _identity(recipe: ModelRecipe, data: TrainingData, seed: int) -> dict[str, Any]:
    """What two trainings have in common if one can take the place of the other."""
    from agebench.manifest.fingerprints import frame_digest
    from agebench.training.data import COLUMNS

    columns = [*COLUMNS, "label_suspicion"] if recipe.distrust else COLUMNS
    return {
        "recipe_digest": digest(recipe),
        "seed": seed,
        "data_fingerprint": data.fingerprint,
        "records_digest": frame_digest(data.records.select(columns)),
    }


def _unfinished(runs_dir: Path, recipe: ModelRecipe, identity: dict[str, Any]) -> Path:
    unfinished = [run for run in list_runs(runs_dir) if not run.complete and run.card.get("model") == recipe.name]
    same = [run for run in unfinished if _is_of(run.card, identity)]
    if same:
        return same[-1].path
    words = {"recipe_digest": "recipe", "seed": "seed", "data_fingerprint": "records", "records_digest": "records"}
    others = [
        f"{run.id} has another "
        + " and ".join(dict.fromkeys(words[key] for key in identity if run.card.get(key) != identity[key]))
        for run in unfinished
    ]
    raise Missing(
        f"There is no unfinished run of {recipe.name} with this recipe, seed and records in {runs_dir}."
        + (f" {'; '.join(others)}." if others else ""),
        "Start one without --resume; `agebench status` names the command that continues an unfinished run.",
    )


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = json.loads(read_file(path))
    except FileNotFoundError as error:
        raise RunError(f"The run {folder} has no {CARD}.", "Restore it, or train again.") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.", "Restore it, or train again.") from error
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.", "Restore it, or train again.") from error
    if not isinstance(card, dict):
        raise RunError(f"{path} is not a run card.", "Restore it, or train again.")
    return card


def _check_weights(path: Path, recipe: ModelRecipe) -> None:
    """Names and shapes from the file's header against the recipe's network; reads no weights."""
    from safetensors import SafetensorError, safe_open

    expected: dict[str, list[int]] | None = None
    if isinstance(recipe, NetworkRecipe):
        import torch

        from agebench.training.networks import make_network

        with torch.device("meta"):
            expected = {name: list(value.shape) for name, value in make_network(recipe.network).state_dict().items()}
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise RunError(f"The run {path.parent} has no {path.name}.", "Restore it, or train again.") from error
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} cannot be read: {error}.", "Restore it, or train again.") from error
    if expected is None:  # the arrays of a method depend on what it was fitted to
        return
    wrong = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    if wrong:
        name = min(wrong)
        raise RunError(
            f"{path} does not fit the network of {recipe.name}: {name} is {found.get(name, 'missing')}, "
            f"expected {expected.get(name, 'none')} ({len(wrong)} mismatches).",
            "Restore the file, or train again.",
        )


def committed_hashes(folder: Path) -> dict[str, str]:
    """File → SHA-256 when the run was completed, from `COMMITTED`. Raises RunError if it is damaged."""
    path = folder / COMMITTED
    try:
        lines = read_file(path).decode(errors="replace").splitlines()
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.", "Restore it, or train again.") from error
    hashes = {name: sha256 for sha256, _, name in (line.partition("  ") for line in lines) if len(sha256) == 64}
    if missing := [name for name in HASHED if name not in hashes and (name == CARD or (folder / name).exists())]:
        raise RunError(f"{path} is damaged: it has no SHA-256 of {', '.join(missing)}.", "Restore it, or train again.")
    return hashes


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_whole(path, text.encode())


def _versions() -> dict[str, str]:
    packages = ("torch", "lightning-fabric", "numpy", "safetensors")
    return {"agebench": __version__, "python": platform.python_version()} | {name: version(name) for name in packages}


def _hardware(fabric: Fabric) -> dict[str, Any]:
    import torch

    device = fabric.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "device": device.type,
        "name": name,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _storage(runs_dir: Path) -> Iterator[None]:
    """Turns a full disk or an unwritable folder into a StorageError."""
    try:
        yield
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise StorageError(
            f"Cannot write the run in {runs_dir}: {error}.", "Free space, or name another folder with --runs."
        ) from error
