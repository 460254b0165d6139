"""Simulated pairs in torch: what a Sentinel-2 would have seen of a finer image.

Wald: the finer image is a real Sentinel-2 one. Wald x2: both resolutions degraded by 2; the 10 m bands are
judged at 10 m, the 20 m bands after D at 20 m. Wald x4: both degraded by 4; the 10 m bands are judged at
20 m, the 20 m bands at native 20 m on the output's own grid: the only pairs of real Sentinel-2 that show
20 m bands at the factor 4 they are upsampled by.

Full resolution (FR): the finer image is a 5 m Venµs one, degraded to the 10 m and 20 m of Sentinel-2. Both
kinds as in Michel, Kalinicheva, "Building an Operational Shallow Sentinel-2 Single Image Super-Resolution
Network for EVOLAND Prototypes" (SURE-DOS 2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from openeo_superres.sensor import BANDS_10M, BANDS_20M, REFLECTANCE_SCALE, Band, psf

if TYPE_CHECKING:
    from .datasets import Crops

MTF_EXPONENT = (0.7, 1.35)
"""Range of the MTF exponent: sensors and their PSF models differ."""
MAX_NOISE = 12.0
"""Gaussian noise of the inputs is drawn between 0 and this, in DN."""


def degrade(image: Tensor, bands: tuple[Band, ...], factor: int, exponent: float = 1.0) -> Tensor:
    """:func:`openeo_superres.sensor.degrade` for a batch ``(n, bands, y, x)``; mirrored beyond the edge."""
    taps = np.stack([psf(band.mtf, factor, exponent) for band in bands])
    kernel = torch.tensor(taps, dtype=image.dtype, device=image.device)[:, None]
    pad = 3 * factor // 2
    # torch's "reflect" skips the edge sample; "symmetric" is built from the indices
    for axis in (2, 3):
        size = image.shape[axis]
        index = np.pad(np.arange(size), pad, mode="symmetric")
        image = image.index_select(axis, torch.from_numpy(index).to(image.device))
    rows = F.conv2d(image, kernel[..., None], stride=(factor, 1), groups=len(bands))
    return F.conv2d(rows, kernel[:, :, None], stride=(1, factor), groups=len(bands))


@dataclass(frozen=True)
class Pair:
    """A simulated input and its targets, float32 DN.

    ``input`` is ``(n, 10, 2h, 2w)``, ``target10`` ``(n, 4, 4h, 4w)``. ``target20`` ``(n, k, y, x)`` holds the
    first ``k`` of the 20 m bands, 6 or 4: B11 and B12 come last, and have no truth where Venµs gave it.
    ``coarse_factor`` is the factor of D between the output and ``target20``.
    """

    input: Tensor
    target10: Tensor
    target20: Tensor
    coarse_factor: int

    def to(self, device: torch.device) -> Pair:
        """The same on another device; to CUDA by pinned memory, without waiting for the copy."""
        cuda = device.type == "cuda"
        tensors = (self.input, self.target10, self.target20)
        moved = ((t.pin_memory() if cuda else t).to(device, non_blocking=cuda) for t in tensors)
        return Pair(*moved, self.coarse_factor)


def wald_pair(x10: Tensor, x20: Tensor, factor: int, generator: np.random.Generator) -> Pair:
    """Simulate a pair from real bands at native resolutions, with a random MTF and noise.

    Args:
        x10: ``(n, 4, y, x)`` float32 DN.
        x20: ``(n, 6, y / 2, x / 2)`` float32 DN, or ``(n, 4, y / 2, x / 2)`` without B11 and B12.
        factor: 2 or 4.
        generator: Draws the MTF exponent of the batch and the noise of each image.
    """
    exponent = generator.uniform(*MTF_EXPONENT)
    target10 = x10 if factor == 2 else degrade(x10, BANDS_10M, factor // 2)
    low10 = degrade(target10, BANDS_10M, 2, exponent)
    low20 = degrade(x20, BANDS_20M[: x20.shape[1]], factor, exponent)
    sigma = torch.from_numpy(generator.uniform(0, MAX_NOISE, (len(x10), 1, 1, 1)).astype(np.float32))
    low10, low20 = (
        low + sigma * torch.from_numpy(generator.standard_normal(low.shape, dtype=np.float32))
        for low in (low10, low20)
    )
    return Pair(_stacked(low10, low20), target10, x20, 4 // factor)


def drawn_pair(crops: Crops, batch: int, crop: int, quarter: float) -> Pair:
    """Draw a :func:`wald_pair`: x2 of ``crop`` 10 m pixels, or, a share ``quarter``, x4 of twice that."""
    factor = 4 if crops.generator.random() < quarter else 2
    return wald_pair(*crops.draw(batch, factor // 2 * crop), factor, crops.generator)


def full_resolution_pair(x05: Tensor, x20: Tensor, generator: np.random.Generator) -> Pair:
    """Simulate what Sentinel-2 would see of 5 m Venµs images, B11 and B12 as it did see them.

    Band b of the input is ``decimate(g_b * y_b, f) + n_b``: y_b the 5 m image, f = 2 for 10 m and 4 for 20 m
    bands, ``n_b ~ N(0, sigma_b)`` with a ``sigma_b ~ U(0, MAX_NOISE)`` of its own for every image and band.

    g_b is the **relative** PSF (:func:`openeo_superres.sensor.relative_sigma`): Venµs is taken to have, at
    its pixels of 5 m, the MTF that Sentinel-2 has at its own, so ``sigma^2 = sigma_S2^2 - sigma_Venus^2``,
    and the MTF of g_b is ``MTF_b ** (1 - 1 / f**2)``. That is the sensor model D of the consistency layer, so
    the target itself is consistent with the input. With the blur of an ideal scene, ``MTF_b``, it would not
    be, and the layer would pull the output off the target. The MTF is raised to a random power anyway; the
    ideal blur, a power of 4/3 (f = 2) or 16/15 (f = 4), is among them.

    Args:
        x05: ``(n, 8, 4h, 4w)`` float32 DN at 5 m: B02, B03, B04, B08, B05, B06, B07, B8A.
        x20: ``(n, 6, h, w)`` float32 DN of Sentinel-2, of which B11 and B12 (last) are used; ``(n, 4, h, w)``
            where there are none, and the input holds their means.
        generator: Draws the MTF exponent of the batch and the noise of each band.
    """
    exponent = generator.uniform(*MTF_EXPONENT)
    fine = len(BANDS_10M), x05.shape[1] - len(BANDS_10M)
    x10, coarse = x05.split(fine, dim=1)
    low10 = degrade(x10, BANDS_10M, 2, exponent)
    low20 = degrade(coarse, BANDS_20M[: fine[1]], 4, exponent)
    low10, low20 = (_with_noise_by_band(low, generator) for low in (low10, low20))
    low20 = torch.cat([low20, x20[:, fine[1] :]], dim=1)
    return Pair(_stacked(low10, low20), x10, coarse, 1)


def _with_noise_by_band(image: Tensor, generator: np.random.Generator) -> Tensor:
    sigma = generator.uniform(0, MAX_NOISE, (*image.shape[:2], 1, 1)).astype(np.float32)
    return image + torch.from_numpy(sigma * generator.standard_normal(image.shape, dtype=np.float32))


def _stacked(low10: Tensor, low20: Tensor) -> Tensor:
    """Ten bands on the grid of the 10 m bands; 20 m bands that are missing are their mean."""
    missing = [band.mean * REFLECTANCE_SCALE for band in BANDS_20M[low20.shape[1] :]]
    if missing:
        mean = torch.tensor(missing).reshape(1, -1, 1, 1)
        low20 = torch.cat([low20, mean.expand(len(low20), -1, *low20.shape[2:])], dim=1)
    replicated = low20.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return torch.cat([low10, replicated], dim=1)
