"""Costly facts read from pixels, once per picture content and observer version."""

from agebench.observe.detectors import DetectorChoice, choose_detector, detect_faces, load_detector
from agebench.observe.embedders import EmbedderChoice, choose_embedder
from agebench.observe.engine import Progress, observe, pending_files
from agebench.observe.estimators import EstimatorChoice, choose_estimator
from agebench.observe.observers import File, Observers

__all__ = [
    "DetectorChoice",
    "EmbedderChoice",
    "EstimatorChoice",
    "File",
    "Observers",
    "Progress",
    "choose_detector",
    "choose_embedder",
    "choose_estimator",
    "detect_faces",
    "load_detector",
    "observe",
    "pending_files",
]
