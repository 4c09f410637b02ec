"""VGG-16 as DEX uses it: thirteen 3×3 convolutions in five stages, then three fully connected layers.

Sources: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015
(configuration D); Rothe, Timofte and Van Gool, "DEX: deep expectation of apparent age from a single image", ICCV
workshops 2015: 101 classes for the ages 0..100, started from ImageNet weights. The parameters have torchvision's names
(`features.0.weight`, …), so that its published weights can be loaded.

Left open there, and chosen here: at other sizes than 224 pixels the last feature map is averaged to 7×7, as torchvision
does; `width` scales the number of filters and `normalised` adds batch normalisation after each convolution, for small
networks that start from random weights.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from agebench.training.networks import only_oval

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # filters and convolutions; each ends in a pooling by 2
HIDDEN = 4096


class Vgg16(nn.Module):
    """(B, 3, S, S) normalised RGB, S at least 32 → (B, classes) raw scores, class k = age k in years."""

    def __init__(self, width: float, grid: int, normalised: bool, dropout: float, classes: int, oval: bool) -> None:
        super().__init__()
        self.oval = oval
        layers: list[nn.Module] = []
        inside = 3
        for filters, depth in STAGES:
            outside = max(8, round(filters * width))
            for _ in range(depth):
                layers.append(nn.Conv2d(inside, outside, 3, padding=1, bias=not normalised))
                layers += [nn.BatchNorm2d(outside)] if normalised else []
                layers.append(nn.ReLU(inplace=True))
                inside = outside
            layers.append(nn.MaxPool2d(2))
        hidden = max(64, round(HIDDEN * width))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.classifier = nn.Sequential(
            nn.Linear(inside * grid**2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.classifier[-1].weight, std=0.01)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(only_oval(x) if self.oval else x)).flatten(1))


def network(
    *,
    width: Annotated[float, Field(gt=0, le=1)] = 1.0,
    grid: Annotated[int, Field(ge=1, le=7)] = 7,
    normalised: bool = False,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    oval: bool = False,
    classes: Annotated[int, Field(ge=100, le=101)] = 101,
) -> Vgg16:
    """A `Vgg16` with random weights. width: the share of the published filters; grid: side of the feature map that the
    fully connected layers read; oval: see only the face's oval (`networks.only_oval`)."""
    return Vgg16(width, grid, normalised, dropout, classes, oval)
