"""A trained network as a file for other programs, ONNX or TorchScript, and a TOML that says what it takes and gives."""

from __future__ import annotations

import importlib.util
import io
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agebench.errors import Missing, RunError, UsageError, described
from agebench.faces.alignment import template
from agebench.files import write_whole
from agebench.recipes import NetworkRecipe, name_from, toml_value
from agebench.training.decoding import CLASS_SCORES, Decoding, decoding_of, median_age
from agebench.training.networks import normalise
from agebench.training.run_cards import trained_on
from agebench.training.runs import Run, load_network

Format = Literal["onnx", "torchscript"]
ENDINGS: dict[str, Format] = {".onnx": "onnx", ".pt": "torchscript"}
MEAN, SCALE = 127.5, 1 / 128  # of `networks.normalise`
OPSET = 17
CHECKED = 32  # pictures that the file and the run are compared on
TOLERANCE = 1e-3  # years


@dataclass(frozen=True)
class ExportedModel:
    """A file that was made of a run.

    Attributes:
        file: The model.
        recipe: The TOML beside it: input, alignment, decoding, and what it was trained on.
        format: onnx or torchscript.
        difference: The largest difference in years from the run's own ages on the pictures of the check.
    """

    file: Path
    recipe: Path
    format: Format
    difference: float


class _Decoded(nn.Module):
    """Normalised pictures (B, 3, S, S) to probabilities (B, K) of the ages 0, 1, …, or to ages (B,) in years where the
    loss does not train the scores of classes."""

    def __init__(self, network: nn.Module, decoding: Decoding) -> None:
        super().__init__()
        self.network, self.decoding = network, decoding

    def forward(self, faces: Tensor) -> Tensor:
        scores = self.network(faces).float()
        return scores.softmax(1) if _gives_probabilities(self.decoding) else self.decoding.ages(scores)


def _gives_probabilities(decoding: Decoding) -> bool:
    return decoding.probabilities is CLASS_SCORES.probabilities


def export_model(run: Run, out: str | Path | None = None, format: Format | None = None) -> ExportedModel:
    """Write a run's network to a file, and a recipe beside it.

    The file takes aligned faces (B, 3, S, S), 32-bit floats, RGB, normalised as the recipe says, for any B. It is
    compared with the run before it is written. By the recipe `agebench evaluate FILE.onnx` measures an ONNX file as it
    does anybody's.

    Args:
        run: A complete run of a network.
        out: The file, ending in `.onnx` or `.pt`; by default the model's name in the working directory.
        format: `onnx` or `torchscript`; by the file's ending, else ONNX.

    Raises:
        UsageError: The run is of a classical method, or the ending does not fit the format.
        Missing: onnxruntime is not installed, which checks an ONNX file.
        RunError: The run's weights were changed, the network cannot be exported, or the file gives other ages.
        StorageError: The file cannot be written.
    """
    recipe = run.recipe
    if not isinstance(recipe, NetworkRecipe):
        raise UsageError(
            f"{run.id} is a classical method, which ONNX and TorchScript cannot hold.",
            "`agebench predict` uses it, and `agebench.load_run` from Python.",
        )
    file, kind = _place(recipe.name, out, format)
    decoding = decoding_of(recipe.loss)
    decoded = _Decoded(load_network(run, device="cpu"), decoding).eval()
    faces = normalise(torch.from_numpy(_pictures(CHECKED, recipe.crop.size))).contiguous()
    with torch.inference_mode():
        own = decoding.ages(decoded.network(faces)).numpy()
    content = _onnx(decoded, faces, run) if kind == "onnx" else _torchscript(decoded, faces, run)
    given = _run_onnx(content, faces) if kind == "onnx" else _run_torchscript(content, faces)
    difference = float(np.abs(_ages(given, recipe.loss.age) - own).max())
    if not difference <= TOLERANCE:
        raise RunError(
            f"The {kind} file of {run.id} gives ages up to {difference:.3g} years off those of the run, so it was not "
            "written.",
            "A network of your own may use operations that the format does not hold.",
        )
    beside = file.with_name(name_from(file.stem) + ".toml")
    write_whole(file, content, "Name another file with `--out`.")
    write_whole(beside, _toml(run, recipe, file, kind, decoding).encode(), "Name another file with `--out`.")
    return ExportedModel(file, beside, kind, difference)


def _place(model: str, out: str | Path | None, format: Format | None) -> tuple[Path, Format]:
    if out is None:
        kind: Format = format or "onnx"
        return Path(model + {"onnx": ".onnx", "torchscript": ".pt"}[kind]), kind
    file = Path(out)
    by_ending = ENDINGS.get(file.suffix.lower())
    if by_ending is None or (format is not None and format != by_ending):
        wanted = {"onnx": ".onnx", "torchscript": ".pt", None: ".onnx or .pt"}[format]
        raise UsageError(f"'{file.name}' does not end in {wanted}.", "The ending says which format the file has.")
    return file, by_ending


