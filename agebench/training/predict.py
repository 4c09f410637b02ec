"""predict: ages of the faces in pictures that belong to no dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.datasets.folders import list_pictures
from agebench.errors import Missing, UsageError
from agebench.faces.alignment import face_crop, template, whole_picture
from agebench.faces.detectors import Detector, DetectorChoice, choose_detector, detect_faces, load_detector
from agebench.pictures import FAULTS, decode, read_bytes
from agebench.recipes import Crop
from agebench.training.calibrate import central_interval
from agebench.training.inference import combined, predict_ages, spread
from agebench.training.run_cards import RUNS
from agebench.training.runs import Run, find_run, list_runs

NO_FACE: NDArray[np.float32] = np.zeros((0, 15), dtype=np.float32)
LEVEL = 0.9  # of the intervals
AT_ONCE = 256  # pictures whose crops are in memory


@dataclass(frozen=True)
class FaceAge:
    """The age of one face.

    Attributes:
        picture: The file.
        face_no: Which of its faces, from 0 (the largest); None where no face was found and the whole picture was used.
        box: x, y, width, height in pixels; None without a face.
        age: Years; None where the picture cannot be read.
        spread: Standard deviation of the predicted distribution, years; None where the run predicts none.
        interval: The first and last year of the distribution's central 90 % interval; None likewise.
        probabilities: Of the ages 0 to 99; None likewise.
        fault: Why there is no age.
        note: Why the whole picture was used although there is a detector: it found no face, or it failed.
    """

    picture: str
    face_no: int | None
    box: tuple[float, float, float, float] | None
    age: float | None
    spread: float | None
    fault: str | None
    note: str | None = None
    interval: tuple[int, int] | None = None
    probabilities: tuple[float, ...] | None = None


class _Stack:
    """Crops in memory as `agebench.training.data.Pictures`."""

    def __init__(self, crops: list[NDArray[np.uint8]]) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]:
        return self.crops[row]


def newest_run(runs_dir: Path) -> Run:
    """The newest complete run. Raises Missing (exit 3) if there is none."""
    complete = [listed for listed in list_runs(runs_dir) if listed.complete]
    if not complete:
        raise Missing(f"There is no complete run in {runs_dir}.", "`agebench train` makes one.")
    newest = max(complete, key=lambda listed: str(listed.card.get("finished") or ""))
    return find_run(newest.id, runs_dir)


def detector_of(run: Run) -> DetectorChoice | None:
    """The detector whose faces a run was trained on; None if it was trained on whole pictures.

    Raises Missing if it does not work here: another one crops differently, so only the user may choose it.
    """
    facts = run.card.get("provenance", {}).get("detector_choice")
    if facts is None:
        return None
    try:
        choice = DetectorChoice.from_facts(facts)
        load_detector(choice)
    except (Missing, TypeError) as error:
        reason = error.message if isinstance(error, Missing) else "it was recorded by another version of agebench."
        raise Missing(
            f"The detector used to train {run.id}, {facts.get('name')}, is not available: {reason}",
            "Install it, or choose another with `--detector`, whose crops differ.",
        ) from error
    return choice


def predict(
    pictures: Sequence[str | Path] | str | Path,
    run: str | Path | Run | Sequence[str | Path | Run] | None = None,
    *,
    runs: str | Path = RUNS,
    detector: DetectorChoice | str | None = None,
) -> list[FaceAge]:
    """Ages of every face of every picture, the largest face first; a picture without a face is predicted whole.

    Args:
        pictures: Files, or folders, which stand for every picture below them.
        run: A finished run, or its id, the start of its id, its model's name, or its folder; the newest by default. Of
            several runs, the mean of their distributions and its median (see `inference.combined`); their crops
            must be alike.
        runs: Folder of runs.
        detector: A detector by name (`auto`: the best available); by default that of the run's training, or none if it
            was trained on whole pictures. A picture on which it fails counts as one without a face.

    Raises:
        Missing: There is no such run, or its detector is not available.
        UsageError: Several runs match, a folder holds no picture, or runs were trained on other crops.
        RunError: The run is damaged or unfinished.
    """
    members = members_of(run, Path(runs))
    files = picture_files([pictures] if isinstance(pictures, str | Path) else pictures)
    choice = choose_detector(detector) if isinstance(detector, str) else detector or detector_of(members[0])
    detect = load_detector(choice) if choice else None
    batches = (files[start : start + AT_ONCE] for start in range(0, len(files), AT_ONCE))
    return [face for batch in batches for face in _predict(batch, members, detect)]


def members_of(run: str | Path | Run | Sequence[str | Path | Run] | None, runs_dir: Path) -> list[Run]:
    """The runs that predict together (see `predict`). Raises UsageError where their crops or detectors differ."""
    if run is None:
        return [newest_run(runs_dir)]
    named = [run] if isinstance(run, str | Path | Run) else run
    members = [one if isinstance(one, Run) else find_run(str(one), runs_dir) for one in named]
    first = members[0]
    for other in members[1:]:
        seen = [one.card.get("provenance", {}).get("detector_choice") for one in (first, other)]
        if _geometry(other) != _geometry(first) or seen[0] != seen[1]:
            raise UsageError(
                f"{first.id} and {other.id} were trained on crops of another size, zoom, border or detector.",
                "Runs that predict together see the same crops; `agebench evaluate A+B` measures any together.",
            )
    return members


def _geometry(run: Run) -> Crop:
    """How the faces are cut that a run looks at, however they are stored."""
    return run.recipe.crop.model_copy(update={"encoding": "raw"})


def picture_files(pictures: Sequence[str | Path]) -> list[str]:
    """The files, with each folder replaced by the pictures below it. Raises UsageError if it holds none."""
    files: list[str] = []
    for place in pictures:
        if Path(place).is_dir():
            found = list_pictures(Path(place), deep=True).paths
            if not found:
                raise UsageError(f"The folder {place} holds no picture.", "Name picture files, or another folder.")
            files += [str(Path(place) / name) for name in found]
        else:
            files.append(str(place))
    return files


def _predict(pictures: Sequence[str], members: Sequence[Run], detect: Detector | None) -> list[FaceAge]:
    """The ages for some pictures, whose crops are held in memory together."""
    crop = members[0].recipe.crop
    target = template(crop.size, crop.zoom)
    crops: list[NDArray[np.uint8]] = []
    faces: list[FaceAge] = []
    for path in pictures:
        data, fault = read_bytes(path)
        picture, fault = (None, fault) if fault else decode(data)
        if picture is None:
            faces.append(FaceAge(path, None, None, None, None, FAULTS.get(fault or "", fault)))
            continue
        found, note = _faces(detect, picture.rgb) if detect else (NO_FACE, None)
        for number, face in enumerate(found):
            crops.append(face_crop(picture.rgb, face[5:15].reshape(5, 2), crop.size, target, crop.border))
            x, y, w, h = (float(v) for v in face[:4])
            faces.append(FaceAge(path, number, (x, y, w, h), None, None, None))
        if len(found) == 0:
            crops.append(whole_picture(picture.rgb, crop.size, crop.border))
            faces.append(FaceAge(path, None, None, None, None, None, note))
    each = [predict_ages(run, _Stack(crops), range(len(crops))) for run in members]
    ages, probabilities = combined(each) if len(each) > 1 else each[0]
    readable = [n for n, face in enumerate(faces) if not face.fault]
    for n, age in zip(readable, ages.tolist(), strict=True):
        faces[n] = replace(faces[n], age=age)
    if probabilities is not None:
        low, high = central_interval(probabilities, LEVEL)
        known = zip(readable, spread(probabilities).tolist(), low.tolist(), high.tolist(), probabilities, strict=True)
        for n, deviation, first, last, shares in known:
            faces[n] = replace(faces[n], spread=deviation, interval=(first, last), probabilities=tuple(shares.tolist()))
    return faces


def _faces(detect: Detector, rgb: NDArray[np.uint8]) -> tuple[NDArray[np.float32], str | None]:
    """The faces found, (N, 15), and why there is none."""
    try:
        found = detect_faces(detect, rgb)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - detectors raise their own types
        return NO_FACE, f"the detector failed: {type(error).__name__}: {error}"
    return found, None if len(found) else "no face found"
