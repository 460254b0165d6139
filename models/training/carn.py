"""CARN: residual blocks of grouped convolutions, in cascades that add up."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from openeo_superres.sensor import BANDS

from .layers import SCALE, TenMetres, start_from_nothing


class CarnUnit(nn.Module):
    """Efficient residual block of CARN-M (Ahn et al., ECCV 2018, figure 2 d), LeakyReLU 0.2.

    Args:
        width: Channels of input and output.
        groups: Of the two 3 x 3 convolutions.
    """

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.second = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.mix = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, width, y, x)``."""
        inner = F.leaky_relu(self.second(F.leaky_relu(self.first(x), 0.2)), 0.2)
        return F.leaky_relu(x + self.mix(inner), 0.2)


class Cascade(nn.Module):
    """Units in a row, each joined with all that came before it.

    Ahn et al. (section 3.2) concatenate; the slides' variant adds: ``o_k = conv1x1_k(u_k) + x + u_1 + ... +
    u_(k-1)`` with ``u_k = unit_k(o_(k-1))`` and ``o_0 = x``.

    Args:
        units: One per step, or a single one that every step shares.
        width: Channels.
        steps: Number of steps.
    """

    def __init__(self, units: list[nn.Module], width: int, steps: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(units)
        self.joints = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(steps))

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape ``(n, width, y, x)``."""
        before = output = x
        for step, joint in enumerate(self.joints):
            unit = self.units[step % len(self.units)](output)
            output = joint(unit) + before
            before = before + unit
        return output


class Carn(nn.Module):
    """Cascading blocks on the 10 m grid, as the slides have them; gives the standardised detail at 5 m.

    Args:
        blocks: Number of cascading blocks.
        units: Units of a block.
        features: Features per 5 m pixel; the width is four times this.
        groups: Groups of the units' 3 x 3 convolutions.
        shared: Whether the units of a block are one unit.

    Raises:
        ValueError: If the width is no multiple of the groups.
    """

    def __init__(self, blocks: int, units: int, features: int, groups: int, *, shared: bool) -> None:
        super().__init__()
        width = features * SCALE**2
        self.margin = TenMetres.reach + 2 * units * blocks + 3  # entry, exit, and half a pixel of the last
        self.ten_metres = TenMetres()
        self.entry = nn.Conv2d(len(BANDS), width, 3, padding=1)
        distinct = 1 if shared else units
        self.body = Cascade(
            [
                Cascade([CarnUnit(width, groups) for _ in range(distinct)], width, units)
                for _ in range(blocks)
            ],
            width,
            blocks,
        )
        self.widen = nn.Conv2d(width, width, 3, padding=1)
        self.exit = nn.Conv2d(features, len(BANDS), 3, padding=1)
        start_from_nothing(self.exit)

    def forward(self, x: Tensor) -> Tensor:
        """From ``(n, 10, y, x)`` standardised to ``(n, 10, 2y, 2x)``."""
        x = self.body(self.entry(self.ten_metres(x)))
        return self.exit(F.pixel_shuffle(self.widen(x), SCALE))
