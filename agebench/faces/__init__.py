"""Faces: detectors, embedders and age models, each found by name; alignment, and aligned crops that are kept."""
