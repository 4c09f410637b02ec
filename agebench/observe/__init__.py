"""Costly facts read from pixels, once per picture content and observer version."""

from agebench.observe.detectors import DetectorChoice, choose_detector, detect_faces, load_detector
from agebench.observe.engine import Progress, observe, pending_files

__all__ = [
    "DetectorChoice",
    "Progress",
    "choose_detector",
    "detect_faces",
    "load_detector",
    "observe",
    "pending_files",
]