def _pictures(count: int, size: int) -> NDArray[np.uint8]:
    """(count, size, size, 3): seeded noise of several coarsenesses, so that the scores differ."""
    random = np.random.default_rng(0)
    pictures = np.empty((count, size, size, 3), np.uint8)
    for n in range(count):
        step = 2 ** (n % 5)
        coarse = random.integers(0, 256, (-(-size // step), -(-size // step), 3), dtype=np.uint8)
        pictures[n] = coarse.repeat(step, 0).repeat(step, 1)[:size, :size]
    return pictures


def _ages(given: NDArray[np.float32], statistic: Literal["mean", "median"]) -> NDArray[np.float64]:
    """Ages (N,) from probabilities (N, K) of the ages 0, 1, …, by their mean or median; or as they are."""
    if given.ndim == 1:
        return np.asarray(given, np.float64)
    if statistic == "median":
        return np.asarray(median_age(torch.from_numpy(given)).numpy(), np.float64)
    return np.asarray(given @ np.arange(given.shape[1]), np.float64)


def _onnx(decoded: _Decoded, faces: Tensor, run: Run) -> bytes:
    if importlib.util.find_spec("onnxruntime") is None:
        raise Missing(
            "onnxruntime is not installed, which checks the file before it is written.",
            "pip install 'agebench[onnx]', or export with `--format torchscript`.",
        )
    name = _output(decoded.decoding)
    try:
        with warnings.catch_warnings(action="ignore"), tempfile.TemporaryDirectory() as folder:
            torch.onnx.export(
                decoded, (faces[:2],), made := Path(folder) / "model.onnx", dynamo=False, opset_version=OPSET,
                input_names=["faces"], output_names=[name], dynamic_axes={"faces": {0: "n"}, name: {0: "n"}},
            )  # fmt: skip
            return made.read_bytes()
    except Exception as error:  # somebody's own network
        raise _cannot(run, "ONNX", error) from error


def _torchscript(decoded: _Decoded, faces: Tensor, run: Run) -> bytes:
    try:
        with warnings.catch_warnings(action="ignore"), torch.inference_mode():
            torch.jit.save(torch.jit.trace(decoded, faces[:2], check_trace=False), held := io.BytesIO())
    except Exception as error:  # somebody's own network
        raise _cannot(run, "TorchScript", error) from error
    return held.getvalue()


def _run_onnx(content: bytes, faces: Tensor) -> NDArray[np.float32]:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"faces": part.numpy()})[0] for part in faces.split(5)])


def _run_torchscript(content: bytes, faces: Tensor) -> NDArray[np.float32]:
    loaded = torch.jit.load(io.BytesIO(content))
    with torch.inference_mode():
        return np.concatenate([loaded(part).numpy() for part in faces.split(5)])


def _cannot(run: Run, what: str, error: Exception) -> RunError:
    return RunError(f"The network of {run.id} cannot be exported to {what}: {described(error)}.")


def _output(decoding: Decoding) -> str:
    return "probabilities" if _gives_probabilities(decoding) else "age"


RECIPE = """\
# Made by `agebench export-model` from the run {run}. Input: (batch, 3, {size}, {size}) 32-bit floats,
# (pixel - mean) * scale of RGB pixels from 0 to 255. Output: {output}. A face is
# aligned by the similarity transform that brings its left eye, right eye, nose, and left and right corner of the mouth,
# left as seen in the picture, closest to these shares of the side:
#   {points}
# What lies outside of the photograph is {outside}.
name = {name}
title = {title}
label = {label}
tables = {tables}
trained_on = {trained_on}

[estimator]
kind = "{kind}"
file = {file}
size = {size}
template = {template}
border = "{border}"
mean = {mean}
scale = {scale}
colour = "rgb"
layout = "nchw"
decoding = "{decoding}"
"""


def _toml(run: Run, recipe: NetworkRecipe, file: Path, kind: Format, decoding: Decoding) -> str:
    """The recipe beside the file."""
    classes = _gives_probabilities(decoding)
    points = template(1, recipe.crop.zoom).round(4).tolist()
    text = {
        "name": name_from(file.stem),
        "title": recipe.title,
        "label": recipe.label,
        "file": file.name,
        "trained_on": trained_on(run.card),
        "template": "agebench" if recipe.crop.zoom == 1 else points,
    }
    return RECIPE.format(
        **{key: toml_value(value) for key, value in text.items()},
        run=run.id,
        size=recipe.crop.size,
        output="(batch, classes), the probabilities of the ages 0, 1, 2, …" if classes else "(batch,), ages in years",
        points=", ".join(f"({x:.4f}, {y:.4f})" for x, y in points),
        border=recipe.crop.border,
        outside="its mirror image" if recipe.crop.border == "mirror" else "black",
        tables=toml_value(recipe.tables),
        kind=kind,
        mean=MEAN,
        scale=SCALE,
        decoding="age" if not classes else "median" if recipe.loss.age == "median" else "expected",
    )
