"""Synthetic releases with known faults, and the count of the faults that a curation caught."""

from agebench.demo.releases import DRAWN, DemoReleases, draw_releases
from agebench.demo.truth import caught

__all__ = ["DRAWN", "DemoReleases", "caught", "draw_releases"]
