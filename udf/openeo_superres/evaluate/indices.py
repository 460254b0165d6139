"""Fidelity of spectral indices: those of the output, seen by the sensor again, against those of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BAND_NAMES, bands_named

from .radiometry import seen_again

if TYPE_CHECKING:
    from .baseline import Image

INDICES = {
    "NDVI": ("B08", "B04"),
    "NDWI": ("B03", "B08"),
    "NDMI": ("B8A", "B11"),
}
"""Name -> bands a and b of ``(a - b) / (a + b)``: vegetation (Rouse et al. 1974), water surfaces (McFeeters
1996), water in vegetation (Gao 1996)."""
LEAST_SUM = 100.0
"""DN (a reflectance of 0.01): where a + b is below, the index is made of noise and is NaN."""


def index(name: str, image: Image) -> Image:
    """A normalised difference: ``(y, x)``, NaN where the sum of its bands is below :data:`LEAST_SUM`.

    Args:
        name: One of :data:`INDICES`.
        image: ``(10, y, x)`` DN, in the order of :data:`openeo_superres.sensor.BANDS`.
    """
    return difference(*(image[BAND_NAMES.index(band)] for band in INDICES[name]))


def difference(one: Image, other: Image) -> Image:
    """Normalised difference of two bands of one shape, NaN where their sum is below :data:`LEAST_SUM`."""
    total = one + other
    result = np.full_like(total, np.nan)
    np.divide(one - other, total, out=result, where=total >= LEAST_SUM)
    return result


def index_errors(output: Image, image: Image) -> dict[str, dict[str, float]]:
    """RMSE and bias of each index of D(output) against that of the input, at the bands' own resolution.

    Pixels where either index is NaN are left out; NaN if none is left.

    Args:
        output: ``(10, scale * y, scale * x)``.
        image: ``(10, y, x)``, as in :func:`openeo_superres.evaluate.radiometry.seen_again`.

    Returns:
        Name -> ``{"rmse": ..., "bias": ...}``, of index units; the bias is positive where the output's is
        higher.
    """
    errors = {}
    for name, names in INDICES.items():
        chosen = [BAND_NAMES.index(band) for band in names]
        ((order, seen, given),) = seen_again(output[chosen], image[chosen], bands_named(names))
        error = difference(*seen[order]) - difference(*given[order])
        error = error[np.isfinite(error)].astype(np.float64)
        if error.size:
            errors[name] = {"rmse": float(np.sqrt((error**2).mean())), "bias": float(error.mean())}
        else:
            errors[name] = {"rmse": float("nan"), "bias": float("nan")}
    return errors
