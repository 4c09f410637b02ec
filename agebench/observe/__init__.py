"""Costly facts read from pixels, once per picture content and observer version."""

from agebench.observe.detectors import DetectorChoice, choose_detector, detect_faces, load_detector
from agebench.observe.embedders import EmbedderChoice, choose_embedder
from agebench.observe.engine import Look, Progress, look_here, observe, pending_files
from agebench.observe.estimators import EstimatorChoice, choose_estimator
from agebench.observe.observers import File, Observers
from agebench.observe.ray_engine import check_ray, look_on_ray

__all__ = [
    "DetectorChoice",
    "EmbedderChoice",
    "EstimatorChoice",
    "File",
    "Look",
    "Observers",
    "Progress",
    "check_ray",
    "choose_detector",
    "choose_embedder",
    "choose_estimator",
    "detect_faces",
    "load_detector",
    "look_here",
    "look_on_ray",
    "observe",
    "pending_files",
]
