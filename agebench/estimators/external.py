"""Estimators that were not trained here, each made from an `EstimatorRecipe`."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from agebench import registry
from agebench.errors import EstimatorError, Missing
from agebench.estimators import Advance, Ages, Estimates, Faces, Training
from agebench.estimators.reading import Box, checked_ages, prepared
from agebench.faces.alignment import ARCFACE, face_crop, template
from agebench.faces.estimators import choose_estimator, load_estimator
from agebench.files import file_hash
from agebench.recipes import EstimatorRecipe, OnnxEstimator, ReadyEstimator

BATCH = 32
NEARLY = 0.02  # how far from 1 the sum of probabilities may be, for networks with 8-bit weights
QUIET = 4  # onnxruntime's level for fatal faults only; what fails is raised too


@dataclass(frozen=True)
class External:
    """What estimators that were not trained here have in common. folder: to which the recipe's files are relative."""

    recipe: EstimatorRecipe
    folder: Path = field(default=Path())
    called: str = ""
    crops = True

    @cached_property
    def id(self) -> str:
        """The recipe's name and a hash of `facts`."""
        known = json.dumps({**self.facts(), "files": sorted(self.facts()["files"].values())}, sort_keys=True)
        return f"{self.recipe.name}-{hashlib.sha256(known.encode()).hexdigest()[:8]}"

    def training(self) -> Training:
        return Training(known=False)

    def facts(self) -> dict[str, Any]:
        settings = self.recipe.estimator.model_dump(mode="json", exclude={"file"})
        return {**settings, "files": self.files()}

    def files(self) -> dict[str, str]:
        """Path → SHA-256 of the files that it is made of."""
        return {}

    def file(self, name: str) -> Path:
        """A file of the recipe. Raises Missing if there is none."""
        path = self.folder / name
        if not path.is_file():
            raise Missing(
                f"There is no file {path}, which the recipe of {self.recipe.name} names.",
                "Correct `file` under [estimator]; it is relative to the recipe's folder.",
            )
        return path


