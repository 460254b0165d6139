"""Every network by its name, with what it costs and what it depends on.

All take the shipped input contract, ``(n, 10, 2h, 2w)`` float32 DN on the 10 m grid with the 20 m bands
replicated 2 x 2, and give ``(n, 10, 4h, 4w)``: normalisation and the consistency layer are part of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from openeo_superres.sensor import BANDS, BANDS_10M, REFLECTANCE_SCALE
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS

from .consistency import BandGroup, Consistency

if TYPE_CHECKING:
    from collections.abc import Callable

SCALE = 2
KNOWN = ("cubic_mtf", "edsr_4x32", "edsr_6x48", "edsr_4x64", "edsr_8x64", "edsr20_4x64")
"""Names that ``describe`` lists; any other size of a family can be built by its name too."""


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
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

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


class SuperResolver(nn.Module):
    """A network between its normalisation and the consistency layer; DN in, DN out.

    Args:
        network: Gives the standardised detail from the standardised input, or None for no learning at all.
    """

    def __init__(self, network: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.consistency = Consistency()
        for name in ("mean", "std"):
            values = [getattr(band, name) * REFLECTANCE_SCALE for band in BANDS]
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1), persistent=False)

    @property
    def parameter_count(self) -> int:
        """Learnt parameters (fixed filters are buffers and don't count)."""
        return sum(p.numel() for p in self.parameters())

    @property
    def margin(self) -> int:
        """Everything a pixel depends on, one-sided, in 10 m pixels; the ``margin`` of the model's card."""
        reach = 2 * BandGroup.reach
        if self.network is not None:
            reach = max(reach, 2 * BandGroup.detail_reach + self.network.margin)
        return reach + ALIGNMENT + FILL_RADIUS

    def forward(self, x: Tensor) -> Tensor:
        """From ``(n, 10, 2h, 2w)`` to ``(n, 10, 4h, 4w)``, float32 DN."""
        if self.network is None:
            return self.consistency(x)
        return self.consistency(x, self.network((x - self.mean) / self.std) * self.std)


FAMILIES: dict[str, Callable[..., nn.Module]] = {
    r"edsr_([1-9]\d*)x([1-9]\d*)": lambda blocks, features: Edsr(blocks, features, cell=1),
    r"edsr20_([1-9]\d*)x([1-9]\d*)": lambda blocks, features: Edsr(blocks, features, cell=2),
}


def build(name: str) -> SuperResolver:
    """Build a network by its name.

    Raises:
        ValueError: If no family has such a name.
    """
    if name == "cubic_mtf":
        return SuperResolver(None)
    for pattern, make in FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            return SuperResolver(make(*map(int, match.groups())))
    raise ValueError(
        f"Unknown network {name!r}. Known: {', '.join(KNOWN)}, and other sizes of their families."
    )
