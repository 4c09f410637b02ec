"""Scattering features (ScatNet, three layers): moduli of wavelet responses, filtered by wavelets again, averaged.

Source: Bruna and Mallat, "Invariant scattering convolution networks", PAMI 2013. Morlet wavelets as in kymatio
(Andreux et al., JMLR 2020), whose release of 2022 cannot be imported beside a current SciPy: ξ = 3π/4 · 2⁻ʲ,
σ = 0.8 · 2ʲ, slant 4/L; paths of order two take a coarser second scale than the first.

Left open for ages (Yang et al., BMVC 2015, use them in DeepRank+ without naming scales), and chosen here: grey faces of
64 pixels mirrored at the border, J = 3 scales, L = 6 directions, the logarithm of every coefficient but the mean's.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from agebench.training.features import Floats, grey

SIZE = 64
SCALES, DIRECTIONS = 3, 6
STRIDE = 2**SCALES  # pixels between two averages
FLOOR = 1e-3  # of values 0..1, added before the logarithm


def gabor(side: int, sigma: float, angle: float, frequency: float, slant: float) -> NDArray[np.complex128]:
    """A Gaussian times a plane wave, periodic in a square of `side` pixels, (side, side), of volume 1 without the wave.

    sigma: pixels along the wave; slant: sigma over that across it; frequency: radians a pixel; angle: radians.
    """
    total = np.zeros((side, side), np.complex128)
    for shift_y in (-1, 0, 1):
        for shift_x in (-1, 0, 1):
            y, x = np.mgrid[:side, :side] - side // 2 + side * np.array([shift_y, shift_x]).reshape(2, 1, 1)
            along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            total += np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2) + 1j * frequency * along)
    return fft.ifftshift(total) * slant / (2 * np.pi * sigma**2)


def morlet(side: int, scale: int, direction: int) -> NDArray[np.complex128]:
    """The Morlet wavelet of a scale j and a direction: a Gabor filter from which its mean is taken."""
    sigma, frequency, slant = 0.8 * 2**scale, 0.75 * np.pi / 2**scale, 4 / DIRECTIONS
    angle = np.pi * direction / DIRECTIONS
    wave = gabor(side, sigma, angle, frequency, slant)
    envelope = gabor(side, sigma, angle, 0.0, slant)
    return wave - wave.sum() / envelope.sum() * envelope


@cache
def filters(side: int) -> tuple[NDArray[np.complex64], NDArray[np.complex64]]:
    """In the frequency domain: the wavelets (SCALES, DIRECTIONS, side, side) and the average (side, side)."""
    wavelets = [[fft.fft2(morlet(side, j, way)) for way in range(DIRECTIONS)] for j in range(SCALES)]
    average = fft.fft2(gabor(side, 0.8 * 2 ** (SCALES - 1), 0.0, 0.0, 1.0))
    return np.asarray(wavelets, np.complex64), np.asarray(average, np.complex64)


def scatter(pictures: Floats) -> Floats:
    """Scattering coefficients (B, P, S / 8, S / 8) of grey pictures (B, S, S): the mean, then the paths of order one
    (scale, direction), then those of order two (first scale and direction, second scale and direction)."""
    padded = np.pad(pictures, ((0, 0), (STRIDE, STRIDE), (STRIDE, STRIDE)), mode="reflect")
    wavelets, average = filters(padded.shape[-1])

    def averaged(spectrum: NDArray[np.complex64]) -> Floats:
        smooth = fft.ifft2(spectrum * average).real[..., STRIDE:-STRIDE:STRIDE, STRIDE:-STRIDE:STRIDE]
        return np.asarray(smooth.reshape(len(pictures), -1, *smooth.shape[-2:]), np.float32)

    spectrum = fft.fft2(padded.astype(np.float32))
    first = fft.fft2(np.abs(fft.ifft2(spectrum[:, None, None] * wavelets)))
    paths = [averaged(spectrum), averaged(first)]
    for scale in range(SCALES - 1):
        for way in range(DIRECTIONS):
            second = np.abs(fft.ifft2(first[:, scale, way, None, None] * wavelets[scale + 1 :]))
            paths.append(averaged(fft.fft2(second)))
    return np.concatenate(paths, axis=1)


def feature(faces: NDArray[np.uint8]) -> Floats:
    """(B, 8128) float32 of (B, S, S, 3) uint8 RGB: 127 paths of 8×8 averages."""
    found = scatter(grey(faces, SIZE))
    found[:, 1:] = np.log(np.maximum(found[:, 1:], 0) + FLOOR)
    return found.reshape(len(found), -1)
