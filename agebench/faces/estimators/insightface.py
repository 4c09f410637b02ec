"""insightface: the genderage model of a pack in ~/.insightface; for non-commercial research."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces import weights
from agebench.faces.alignment import cut
from agebench.faces.estimators import EXTRA, Estimator, EstimatorChoice, choice_of

MARGIN = 1.5  # insightface's crop, in sides of the box
RANK = 20


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it: there is a pack with a genderage model on this machine."""
    return weights.pack_file("genderage", home) is not None


def choose(home: Path | None) -> EstimatorChoice:
    file = weights.pack_file("genderage", home)
    if file is None:
        raise Missing("There is no insightface pack with a genderage model in ~/.insightface/models.", EXTRA)
    weights.load_model(file, "genderage")  # a file that is not a model is reported now, not by every worker
    version = importlib.metadata.version("insightface")
    return choice_of("insightface", file.stem, file, version, "non-commercial research")


def load(choice: EstimatorChoice) -> Estimator:
    path = weights.verified(choice.weights, choice.weights_sha256, "age model")
    model = weights.load_model(path, "genderage")
    size = int(model.input_size[0])

    def estimate(
        rgb: NDArray[np.uint8], boxes: NDArray[np.floating], landmarks: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        ages = np.full(len(boxes), np.nan)
        for i, (x, y, w, h) in enumerate(np.asarray(boxes, np.float64)):
            zoom = size / max(MARGIN * max(w, h), 1e-6)
            matrix = np.array([[zoom, 0, size / 2 - zoom * (x + w / 2)], [0, zoom, size / 2 - zoom * (y + h / 2)]])
            face = (cut(rgb, matrix, size).astype(np.float32) - model.input_mean) / model.input_std
            found = model.session.run(model.output_names, {model.input_name: face.transpose(2, 0, 1)[None]})[0]
            ages[i] = 100 * float(found[0][2])
        return ages, np.full(len(boxes), np.nan), None

    return estimate
