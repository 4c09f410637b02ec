"""agebench: curate noisy face-age releases, train age estimators, and report errors that can be traced.

The command line is a thin client of the functions here. They take the same options as the commands, return values,
and raise the errors of `agebench.errors`; they never print. Everything outside `__all__` is private.

    >>> import agebench
    >>> agebench.curate("imdb-wiki")                      # doctest: +SKIP
    >>> agebench.Manifest("imdb-wiki").curated            # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The module of each public name; nothing is imported before it is used.
_PLACES = {
    "curate": "agebench.workflows.curate",
    "CurateReport": "agebench.workflows.curate",
    "balance": "agebench.balancing",
    "BalanceReport": "agebench.balancing",
    "train": "agebench.workflows.train",
    "TrainReport": "agebench.workflows.train",
    "study": "agebench.workflows.study",
    "StudyReport": "agebench.workflows.study",
    "evaluate": "agebench.bench.evaluate",
    "Evaluation": "agebench.bench.evaluations",
    "report": "agebench.bench.report",
    "Report": "agebench.bench.report",
    "Table": "agebench.bench.tables",
    "predict": "agebench.training.predict",
    "FaceAge": "agebench.training.predict",
    "export_model": "agebench.training.export_model",
    "ExportedModel": "agebench.training.export_model",
    "fetch": "agebench.datasets.fetch",
    "FetchReport": "agebench.datasets.fetch",
    "Manifest": "agebench.manifest.manifest",
    "Run": "agebench.training.runs",
    "load_run": "agebench.training.runs",
    "torch_dataset": "agebench.training.torch_dataset",
    "FaceDataset": "agebench.training.torch_dataset",
}
__all__ = [*_PLACES, "errors"]

if TYPE_CHECKING:
    from agebench import errors as errors
    from agebench.balancing import BalanceReport as BalanceReport
    from agebench.balancing import balance as balance
    from agebench.bench.evaluate import evaluate as evaluate
    from agebench.bench.evaluations import Evaluation as Evaluation
    from agebench.bench.report import Report as Report
    from agebench.bench.report import report as report
    from agebench.bench.tables import Table as Table
    from agebench.datasets.fetch import FetchReport as FetchReport
    from agebench.datasets.fetch import fetch as fetch
    from agebench.manifest.manifest import Manifest as Manifest
    from agebench.training.export_model import ExportedModel as ExportedModel
    from agebench.training.export_model import export_model as export_model
    from agebench.training.predict import FaceAge as FaceAge
    from agebench.training.predict import predict as predict
    from agebench.training.runs import Run as Run
    from agebench.training.runs import load_run as load_run
    from agebench.training.torch_dataset import FaceDataset as FaceDataset
    from agebench.training.torch_dataset import torch_dataset as torch_dataset
    from agebench.workflows.curate import CurateReport as CurateReport
    from agebench.workflows.curate import curate as curate
    from agebench.workflows.study import StudyReport as StudyReport
    from agebench.workflows.study import study as study
    from agebench.workflows.train import TrainReport as TrainReport
    from agebench.workflows.train import train as train


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("agebench.errors")
    if name not in _PLACES:
        raise AttributeError(f"module 'agebench' has no attribute '{name}'")
    found = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
