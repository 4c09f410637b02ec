"""Random augmentation of a whole batch at once, on its own device, all drawn from one generator."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from agebench.recipes import Augment, Border

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what a gray picture shows of R, G and B


def augment(pictures: Tensor, how: Augment, generator: torch.Generator, border: Border = "black") -> Tensor:
    """An augmented copy of every picture; each picture has its own draw.

    pictures: (B, S, S, 3) RGB uint8. generator: on the same device. border: what is seen outside of a picture (see
    `recipes.Crop`). Returns (B, S, S, 3) float32 RGB, 0..255.
    how.flip: mirrored in half of the draws. how.crop: seen through a window whose side is 1 − crop to 1 + crop of the
    picture's, its centre up to a quarter of `crop` off. how.stretch: that window is 1 − stretch to 1 + stretch times as
    wide as high, so that faces look narrower or wider. how.perspective: like a camera that is tilted: one border of the
    picture is seen up to 1 + perspective times as large as the middle, the opposite one up to 1 − perspective, both up
    and down and sideways. how.rotate: degrees either way. how.colour: brightness,
    contrast and saturation each times 1 − colour to 1 + colour, and each channel by half of that, like the tint of
    faded prints. how.gray: the share of draws that lose their colours. how.coarsen: half of the draws are reduced to
    between 1 − coarsen and 1 of their side and enlarged again, like small or blurred photographs. how.grain: noise of a
    deviation up to `grain` of 255, the same in all channels, in grains 1 to 3 pixels wide, as wide in the whole batch.
    how.screen: a seventh of the draws get stripes or dots that repeat every 2 to 7 pixels, up to `screen` of 255 either
    way, like printed photographs. how.fade: half of the draws keep 1 − fade to 1 of their contrast and get up to
    60 fade darker or lighter; half get a colour cast, each channel times 1 − 0.6 fade to 1 + 0.3 fade; like old prints.
    how.jpeg: half of the draws get the losses of JPEG at a quality of 100 (1 − jpeg) to 100, without chroma
    subsampling. how.erase: in half of the draws a gray rectangle, each side up to `erase` of the picture's.

    Crops both enlarge and reduce: a network trained only on enlarged faces is years off on faces of normal size.
    """
    batch, device = len(pictures), pictures.device

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator, device=device) * (high - low) + low

    # everything is drawn, used or not, so that one setting does not change the draws of another
    mirrored = draw(0, 1) < (0.5 if how.flip else 0.0)
    side = draw(1 - how.crop, 1 + how.crop)
    shift = draw(-how.crop / 2, how.crop / 2, 2)  # of −1..1
    angle = torch.deg2rad(draw(-how.rotate, how.rotate))
    brightness, contrast, saturation = draw(1 - how.colour, 1 + how.colour, 3).unbind(1)
    tint = draw(1 - how.colour / 2, 1 + how.colour / 2, 3)
    saturation = torch.where(draw(0, 1) < how.gray, 0.0, saturation)
    kept = torch.where(draw(0, 1) < 0.5, draw(1 - how.coarsen, 1), 1.0)
    deviation = draw(0, 255 * how.grain)
    middle, sides = draw(0, 1, 2), torch.where(draw(0, 1).unsqueeze(1) < 0.5, draw(0, how.erase, 2), 0.0)
    width = 1 + 2 * draw(0, 1)[0]  # of the grains, the same in a batch
    depth = torch.where(draw(0, 1) < 1 / 7, draw(0, 255 * how.screen), 0.0)
    turn, period, dots = draw(0, math.pi), draw(2, 7), draw(0, 1) < 0.6
    contrast_left = torch.where(draw(0, 1) < 0.5, draw(1 - how.fade, 1), 1.0)
    lighter = torch.where(contrast_left < 1, draw(-60 * how.fade, 60 * how.fade), 0.0)
    cast = torch.where((draw(0, 1) < 0.5).unsqueeze(1), draw(1 - 0.6 * how.fade, 1 + 0.3 * how.fade, 3), 1.0)
    quality = torch.where(draw(0, 1) < 0.5, draw(100 * (1 - how.jpeg), 100), 100.0)
    stretch = draw(1 - how.stretch, 1 + how.stretch).sqrt()
    tilt = draw(-how.perspective, how.perspective, 2)

    # one plane per colour: resampling and matrix products are several times faster on a CPU
    values = pictures.permute(0, 3, 1, 2).contiguous().float()
    if how.crop or how.stretch or how.perspective or how.rotate:
        across, down = torch.where(mirrored, -side, side) * stretch, side / stretch
        cos, sin = angle.cos(), angle.sin()
        window = torch.stack([across * cos, -down * sin, shift[:, 0], across * sin, down * cos, shift[:, 1]], 1)
        distance = torch.cat([tilt, torch.ones_like(tilt[:, :1])], 1)
        values = _resample(values, torch.cat([window, distance], 1).view(batch, 3, 3), border)
    elif how.flip:
        values = torch.where(mirrored.view(-1, 1, 1, 1), values.flip(3), values)
    if how.colour or how.gray:
        values = _recolour(values, brightness, contrast, saturation, tint)
    if how.coarsen:
        values = _coarsen(values, kept)
    if how.grain:
        values = values + deviation.view(-1, 1, 1, 1) * _grains(batch, values.shape[2], width.item(), generator)
    if how.screen:
        values = values + depth.view(-1, 1, 1, 1) * _screen(values.shape[2], turn, period, dots)
    if how.fade:
        middle_gray = values.mean((1, 2, 3), keepdim=True)
        values = (values - middle_gray) * contrast_left.view(-1, 1, 1, 1) + middle_gray + lighter.view(-1, 1, 1, 1)
        values = values * cast.view(-1, 3, 1, 1)
    if how.grain or how.screen or how.fade:
        values = values.clamp_(0, 255)
    if how.jpeg:
        values = _quantised(values, quality)
    if how.erase:
        values = values.masked_fill_(_rectangles(middle, sides, values.shape[2]), 127.5)
    return values.permute(0, 2, 3, 1)


def mixup(pictures: Tensor, alpha: float, generator: torch.Generator) -> tuple[Tensor, Tensor, float]:
    """(blends of `pictures` (B, ...) in pairs, each one's partner (B,), the share that is not the partner's).

    The share is drawn from Beta(alpha, alpha), once for the batch. A loss of blends is that share of the loss for their
    own ages, and the rest of that for their partners' (Zhang et al., "mixup: beyond empirical risk minimization", ICLR
    2018)."""
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    share = float(np.random.default_rng(seed).beta(alpha, alpha))  # torch's Beta takes no generator
    partner = torch.randperm(len(pictures), generator=generator, device=generator.device)
    return torch.lerp(pictures[partner], pictures, share), partner, share


def _resample(values: Tensor, window: Tensor, border: Border) -> Tensor:
    """`values` (B, 3, S, S) through each `window` (B, 3, 3), the homography from output places x, y (−1..1) to places
    in the picture."""
    batch, _, height, width = values.shape
    # F.affine_grid gives the same grid by one small product per picture: slower than the resampling itself
    x = (torch.arange(width, device=values.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=values.device) * 2 + 1) / height - 1
    places = torch.stack([x.repeat(height), y.repeat_interleave(width), torch.ones_like(x).repeat(height)])
    x, y, distance = (window @ places).view(batch, 3, height, width).unbind(1)
    grid = torch.stack([x / distance, y / distance], 3)
    outside = "reflection" if border == "mirror" else "zeros"
    return F.grid_sample(values, grid, padding_mode=outside, align_corners=False)


def _recolour(values: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor, tint: Tensor) -> Tensor:
    """Saturation, contrast about the picture's mean luma, brightness, tint: one 3×3 matrix and one offset each."""
    luma = torch.tensor(LUMA, device=values.device)
    keep, gray = torch.eye(3, device=values.device), luma.expand(3, 3)  # every output channel gets the luma
    gain = (brightness.unsqueeze(1) * tint).unsqueeze(2)
    matrix = saturation.view(-1, 1, 1) * keep + (1 - saturation).view(-1, 1, 1) * gray
    offset = gain * ((1 - contrast) * (values.mean((2, 3)) @ luma)).view(-1, 1, 1)
    black = values.amax(1, keepdim=True) < 1  # what lies outside of the picture stays black
    changed = torch.baddbmm(offset, gain * contrast.view(-1, 1, 1) * matrix, values.flatten(2)).view_as(values)
    return changed.clamp_(0, 255).masked_fill_(black, 0)


