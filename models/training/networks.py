"""Every network by its name, with what it costs and what it depends on.

All take the shipped input contract, ``(n, 10, 2h, 2w)`` float32 DN on the 10 m grid with the 20 m bands
replicated 2 x 2, and give ``(n, 10, 4h, 4w)``: normalisation and the consistency layer are part of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from openeo_superres.sensor import BANDS, REFLECTANCE_SCALE
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS

from .carn import Carn
from .consistency import BandGroup, Consistency
from .edsr import Edsr
from .esrgan import Esrgan

if TYPE_CHECKING:
    from collections.abc import Callable

SLIDES = (
    "carn_1x3x64g4sw",
    "carn_2x3x64g4sw",
    "carn_3x3x64g4sw",
    "carn_4x3x64g4sw",
    "carn_3x3x64g4",
    "carn_3x3x64g1sw",
    "esrgan_3x64x32",
)
"""The networks of Michel and Kalinicheva, "Building an Operational Shallow Sentinel-2 Single Image
Super-Resolution Network for EVOLAND Prototypes", SURE-DOS 2024; the layer and its skip are added here."""
KNOWN = ("cubic_mtf", "edsr_4x32", "edsr_2x32", "edsr_6x48", "edsr_4x64", "edsr_8x64", "edsr20_4x64", *SLIDES)
"""Names that ``describe`` lists; any other size of a family can be built by its name too."""


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
        """Parameters of the network (fixed filters are buffers and don't count)."""
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


_N = r"([1-9]\d*)"
FAMILIES: dict[str, Callable[..., nn.Module]] = {
    rf"edsr_{_N}x{_N}": lambda *sizes: Edsr(*sizes, cell=1),
    rf"edsr20_{_N}x{_N}": lambda *sizes: Edsr(*sizes, cell=2),
    rf"carn_{_N}x{_N}x{_N}g{_N}": lambda *sizes: Carn(*sizes, shared=False),
    rf"carn_{_N}x{_N}x{_N}g{_N}sw": lambda *sizes: Carn(*sizes, shared=True),
    rf"esrgan_{_N}x{_N}x{_N}": Esrgan,
}
"""Pattern of a family's names -> what builds a network from the numbers in its name."""


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
