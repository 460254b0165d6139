"""What every model is compared with: bicubic interpolation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from openeo_superres.sensor import BANDS, Band, native_groups, upsample_cubic

Image = NDArray[np.float32]
Predict = Callable[[Image], Image]
"""From ``(10, y, x)`` DN on the 10 m grid to ``(10, 2y, 2x)``: a model over a whole image."""


def bicubic(image: Image, bands: Sequence[Band] = BANDS, scale: int = 2) -> Image:
    """Bicubic baseline for :data:`Predict`: each band from its own grid, ``scale`` times finer than 10 m."""
    result = np.empty((len(bands), *(scale * n for n in image.shape[1:])), np.float32)
    for chosen, step in native_groups(bands):
        result[chosen] = upsample_cubic(image[chosen][:, ::step, ::step], step * scale)
    return result
