"""An exported network gives the run's ages, and the file beside it says enough to use it without agebench."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from agebench.errors import Missing, RunError, UsageError
from agebench.faces.alignment import template
from agebench.recipes import MethodRecipe, NetworkRecipe, load_estimator_recipe
from agebench.training import export_model as exporting
from agebench.training.data import TrainingData
from agebench.training.export_model import export_model
from agebench.training.inference import predict_ages
from agebench.training.runs import Run, train_run

from .conftest import TINY, InMemory, data_of


def run_of(folder: Path, **tables: Any) -> Run:
    return train_run(NetworkRecipe.model_validate(TINY | tables), data_of(), runs_dir=folder / "runs")


@pytest.fixture
def faces() -> TrainingData:
    return data_of(1000, seed=4, kind=InMemory)


def by_onnx(file: Path, faces: np.ndarray, recipe: dict[str, Any]) -> np.ndarray:
    """What somebody does who has only the file and its TOML."""
    said = recipe["estimator"]
    planes = ((faces.astype(np.float32) - said["mean"]) * said["scale"]).transpose(0, 3, 1, 2)
    (given,) = onnxruntime.InferenceSession(file).run(None, {"faces": np.ascontiguousarray(planes, np.float32)})
    if said["decoding"] == "median":
        edges = np.arange(given.shape[1] + 1) - 0.5
        return np.array([np.interp(0.5, np.concatenate([[0], shares.cumsum()]), edges) for shares in given])
    return given @ np.arange(given.shape[1]) if said["decoding"] == "expected" else given


@pytest.mark.parametrize(
    ("tables", "decoding"),
    [
        ({}, "expected"),
        ({"loss": {"name": "or-cnn"}}, "age"),
        ({"loss": {"name": "regression"}}, "age"),
        ({"network": {"name": "efficientnet-lite", "weights": "imagenet", "oval": True}}, "expected"),
        ({"network": {"blocks": [1, 1], "widths": [8, 16], "mirror": True, "zooms": [0.87, 1.15]}}, "expected"),
        ({"loss": {"name": "neighborhood", "age": "median"}}, "median"),
        ({"loss": {"name": "or-cnn", "age": "median"}}, "age"),
        ({"network": {"name": "vgg-16", "width": 0.05, "grid": 1}}, "expected"),
    ],
)
def test_an_onnx_file_agrees_with_its_run_within_a_thousandth_of_a_year(
    tmp_path: Path, faces: TrainingData, tables: dict[str, Any], decoding: str
) -> None:
    run = run_of(tmp_path, **tables)
    made = export_model(run, tmp_path / "Its_Age.onnx")
    assert made.difference <= 1e-3
    said = tomllib.loads(made.recipe.read_text())
    assert (said["name"], said["estimator"]["decoding"]) == ("its-age", decoding)
    own, _ = predict_ages(run, faces.pictures, faces.rows)
    given = by_onnx(made.file, np.stack([faces.pictures[row] for row in faces.rows]), said)
    assert np.abs(given - own).max() <= 1e-3
    assert np.ptp(own) > 1e-3


def test_a_torchscript_file_runs_with_torch_alone(tmp_path: Path, faces: TrainingData) -> None:
    run = run_of(tmp_path)
    made = export_model(run, tmp_path / "age.pt")
    assert (made.format, made.recipe.name) == ("torchscript", "age.toml")
    pictures = np.stack([faces.pictures[row] for row in faces.rows])
    planes = torch.from_numpy((pictures.astype(np.float32) - 127.5) / 128).permute(0, 3, 1, 2)
    given = torch.jit.load(made.file)(planes) @ torch.arange(100.0)
    assert np.abs(given.detach().numpy() - predict_ages(run, faces.pictures, faces.rows)[0]).max() <= 1e-3


def test_the_file_beside_it_is_an_estimators_recipe_with_the_alignment_in_numbers(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    made = export_model(run, tmp_path / "age.onnx")
    recipe = load_estimator_recipe(made.recipe)
    assert recipe.label == run.recipe.label
    assert "36 records of unknown records" in str(recipe.trained_on)
    text = made.recipe.read_text()
    assert all(f"({x:.4f}, {y:.4f})" in text for x, y in template(1))
    assert run.id in text
    zoomed = run_of(tmp_path, crop=TINY["crop"] | {"zoom": 1.5, "border": "mirror"})
    made = export_model(zoomed, tmp_path / "zoomed.onnx").recipe
    assert all(f"({x:.4f}, {y:.4f})" in made.read_text() for x, y in template(1, 1.5))
    estimator = load_estimator_recipe(made).estimator
    assert estimator.border == "mirror"
    assert np.allclose(estimator.template, template(1, 1.5), atol=1e-4)


def test_names_and_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert export_model(run).file == Path("tiny.onnx")
    assert export_model(run, format="torchscript").file == Path("tiny.pt")
    for out, kind in (("age.bin", None), ("age.pt", "onnx"), ("age.onnx", "torchscript")):
        with pytest.raises(UsageError, match="does not end in"):
            export_model(run, out, kind)
        assert not Path(out).exists()


def test_a_file_that_gives_other_ages_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)
    right = exporting._run_onnx
    monkeypatch.setattr(exporting, "_run_onnx", lambda *given: right(*given)[::-1])
    with pytest.raises(RunError, match="years off those of the run"):
        export_model(run, tmp_path / "age.onnx")
    assert not list(tmp_path.glob("age.*"))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="onnxruntime is not installed") as refused:
        export_model(run, tmp_path / "age.onnx")
    assert "agebench[onnx]" in str(refused.value)
    assert export_model(run, tmp_path / "age.pt").difference <= 1e-3


def test_a_classical_method_is_refused(tmp_path: Path) -> None:
    recipe = MethodRecipe.model_validate(
        {"name": "m", "title": "m", "label": "m", "crop": {"size": 32, "encoding": "raw"}, "method": {"name": "median"}}
    )
    run = train_run(recipe, data_of(), runs_dir=tmp_path / "runs")
    with pytest.raises(UsageError, match="is a classical method"):
        export_model(run, tmp_path / "age.onnx")


def test_a_network_that_cannot_be_traced_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_of(tmp_path)

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(RunError, match=r"cannot be exported to ONNX: RuntimeError: no such operator\.$"):
        export_model(run, tmp_path / "age.onnx")
    assert json.loads((run.path / "card.json").read_text())["run"] == run.id
