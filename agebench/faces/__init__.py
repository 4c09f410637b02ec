"""Faces: detectors, embedders and age models, each found by name; alignment, and stored aligned crops."""