SIZES = 16  # to which a picture is reduced are multiples of its side through this, so that each needs one call


def _coarsen(values: Tensor, kept: Tensor) -> Tensor:
    """`values` (B, 3, S, S), each reduced to `kept` (B,) of its side by averaging and enlarged again."""
    sixteenths = (kept * SIZES).ceil()
    for size in sixteenths.unique().tolist():
        if size < SIZES:
            rows = sixteenths == size
            small = F.interpolate(values[rows], scale_factor=size / SIZES, mode="bilinear", antialias=True)
            values[rows] = F.interpolate(small, size=values.shape[2:], mode="bilinear")
    return values


def _grains(batch: int, size: int, width: float, generator: torch.Generator) -> Tensor:
    """(batch, 1, size, size): noise of mean 0 and deviation 1 in grains of `width` pixels."""
    side = max(2, math.ceil(size / width))
    noise = torch.randn(batch, 1, side, side, generator=generator, device=generator.device)
    if side < size:
        noise = F.interpolate(noise, size=size, mode="bilinear")
        noise = noise / noise.std((2, 3), keepdim=True)
    return noise


def _screen(size: int, turn: Tensor, period: Tensor, dots: Tensor) -> Tensor:
    """(B, 1, size, size) from −1 to 1: stripes, or dots where `dots` (B,) is true, `period` (B,) pixels apart and
    turned by `turn` (B,) radians."""
    place = torch.arange(size, device=turn.device, dtype=torch.float32)
    turn, wave = turn.view(-1, 1, 1), 2 * math.pi / period.view(-1, 1, 1)
    x, y = place.view(1, 1, -1), place.view(1, -1, 1)
    along = (wave * (x * turn.cos() + y * turn.sin())).cos()
    across = (wave * (y * turn.cos() - x * turn.sin())).cos()
    return torch.where(dots.view(-1, 1, 1), (along + across) / 2, along).unsqueeze(1)


