"""Errors of an image against its reference, band by band.

Images are ``(bands, y, x)`` float32 DN on one grid, all pixels valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baseline import Image


def inside(image: Image, border: int) -> Image:
    """An image ``(..., y, x)`` without ``border`` pixels on each side.

    Raises:
        ValueError: If nothing is left.
    """
    height, width = image.shape[-2:]
    if min(height, width) <= 2 * border:
        raise ValueError(
            f"An image of {width} x {height} pixels is too small to compare: "
            f"{border} are left out on each side."
        )
    return image[..., border : height - border, border : width - border]


def rmse(image: Image, reference: Image) -> NDArray[np.float64]:
    """Root of the mean squared error per band: ``(bands,)`` DN."""
    difference = (image - reference).astype(np.float64)
    error: NDArray[np.float64] = np.sqrt((difference**2).mean(axis=(1, 2)))
    return error
