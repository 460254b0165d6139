"""Patterns that follow the grid, as shuffled pixels and a discriminator that likes texture make them.

What is alike in every 20 m cell is no detail of a scene: averaged over many cells, each of a cell's output
pixels should be as bright as the others. The sensor model sees next to nothing of such a pattern, so the
consistency layer leaves it alone; nor does BRISQUE mind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PERIOD = 4
"""Output pixels of a 20 m cell."""


def phase_deviations(images: Tensor) -> Tensor:
    """What each output pixel of a cell has more than their mean, averaged over images and cells.

    Args:
        images: ``(n, bands, y, x)``, y and x multiples of 4, the first pixel that of a cell.

    Returns:
        ``(bands, 4, 4)``, in the unit of the images.
    """
    count, bands, height, width = images.shape
    cells = images.reshape(count, bands, height // PERIOD, PERIOD, width // PERIOD, PERIOD)
    means = cells.mean(dim=(0, 2, 4))
    return means - means.mean(dim=(1, 2), keepdim=True)
