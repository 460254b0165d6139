"""Simulated pairs in torch: what a Sentinel-2 with larger pixels would have seen of a real image (Wald).

Wald x2: both resolutions degraded by 2; the 10 m bands are judged at 10 m, the 20 m bands after D at 20 m.
Wald x4: both degraded by 4; the 10 m bands are judged at 20 m, the 20 m bands at native 20 m on the output's
own grid: the only pairs that show 20 m bands at the factor 4 they are upsampled by.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from openeo_superres.sensor import BANDS_10M, BANDS_20M, Band, psf

MTF_EXPONENT = (0.7, 1.35)
"""Range of the MTF exponent: sensors and their PSF models differ."""
MAX_NOISE = 12.0
"""Gaussian noise of the inputs is drawn between 0 and this, in DN."""


def degrade(image: Tensor, bands: tuple[Band, ...], factor: int, exponent: float = 1.0) -> Tensor:
    """:func:`openeo_superres.sensor.degrade` for a batch ``(n, bands, y, x)``; mirrored beyond the edge."""
    taps = np.stack([psf(band.mtf, factor, exponent) for band in bands])
    kernel = torch.tensor(taps, dtype=image.dtype)[:, None]
    pad = 3 * factor // 2
    # torch's "reflect" skips the edge sample; "symmetric" is built from the indices
    for axis in (2, 3):
        size = image.shape[axis]
        index = np.pad(np.arange(size), pad, mode="symmetric")
        image = image.index_select(axis, torch.from_numpy(index))
    rows = F.conv2d(image, kernel[..., None], stride=(factor, 1), groups=len(bands))
    return F.conv2d(rows, kernel[:, :, None], stride=(1, factor), groups=len(bands))


@dataclass(frozen=True)
class Pair:
    """A simulated input ``(n, 10, 2h, 2w)`` and its targets; ``coarse_factor`` is D's for the 20 m bands."""

    input: Tensor
    target10: Tensor
    target20: Tensor
    coarse_factor: int


def wald_pair(x10: Tensor, x20: Tensor, factor: int, generator: np.random.Generator) -> Pair:
    """Simulate a pair from real bands at native resolutions, with a random MTF and noise.

    Args:
        x10: ``(n, 4, y, x)`` float32 DN.
        x20: ``(n, 6, y / 2, x / 2)`` float32 DN.
        factor: 2 or 4.
        generator: Draws the MTF exponent of the batch and the noise of each image.
    """
    exponent = generator.uniform(*MTF_EXPONENT)
    target10 = x10 if factor == 2 else degrade(x10, BANDS_10M, factor // 2)
    low10 = degrade(target10, BANDS_10M, 2, exponent)
    low20 = degrade(x20, BANDS_20M, factor, exponent)
    sigma = torch.from_numpy(generator.uniform(0, MAX_NOISE, (len(x10), 1, 1, 1)).astype(np.float32))
    low10, low20 = (
        low + sigma * torch.from_numpy(generator.standard_normal(low.shape, dtype=np.float32))
        for low in (low10, low20)
    )
    replicated = low20.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return Pair(torch.cat([low10, replicated], dim=1), target10, x20, 4 // factor)
