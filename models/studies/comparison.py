"""A fine image of another sensor against Sentinel-2, and what many such comparisons have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.evaluate import BORDER
from openeo_superres.evaluate.geometry import shift
from openeo_superres.evaluate.metrics import inside
from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade

from .fourier import shifted
from .pairs import METRES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image

GROUPS = {"10 m": (slice(0, 4), BANDS_10M, 2), "20 m": (slice(4, 8), BANDS_20M[:4], 4)}
"""Bands of a resolution: where they are in the fine image, which they are, and their pixels in fine ones."""
BANDS = tuple(band.name for _, bands, _ in GROUPS.values() for band in bands)
FIT = ("slope", "intercept", "rmse", "correlation")
EDGES = {
    "distance": np.arange(0, 20.01, 0.5),
    "slope": np.arange(0.8, 1.2001, 0.02),
    "intercept": np.arange(-200, 200.1, 20),
    "rmse": np.arange(0, 100.1, 4),
    "correlation": np.arange(0.9, 1.00001, 0.004),
}
"""Of the histograms; the first and the last bin also count what is beyond."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A fine image against Sentinel-2."""

    shift: NDArray[np.float64]
    """``(2, 2)``: of the 10 m and of the 20 m bands, down and right, in metres; NaN for a flat image."""
    fit: NDArray[np.float64]
    """``(8, 4)``: of each band what ``FIT`` names."""


def compare(images: Sequence[NDArray[np.int16]]) -> Comparison:
    """Compare the images of a patch.

    Args:
        images: ``(8, 4y, 4x)`` of the other sensor at 5 m, ``(4, 2y, 2x)`` and ``(4 or 6, y, x)`` of
            Sentinel-2; DN, all pixels valid.
    """
    fine, *coarse = (image.astype(np.float32) for image in images)
    shifts, fits = [], []
    for (chosen, bands, step), reference in zip(GROUPS.values(), coarse, strict=True):
        wanted = reference[: len(bands)]
        found = step * METRES * _shift(degrade(fine[chosen], bands, step), wanted)
        off = np.nan_to_num(found) / METRES
        aligned = degrade(shifted(fine[chosen], *-off), bands, step)
        border = 2 * BORDER // step
        fits += [_fit(*each) for each in zip(inside(wanted, border), inside(aligned, border), strict=True)]
        shifts.append(found)
    return Comparison(np.stack(shifts), np.array(fits))


def _shift(image: Image, reference: Image) -> NDArray[np.float64]:
    """Median of the bands' shifts in pixels, of those bands that have any texture."""
    textured = [k for k in range(len(image)) if np.ptp(image[k]) > 0 and np.ptp(reference[k]) > 0]
    if not textured:
        return np.full(2, np.nan)
    return np.median([shift(image[k], reference[k]) for k in textured], axis=0)


def _fit(given: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float, float, float]:
    """Least squares: slope, intercept, RMSE of what is left, and correlation; NaN for a flat image."""
    x, y = (array.ravel().astype(np.float64) for array in (given, other))
    deviations = x - x.mean()
    variance, covariance = (deviations**2).mean(), (deviations * y).mean()
    if not variance or not np.ptp(y):
        return (np.nan,) * 4
    slope = covariance / variance
    intercept = y.mean() - slope * x.mean()
    left = y - slope * x - intercept
    return slope, intercept, float(np.sqrt((left**2).mean())), covariance / np.sqrt(variance * y.var())


def summary(compared: Sequence[Comparison], skipped: int = 0) -> dict[str, Any]:
    """What the comparisons of a site, or of all, have in common.

    Args:
        compared: None of them: there is nothing but their number.
        skipped: Patches with nodata, which were not compared.
    """
    if not compared:
        return {"patches": 0, "skipped": skipped}
    shifts = np.stack([one.shift for one in compared])
    fits = np.stack([one.fit for one in compared])
    return {
        "patches": len(compared),
        "skipped": skipped,
        "shift": {
            group: {
                "down": spread(shifts[:, k, 0]),
                "right": spread(shifts[:, k, 1]),
                "distance": spread(np.hypot(*shifts[:, k].T)),
            }
            for k, group in enumerate(GROUPS)
        },
        "bands": {
            band: {name: spread(fits[:, k, index]) for index, name in enumerate(FIT)}
            for k, band in enumerate(BANDS)
        },
    }


def spread(values: NDArray[np.float64]) -> dict[str, float | None]:
    """Median, 10th and 90th percentile of what is no NaN."""
    there = values[~np.isnan(values)]
    if not there.size:
        return dict.fromkeys(("median", "p10", "p90"))
    found = np.percentile(there, (50, 10, 90))
    return dict(zip(("median", "p10", "p90"), found.round(4).tolist(), strict=True))


def histograms(compared: Sequence[Comparison]) -> dict[str, Any]:
    """Counts per resolution (distance, in metres) or band (``FIT``), with the bins' edges."""
    shifts = np.stack([one.shift for one in compared])
    fits = np.stack([one.fit for one in compared])
    values = {"distance": {group: np.hypot(*shifts[:, k].T) for k, group in enumerate(GROUPS)}}
    values |= {
        name: {band: fits[:, k, index] for k, band in enumerate(BANDS)} for index, name in enumerate(FIT)
    }
    return {
        name: {
            "edges": EDGES[name].round(4).tolist(),
            "counts": {key: _counts(of, name) for key, of in rows.items()},
        }
        for name, rows in values.items()
    }


def _counts(values: NDArray[np.float64], name: str) -> list[int]:
    edges = EDGES[name]
    there = values[~np.isnan(values)].clip(edges[0], edges[-1])
    return np.histogram(there, edges)[0].tolist()
