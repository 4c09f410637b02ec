"""Synthetic releases with known faults, drawn by the program, and the count of which faults a curation caught."""

from agebench.demo.releases import DRAWN, DemoReleases, draw_releases
from agebench.demo.truth import caught

__all__ = ["DRAWN", "DemoReleases", "caught", "draw_releases"]
