"""What the families of networks share."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from openeo_superres.sensor import BANDS_10M, BANDS_20M, cubic_taps

from .consistency import Separable

SCALE = 2


class TenMetres(nn.Module):
    """Bicubic upsampling of the replicated 20 m bands, for networks that take ten bands at 10 m."""

    reach = 4
    """One-sided, in 10 m pixels: two cells."""

    def __init__(self) -> None:
        super().__init__()
        self.up = Separable(np.repeat(cubic_taps(2)[None], len(BANDS_20M), axis=0))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, 10, 2h, 2w)``."""
        split = len(BANDS_10M)
        return torch.cat([x[:, :split], self.up(x[:, split:, ::2, ::2])], dim=1)


def start_from_nothing(layer: nn.Conv2d) -> None:
    """Zero the last layer: the network starts as the model without learning."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
