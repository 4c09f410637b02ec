"""The paper's residual networks (Kwak et al., table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from agebench.training.networks import only_oval

Unit = Literal["post-activation", "pre-activation"]
Count = Annotated[int, Field(ge=1)]


def _conv(inside: int, outside: int, size: int, stride: int = 1) -> nn.Conv2d:
    # no bias: batch normalisation follows and has its own
    return nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; the first block of a stage halves by the second convolution's stride.

    The paper does not describe the shortcut: here a 1×1 convolution of stride 2 with batch normalisation where the
    block halves, the identity elsewhere. `post-activation` activates after the sum; `pre-activation` is the unit of the
    paper's reference [4], in which normalisation and activation come before each convolution and nothing after the sum.
    """

    def __init__(self, inside: int, width: int, halves: bool, unit: Unit = "post-activation") -> None:
        super().__init__()
        stride = 2 if halves else 1
        self.pre = unit == "pre-activation"
        self.conv1 = _conv(inside, width, 3)
        self.bn1 = nn.BatchNorm2d(inside if self.pre else width)
        self.conv2 = _conv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if halves or inside != width:
            self.shortcut = nn.Sequential(_conv(inside, width, 1, stride), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inside, H, W) → (B, width, H/2, W/2) where the block halves, else (B, width, H, W)."""
        if self.pre:
            y = self.conv1(torch.relu(self.bn1(x)))
            return self.conv2(self.relu(self.bn2(y))) + self.shortcut(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


class ResidualNetwork(nn.Module):
    """A residual network of two-convolution blocks with a `classes`-way output, for any input size from 32 pixels.

    blocks, widths: blocks and filters of each stage; (3, 4, 6, 3) is the paper's 34-layer network, (2, 2, 2, 2) the
    18-layer one. dropout: the share that is dropped before the fully connected layer (the paper keeps 0.8).
    oval: the network sees only the oval of the face (`networks.only_oval`), not hair and background.
    The stem keeps the resolution (stride 1) and the pooling halves it: 224 → 112, then 56, 28, 14, 7 after the stages.
    """

    def __init__(
        self,
        blocks: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        dropout: float = 0.2,
        unit: Unit = "post-activation",
        classes: int = 100,
        oval: bool = False,
    ) -> None:
        super().__init__()
        self.oval = oval
        pre = unit == "pre-activation"
        first, last = widths[0], widths[-1]
        activated = (nn.BatchNorm2d(first), nn.ReLU(inplace=True))
        # a pre-activation unit normalises its own input
        self.stem = nn.Sequential(_conv(3, first, 3), *(() if pre else activated), nn.MaxPool2d(3, 2, padding=1))
        stages, inside = [], first
        for depth, width in zip(blocks, widths, strict=True):
            stages.append(nn.Sequential(*(Block(width if n else inside, width, n == 0, unit) for n in range(depth))))
            inside = width
        self.stages = nn.ModuleList(stages)
        self.final = nn.Sequential(nn.BatchNorm2d(last), nn.ReLU(inplace=True)) if pre else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(last, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.kaiming_normal_(self.fc.weight, nonlinearity="linear")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB → (B, classes) raw scores, class k = age k in years."""
        if self.oval:
            x = only_oval(x)
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return self.fc(self.dropout(self.final(x).mean((2, 3))))


def network(
    *,
    blocks: list[Count],
    widths: list[Count] = [64, 128, 256, 512],  # noqa: B006 - never changed
    unit: Unit = "post-activation",
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    oval: bool = False,
    classes: Literal[100] = 100,
) -> ResidualNetwork:
    """A `ResidualNetwork`. Raises ValueError if `blocks` and `widths` differ in length."""
    if len(blocks) != len(widths):
        raise ValueError(f"{len(blocks)} stages of blocks but {len(widths)} widths")
    return ResidualNetwork(blocks, widths, dropout=dropout, unit=unit, classes=classes, oval=oval)
