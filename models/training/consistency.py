"""The consistency layer: whatever a network adds, the sensor model gives the input back.

With D the sensor model (relative PSF and decimation), C bicubic upsampling, x the input and r the detail that
a network adds, the layer computes ``y = s + U(x - D s)`` for ``s = C x + r`` and ``U = C . h``, where h is a
short inverse of ``g = D C`` on the input grid. Since all of it is linear, that is

    y = C(x + h * (x - g * x - D r)) + r

which needs one upsampling only, and keeps every other filter on the coarse grid.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeo_superres.sensor import (
    BANDS_10M,
    BANDS_20M,
    Band,
    coarse_response,
    cubic_taps,
    psf,
    ridge_inverse,
)


class Separable(nn.Module):
    """A fixed separable filter per channel, first along y, then along x (zero padding).

    Args:
        taps: ``(bands, phases, taps)``; with several phases the output is ``phases`` times larger.
        stride: Decimation.
    """

    def __init__(self, taps: np.ndarray, stride: int = 1) -> None:
        super().__init__()
        self.bands, self.phases, length = taps.shape
        self.stride = stride
        self.pad = (length - stride) // 2
        kernels = torch.tensor(taps, dtype=torch.float32)
        along_y = kernels.reshape(self.bands * self.phases, 1, length, 1)
        along_x = kernels.repeat_interleave(self.phases, dim=0).reshape(-1, 1, 1, length)
        self.register_buffer("along_y", along_y, persistent=False)
        self.register_buffer("along_x", along_x, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Filter ``(n, bands, y, x)``."""
        rows = F.conv2d(
            image, self.along_y, stride=(self.stride, 1), padding=(self.pad, 0), groups=self.bands
        )
        groups = self.bands * self.phases
        both = F.conv2d(rows, self.along_x, stride=(1, self.stride), padding=(0, self.pad), groups=groups)
        return F.pixel_shuffle(both, self.phases) if self.phases > 1 else both


class BandGroup(nn.Module):
    """The layer for bands of one resolution, ``factor`` times coarser than the output."""

    reach = 9
    """One-sided dependence of the output on x, in cells of the input grid: 2 (C) + 4 (h) + 3 (g)."""
    detail_reach = 8
    """The same on the detail r: 2 (C) + 4 (h) + 2 (D)."""

    def __init__(self, bands: tuple[Band, ...], factor: int) -> None:
        super().__init__()
        response = np.stack([coarse_response(band, factor) for band in bands])
        inverse = np.stack([ridge_inverse(row) for row in response])
        cubic = np.repeat(cubic_taps(factor)[None], len(bands), axis=0)
        self.up = Separable(cubic)
        self.blur = Separable(response[:, None])
        self.restore = Separable(inverse[:, None])
        self.down = Separable(np.stack([psf(band.mtf, factor) for band in bands])[:, None], stride=factor)

    def base(self, x: Tensor) -> Tensor:
        """The layer without detail: the deconvolved bicubic image of ``x`` ``(n, bands, y, x)``."""
        return self.up(x + self.restore(x - self.blur(x)))

    def forward(self, x: Tensor, detail: Tensor) -> Tensor:
        """Add ``detail`` ``(n, bands, factor * y, factor * x)``, less what it would change in ``x``."""
        return self.up(x + self.restore(x - self.blur(x) - self.down(detail))) + detail


class Consistency(nn.Module):
    """The layer over the ten bands: input ``(n, 10, 2h, 2w)`` on the 10 m grid, output twice as fine."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = BandGroup(BANDS_10M, 2)
        self.coarse = BandGroup(BANDS_20M, 4)

    def seen(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """What the sensor would see of an output, D y: ``(n, 4, 2h, 2w)`` and ``(n, 6, h, w)``."""
        split = len(BANDS_10M)
        return self.fine.down(output[:, :split]), self.coarse.down(output[:, split:])

    def forward(self, x: Tensor, detail: Tensor | None = None) -> Tensor:
        """Super-resolve ``x`` in DN, with the learnt ``detail`` in DN, or without any."""
        split = len(BANDS_10M)
        x10, x20 = x[:, :split], x[:, split:, ::2, ::2]
        if detail is None:
            return torch.cat([self.fine.base(x10), self.coarse.base(x20)], dim=1)
        y10 = self.fine(x10, detail[:, :split])
        y20 = self.coarse(x20, detail[:, split:])
        return torch.cat([y10, y20], dim=1)
