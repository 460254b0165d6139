"""The generator of ESRGAN: residual blocks of densely connected convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeo_superres.sensor import BANDS

from .layers import SCALE, TenMetres, start_from_nothing


class _Scaled(nn.Module):
    """``x + 0.2 inner(x)``; the 0.2 is a parameter that isn't trained, for the slides count it."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)
        self.scale = nn.Parameter(torch.tensor(0.2), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, features, y, x)``."""
        return x + self.scale * self.inner(x)


class Dense(nn.Module):
    """Five densely connected 3 x 3 convolutions (ESRGAN: Wang et al., ECCVW 2018), LeakyReLU 0.2 after each.

    Args:
        features: Channels of input and output.
        growth: Channels that each of the first four adds.
    """

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * 4 + [features]
        self.layers = nn.ModuleList(
            nn.Conv2d(features + step * growth, count, 3, padding=1) for step, count in enumerate(outputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, features, y, x)``."""
        parts = [x]
        for layer in self.layers:
            parts.append(F.leaky_relu(layer(torch.cat(parts, dim=1)), 0.2))
        return parts[-1]


class Esrgan(nn.Module):
    """Residual-in-residual dense blocks on the 10 m grid; gives the standardised detail at 5 m.

    The generator of Wang et al. (ECCVW 2018), with three dense blocks per block and one upsampling.

    Args:
        blocks: Number of blocks.
        features: Width.
        growth: Channels that a layer of a dense block adds.
    """

    def __init__(self, blocks: int, features: int, growth: int) -> None:
        super().__init__()
        # entry and body, five layers in each dense block; one and a half pixels of the last three
        self.margin = TenMetres.reach + 2 + 15 * blocks + 2
        self.ten_metres = TenMetres()
        self.entry = nn.Conv2d(len(BANDS), features, 3, padding=1)
        self.blocks = nn.Sequential(
            *(_Scaled(*(_Scaled(Dense(features, growth)) for _ in range(3))) for _ in range(blocks))
        )
        self.body = nn.Conv2d(features, features, 3, padding=1)
        self.up = nn.Conv2d(features, features, 3, padding=1)
        self.last = nn.Conv2d(features, features, 3, padding=1)
        self.exit = nn.Conv2d(features, len(BANDS), 3, padding=1)
        start_from_nothing(self.exit)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(n, 10, y, x)`` standardised to ``(n, 10, 2y, 2x)``."""
        entry = self.entry(self.ten_metres(x))
        x = F.interpolate(entry + self.body(self.blocks(entry)), scale_factor=SCALE, mode="nearest")
        return self.exit(F.leaky_relu(self.last(F.leaky_relu(self.up(x), 0.2)), 0.2))
