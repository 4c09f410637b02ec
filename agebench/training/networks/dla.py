"""The small network of DLA, whose layers give the features that the method `dla` pools.

Source: Wang, Guo and Kambhamettu, "Deeply-learned feature for age estimation", WACV 2015: a network of three
convolutions, two poolings and a fully connected layer, trained to tell the age.

Left open here, and chosen: the network sees only the oval of the face (`networks.only_oval`); 32, 48 and 64 filters of
5×5, 3×3 and 3×3, batch normalisation, and a fully connected layer of 80.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from agebench.training.networks import only_oval


def _stage(inside: int, outside: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
    )


class DlaNetwork(nn.Module):
    """(B, 3, S, S) normalised RGB, S at least 32 → (B, 100) raw scores, class k = age k in years."""

    def __init__(self, hidden: int, dropout: float) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_stage(3, 32, 5), _stage(32, 48, 3), _stage(48, 64, 3)])
        self.hidden = nn.Sequential(
            nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Linear(64 * 36, hidden), nn.ReLU(inplace=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(hidden, 100)

    def layers(self, x: Tensor) -> list[Tensor]:
        """The outputs of all layers but the last, in order: three of (B, C, H, W), one of (B, hidden)."""
        found, x = [], only_oval(x)
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return [*found, self.hidden(x)]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.layers(x)[-1]))


def network(
    *,
    hidden: Annotated[int, Field(ge=1)] = 80,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    classes: Literal[100] = 100,
) -> DlaNetwork:
    """A `DlaNetwork` with random weights. hidden: width of the fully connected layer."""
    return DlaNetwork(hidden, dropout)
