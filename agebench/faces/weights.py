"""Weights on this machine: files inside installed packages and insightface packs, found without importing the packages
or loading the packs, and recognised by their content."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any, Literal

from agebench.errors import Missing
from agebench.files import file_hash

Task = Literal["detection", "recognition", "genderage"]
PREFERRED = ["buffalo_l", "antelopev2", "buffalo_m", "buffalo_s", "buffalo_sc"]
PUBLISHED: dict[Task, tuple[str, ...]] = {"recognition": ("w600k", "glintr"), "genderage": ("genderage",)}
OTHERS = ("det_", "scrfd", "1k3d", "2d106")  # files in the published packs for other tasks


def verified(weights: str, digest: str, what: str) -> Path:
    """The file, if it is still the one that was chosen. what: such as `embedder`, for the message. Raises Missing."""
    path = Path(weights)
    if not path.is_file():
        raise Missing(f"The {what}'s weights {path} are gone.", f"Install them again, or choose another {what}.")
    if digest and file_hash(path) != digest:
        raise Missing(
            f"{path} is not the file that this manifest was observed with.",
            f"Restore that file, or choose the {what} again to observe again.",
        )
    return path


def packaged(package: str, *names: str) -> Path | None:
    """A file inside an installed package, which is not imported (face_recognition_models cannot be); else None."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return next((f for folder in folders or () if (f := Path(folder).joinpath(*names)).is_file()), None)


def packs(home: Path | None = None) -> list[Path]:
    """The insightface packs on this machine, well-known ones first, then by name. home: the folder with
    `.insightface`."""
    models = (home or Path.home()) / ".insightface" / "models"
    found = [p for p in models.iterdir() if p.is_dir()] if models.is_dir() else []
    return sorted(found, key=lambda p: (PREFERRED.index(p.name) if p.name in PREFERRED else len(PREFERRED), p.name))


def pack_file(task: Task, home: Path | None = None) -> Path | None:
    """The file for `task` in the first insightface pack that has one (well-known packs first, then by name).

    Files with the published names are trusted; if a pack has none, files whose names are not for another task are
    tried. home: the folder that holds `.insightface`.
    """
    known = tuple(name for names in PUBLISHED.values() for name in names) + OTHERS
    for pack in packs(home):
        files = sorted(pack.glob("*.onnx"))
        for file in files:
            if file.name.startswith(PUBLISHED[task]):
                return file
        for file in files:
            if not file.name.startswith(known) and _is_for(file, task):
                return file
    return None


def _is_for(file: Path, task: Task) -> bool:
    try:
        load_model(file, task)
    except Missing:
        return False
    return True


def load_model(path: Path, task: Task) -> Any:
    """insightface's wrapper of an ONNX file, on one thread. Raises Missing if it is not a model for `task`."""
    try:
        import onnxruntime
        from insightface.model_zoo import get_model
    except ModuleNotFoundError as error:
        extra = "`pip install 'agebench[insightface]'` brings it."
        raise Missing(f"insightface's models need {error.name}.", extra) from error

    onnxruntime.set_default_logger_severity(3)
    logging.getLogger("insightface").setLevel(logging.ERROR)
    available = onnxruntime.get_available_providers()
    wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in available]
    try:
        model: Any = get_model(str(path), providers=wanted, sess_options=session_options())
    except Exception as error:  # onnxruntime, protobuf and insightface raise their own types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Missing(f"{path} cannot be loaded as an ONNX model: {reason}.") from error
    if model is None or getattr(model, "taskname", None) != task:
        if task == "detection":
            raise Missing(f"{path} is an ONNX model, but not a face detector.", "Give a SCRFD or RetinaFace file.")
        raise Missing(f"{path} is an ONNX model, but not one for {task}.")
    return model


def session_options() -> Any:
    """onnxruntime's options for a worker: one thread, because each core has its own worker."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return options