class Onnx(External):
    """An ONNX file, run by onnxruntime on the CPU."""

    def __init__(self, recipe: EstimatorRecipe, folder: Path, called: str) -> None:
        assert isinstance(recipe.estimator, OnnxEstimator)
        super().__init__(recipe, folder, called)
        self.how = recipe.estimator

    @property
    def place(self) -> str:
        """Where its settings are, for messages."""
        return f"[estimator] in {self.folder / self.recipe.name}.toml"

    def files(self) -> dict[str, str]:
        """The file, and the file of weights that exporters put beside a large one."""
        path = self.file(self.how.file)
        beside = (path.with_name(path.name + ending) for ending in (".data", "_data"))
        return {str(one): file_hash(one) for one in (path, *(one for one in beside if one.is_file()))}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        session, name, output, fixed = self._session()
        target = self._template()
        size, border = self.how.size, self.how.border
        found: list[NDArray[np.floating]] = []
        records = [faces.records.clear()]

        def face(rgb: NDArray[np.uint8], box: Box | None, landmarks: NDArray[np.float64] | None) -> NDArray[np.uint8]:
            return face_crop(rgb, landmarks, size, target, border)

        for rows, crops in prepared(faces, face, fixed or BATCH, on_predict):
            empty = [np.zeros_like(crops[0])] * ((fixed or 0) - len(crops))
            batch = self._input(np.stack(crops + empty))
            try:
                outcome = np.asarray(session.run([output], {name: batch})[0])
            except Exception as error:  # onnxruntime raises its own types
                raise EstimatorError(
                    f"{self.how.file} failed on a batch of shape {batch.shape}: {_first_line(error)}.",
                    f"Check size and layout under {self.place}.",
                ) from error
            found.append(self._checked(outcome, len(batch))[: len(rows)])
            records.append(rows)
        kept = pl.concat(records)
        return self._decoded(np.concatenate(found) if found else np.zeros((0, 1)), kept)

    def _session(self) -> tuple[Any, str, str, int | None]:
        """(session, name of the input, name of the output, the only size of a batch that it takes). Raises
        EstimatorError if the file does not fit."""
        import onnxruntime

        path = self.file(self.how.file)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = QUIET
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EstimatorError(
                f"{path} cannot be loaded as an ONNX model: {_first_line(error)}.",
                "Expected a whole ONNX file of standard operators, beside the file of weights if it has one.",
            ) from error
        inputs, outputs = session.get_inputs(), [one.name for one in session.get_outputs()]
        if len(inputs) != 1:
            raise EstimatorError(
                f"{path} has {len(inputs)} inputs ({', '.join(one.name for one in inputs)}).", "Expected one: the face."
            )
        size = self.how.size
        expected = (3, size, size) if self.how.layout == "nchw" else (size, size, 3)
        shape = list(inputs[0].shape)
        fixed = [(here, there) for here, there in zip(shape[1:], expected, strict=False) if isinstance(here, int)]
        if inputs[0].type != "tensor(float)":
            raise EstimatorError(f"{path} takes {inputs[0].type}.", "Export it with an input of 32-bit floats.")
        if len(shape) != 4 or any(here != there for here, there in fixed):
            raise EstimatorError(
                f"{path} takes an input of shape {_shape(shape)}, but its recipe describes one of shape "
                f"{_shape(['batch', *expected])}.",
                f"Correct size and layout under {self.place}.",
            )
        if self.how.output is None and len(outputs) > 1:
            raise EstimatorError(
                f"{path} has {len(outputs)} outputs ({', '.join(outputs)}).",
                f"Name one as `output` under {self.place}.",
            )
        if self.how.output is not None and self.how.output not in outputs:
            raise EstimatorError(
                f"{path} has no output '{self.how.output}'; it has {', '.join(outputs)}.",
                f"Correct `output` under {self.place}.",
            )
        return session, inputs[0].name, self.how.output or outputs[0], shape[0] if isinstance(shape[0], int) else None

    def _template(self) -> NDArray[np.float64]:
        """Where the landmarks belong in the crop, (5, 2) pixels."""
        if self.how.template == "agebench":
            return template(self.how.size)
        points = ARCFACE if self.how.template == "arcface" else np.asarray(self.how.template, np.float64)
        return np.asarray(points * self.how.size, np.float64)

    def _input(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = crops[..., ::-1] if self.how.colour == "bgr" else crops
        mean, scale = (np.asarray(value, np.float32) for value in (self.how.mean, self.how.scale))
        values = (pixels.astype(np.float32) - mean) * scale
        return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if self.how.layout == "nchw" else values)

    def _checked(self, outcome: NDArray[Any], faces: int) -> NDArray[np.floating]:
        """The output as (faces, K). Raises EstimatorError if it has another shape than the decoding needs."""
        classes = 1 if self.how.decoding == "age" else len(self.how.ages) if self.how.ages else None
        flat = outcome.reshape(faces, -1) if outcome.ndim and len(outcome) == faces else None
        if flat is None or (flat.shape[1] != classes if classes else flat.shape[1] < 2):
            raise EstimatorError(
                f"{self.how.file} gives an output of shape {outcome.shape} for {faces} faces.",
                f"decoding = '{self.how.decoding}'{' with its `ages`' if self.how.ages else ''} expects ({faces}, "
                f"{classes or 'number of ages'}): correct it under {self.place}.",
            )
        return np.asarray(flat, np.float64)

    def _check_probabilities(self, outcome: NDArray[np.floating], names: list[str]) -> None:
        """Raises EstimatorError if the output is not what the decoding says: probabilities, or something else."""
        sums = outcome.sum(axis=1)
        right = (outcome >= -NEARLY).all(axis=1) & (np.abs(sums - 1) <= NEARLY)
        wrong = ~right & np.isfinite(sums)
        if self.how.decoding in ("expected", "median") and wrong.any():
            first = int(wrong.argmax())
            raise EstimatorError(
                f"{self.how.file} gives no probabilities for {names[first]} and {wrong.sum() - 1:,} more of "
                f"{len(names):,} pictures: they sum to {sums[first]:.4g}, the least is {outcome[first].min():.4g}.",
                f"If it ends before the softmax, write decoding = 'logits' under {self.place}.",
            )
        if self.how.decoding == "logits" and len(outcome) and right.all():
            raise EstimatorError(
                f"{self.how.file} gives probabilities, which sum to 1 for every picture, and not logits.",
                f"Write decoding = 'expected' under {self.place}.",
            )

    def _decoded(self, outcome: NDArray[np.floating], records: pl.DataFrame) -> Estimates:
        names = records["path"].to_list()
        unknown = np.full(len(records), np.nan)
        if self.how.decoding == "age":
            return Estimates(records, checked_ages(outcome[:, 0], len(records), self.how.file, names), None, unknown)
        self._check_probabilities(outcome, names)
        if self.how.decoding == "logits":
            outcome = np.exp(outcome - outcome.max(axis=1, keepdims=True, initial=-np.inf))
        shares = outcome / outcome.sum(axis=1, keepdims=True)
        years = np.asarray(self.how.ages or range(outcome.shape[1]), np.float64)
        means = shares @ years
        ages = _medians(shares, years) if self.how.decoding == "median" else means
        spreads = np.sqrt(np.maximum(shares @ years**2 - means**2, 0))
        ages = checked_ages(ages, len(records), self.how.file, names)
        return Estimates(records, ages, _by_year(shares, years), spreads)


