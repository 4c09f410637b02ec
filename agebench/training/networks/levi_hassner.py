"""The network of Levi and Hassner: three convolutions and three fully connected layers.

Source: Levi and Hassner, "Age and gender classification using convolutional neural networks", CVPR workshops 2015:
96 filters of 7×7 (stride 4), 256 of 5×5, 384 of 3×3, each with a ReLU and a 3×3 pooling of stride 2, the first two with
local response normalisation; two layers of 512 with dropout 0.5; crops of 227 pixels; weights drawn from a Gaussian of
standard deviation 0.01. Theirs has eight age groups as classes; here the classes are years, as for every network in the
tables, and the estimate is the expected age.

Left open there, and chosen here: `stride` of the first convolution, which small crops need at 1 or 2; `width`, which
scales the number of filters for small networks; He's initialisation, because the published one hardly starts at other
sizes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from agebench.training.networks import only_oval

FILTERS = (96, 256, 384)
GRID = 6  # side of the last feature map at 227 pixels, averaged to this at others


class LeviHassner(nn.Module):
    """(B, 3, S, S) normalised RGB → (B, classes) raw scores, class k = age k in years."""

    def __init__(self, stride: int, width: float, dropout: float, classes: int, oval: bool) -> None:
        super().__init__()
        self.oval = oval
        first, second, third = (max(8, round(width * filters)) for filters in FILTERS)
        self.features = nn.Sequential(
            nn.Conv2d(3, first, 7, stride, padding=3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
            nn.LocalResponseNorm(5, 1e-4, 0.75),
            nn.Conv2d(second, third, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.pool = nn.AdaptiveAvgPool2d(GRID)
        self.classifier = nn.Sequential(
            nn.Linear(third * GRID**2, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(512, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.classifier[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(only_oval(x) if self.oval else x)).flatten(1))


def network(
    *,
    stride: Annotated[int, Field(ge=1, le=4)] = 4,
    width: Annotated[float, Field(gt=0, le=1)] = 1.0,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    oval: bool = False,
    classes: Literal[100] = 100,
) -> LeviHassner:
    """A `LeviHassner` with random weights. stride: of the first convolution; width: the share of
    the published filters; oval: see only the face's oval (`networks.only_oval`)."""
    return LeviHassner(stride, width, dropout, classes, oval)
