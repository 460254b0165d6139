"""EDSR: plain residual blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeo_superres.sensor import BANDS, BANDS_10M

from .layers import SCALE, start_from_nothing


class Residual(nn.Module):
    """Residual block without batch normalisation (EDSR: Lim et al., CVPRW 2017), LeakyReLU 0.1."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(features, features, 3, padding=1)
        self.second = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, features, y, x)``."""
        return x + self.second(F.leaky_relu(self.first(x), 0.1))


class Edsr(nn.Module):
    """Residual blocks on one grid, pixel shuffle at the end; gives the standardised detail at 5 m.

    Args:
        blocks: Number of residual blocks.
        features: Width.
        cell: Size of the grid's cells in 10 m pixels: 1 works on the 10 m grid with replicated 20 m bands, 2
            on the 20 m grid with the 10 m bands unshuffled to channels.
    """

    def __init__(self, blocks: int, features: int, cell: int = 1) -> None:
        super().__init__()
        self.cell = cell
        self.margin = cell * (2 * blocks + 2)
        fine = len(BANDS_10M)
        inputs = fine * cell**2 + len(BANDS) - fine
        self.entry = nn.Conv2d(inputs, features, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(features) for _ in range(blocks)))
        self.exit = nn.Conv2d(features, len(BANDS) * (SCALE * cell) ** 2, 3, padding=1)
        start_from_nothing(self.exit)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(n, 10, y, x)`` standardised to ``(n, 10, 2y, 2x)``."""
        if self.cell > 1:
            fine = len(BANDS_10M)
            x = torch.cat(
                [
                    F.pixel_unshuffle(x[:, :fine], self.cell),
                    x[:, fine:, :: self.cell, :: self.cell],
                ],
                dim=1,
            )
        return F.pixel_shuffle(self.exit(self.blocks(self.entry(x))), SCALE * self.cell)