def _medians(shares: NDArray[np.floating], years: Ages) -> NDArray[np.floating]:
    """The medians (N,) in years of distributions (N, K) over `years` (K,), in any order: as `decoding.median_age`, but
    each class's share is spread from the midpoint to the class before to the midpoint to the class after."""
    import torch

    from agebench.training.decoding import median_age

    order = np.argsort(years)
    years = years[order]
    middles = (years[1:] + years[:-1]) / 2
    edges = np.concatenate([2 * years[:1] - middles[:1], middles, 2 * years[-1:] - middles[-1:]])
    places = median_age(torch.from_numpy(shares[:, order])).numpy() + 0.5  # 0 is the first edge
    return np.interp(places, np.arange(len(edges)), edges)


def _by_year(shares: NDArray[np.floating], years: Ages) -> NDArray[np.float32] | None:
    """Probabilities (N, 100) of the ages 0 to 99, if the classes are whole years; else None. Older classes count as
    99."""
    if not np.array_equal(years, np.round(years)) or years.min() < 0:
        return None
    found = np.zeros((len(shares), 100), np.float32)
    np.add.at(found.T, np.minimum(years, 99).astype(np.int64), shares.T.astype(np.float32))
    return found


class Ready(External):
    """A ready-made age model."""

    def __init__(self, recipe: EstimatorRecipe, folder: Path, called: str) -> None:
        assert isinstance(recipe.estimator, ReadyEstimator)
        self.choice = choose_estimator(recipe.estimator.model)
        told = recipe.trained_on or getattr(registry.find("estimators", self.choice.kind), "TRAINED_ON", None)
        super().__init__(recipe.model_copy(update={"trained_on": told}), folder, called)

    def files(self) -> dict[str, str]:
        return {self.choice.weights: self.choice.weights_sha256}

    def facts(self) -> dict[str, Any]:
        return {"kind": "ready", "model": self.choice.name, "version": self.choice.version, "files": self.files()}

    def estimate(self, faces: Faces, on_crops: Advance | None = None, on_predict: Advance | None = None) -> Estimates:
        model = load_estimator(self.choice)

        def answer(
            rgb: NDArray[np.uint8], box: Box | None, landmarks: NDArray[np.float64] | None
        ) -> tuple[float, float, NDArray[np.float64] | None]:
            height, width = rgb.shape[:2]
            if box is None or landmarks is None:  # no face was found: the picture is taken for one
                side = min(width, height)
                box = ((width - side) / 2, (height - side) / 2, side, side)
                landmarks = template(side) + np.array(box[:2])
            ages, spreads, shares = model(rgb, np.array([box]), landmarks[None])
            return float(ages[0]), float(spreads[0]), None if shares is None else shares[0]

        records, answers = [faces.records.clear()], []
        for rows, found in prepared(faces, answer, BATCH, on_predict):
            records.append(rows)
            answers += found
        kept = pl.concat(records)
        ages = checked_ages([age for age, _, _ in answers], len(kept), self.choice.name, kept["path"].to_list())
        shares = [share for _, _, share in answers if share is not None]
        probabilities = np.stack(shares).astype(np.float32) if answers and len(shares) == len(answers) else None
        return Estimates(kept, ages, probabilities, np.array([spread for _, spread, _ in answers], np.float64))


def _first_line(error: Exception) -> str:
    """Of the text of onnxruntime's error, without its numbers."""
    line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)


def _shape(sides: Sequence[int | str | None]) -> str:
    """A shape whose sides may have names or none."""
    return f"({', '.join('any' if side is None else str(side) for side in sides)})"