# JPEG's quantisation tables at quality 50 (ITU-T T.81, annex K), and its colour space (JFIF).
LUMA_STEPS = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA_STEPS = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
YCBCR = (LUMA, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def _quantised(values: Tensor, quality: Tensor) -> Tensor:
    """`values` (B, 3, S, S), 0 to 255, after JPEG's quantisation at each `quality` (B,), 1 to 100, without chroma
    subsampling; at 100 they are unchanged."""
    batch, _, height, width = values.shape
    to_ycbcr = torch.tensor(YCBCR, device=values.device)
    k, n = torch.arange(8.0, device=values.device).view(8, 1), torch.arange(8.0, device=values.device)
    dct = torch.cos(math.pi / 8 * k * (n + 0.5)) * torch.where(k > 0, 0.5, math.sqrt(1 / 8))  # orthonormal DCT-II
    steps = torch.tensor([LUMA_STEPS, CHROMA_STEPS, CHROMA_STEPS], device=values.device).view(1, 3, 1, 1, 8, 8)
    scale = torch.where(quality < 50, 50 / quality.clamp(min=1), 2 - quality / 50)  # as the IJG's library scales them
    steps = (steps * scale.view(-1, 1, 1, 1, 1, 1) + 0.5).floor().clamp(1, 255)
    padded = F.pad(values, (0, -width % 8, 0, -height % 8), mode="replicate")
    planes = torch.einsum("ij,bjhw->bihw", to_ycbcr, padded - 128).round()
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)  # (B, 3, rows, columns, 8, 8)
    rounded = (dct @ blocks @ dct.T / steps).round() * steps
    planes = (dct.T @ rounded @ dct).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    stored = torch.einsum("ij,bjhw->bihw", torch.linalg.inv(to_ycbcr), planes) + 128
    lossless = (quality >= 100).view(batch, 1, 1, 1)
    return torch.where(lossless, values, stored[:, :, :height, :width].clamp(0, 255))


def _rectangles(middle: Tensor, sides: Tensor, size: int) -> Tensor:
    """(B, 1, S, S) bool: a rectangle in each, by its middle and sides, (B, 2) y and x as shares of the side."""
    place = (torch.arange(size, device=middle.device) + 0.5) / size
    inside = (place - middle.unsqueeze(2)).abs() < sides.unsqueeze(2) / 2  # (B, 2, S)
    return (inside[:, 0].unsqueeze(2) & inside[:, 1].unsqueeze(1)).unsqueeze(1)
