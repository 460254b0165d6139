"""Sharpness of real edges: over how many pixels an image rises from one field to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.feature import peak_local_max
from skimage.filters import gaussian
from skimage.transform import warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 5.0
"""Reference pixels across an edge on each side; the outer :data:`PLATEAU` must be level."""
PLATEAU = 1.5
"""Reference pixels at each end of a profile whose mean is 0 and 100 %."""
ALONG = 4
"""Reference pixels along an edge on each side of its middle."""
STEP = 0.125
"""Reference pixels between two samples of a profile."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Strong, straight and isolated edges of a band."""

    positions: NDArray[np.float64]
    """Their middles: ``(n, 2)`` y and x in pixels of the band, pixel centres at whole numbers."""
    directions: NDArray[np.float64]
    """Across them, from dark to bright: ``(n, 2)`` unit vectors, y and x."""


def find_edges(reference: NDArray[np.float32]) -> Edges:
    """Find strong, straight and isolated edges of ``(y, x)``, all pixels valid."""
    gradient = np.gradient(gaussian(reference.astype(np.float64), 1.0))
    magnitude = np.hypot(*gradient)
    margin = int(np.ceil(np.hypot(REACH, ALONG))) + 2
    peaks = peak_local_max(
        magnitude, min_distance=3, threshold_abs=3 * np.median(magnitude), exclude_border=margin
    )
    where = tuple(peaks.T)
    normals = np.stack([part[where] for part in gradient], axis=1) / magnitude[where][:, None]
    return Edges(peaks.astype(np.float64), normals)


def _sample(
    image: NDArray[np.float64], positions: NDArray[np.float64], normals: NDArray[np.float64], scale: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Profiles across edges ``(n, along, across)``, and the offsets across in reference pixels."""
    across = np.arange(-REACH, REACH + STEP / 2, STEP)
    along = np.arange(-ALONG, ALONG + 0.25, 0.5)
    tangents = normals[:, ::-1] * [1, -1]
    points = (
        positions[:, None, None]
        + across[None, None, :, None] * normals[:, None, None]
        + along[None, :, None, None] * tangents[:, None, None]
    )
    points = (points + 0.5) * scale - 0.5
    coordinates = np.moveaxis(points, -1, 0).reshape(2, len(positions), -1)
    values = warp(image, coordinates, order=3, mode="edge", clip=False)
    profiles: NDArray[np.float64] = np.reshape(values, points.shape[:-1])
    return profiles, across


def _normalised(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Profiles ``(..., across)`` as shares of the step between their two plateaus."""
    count = round(PLATEAU / STEP)
    low, high = (
        profiles[..., part].mean(axis=-1, keepdims=True) for part in (slice(count), slice(-count, None))
    )
    shares: NDArray[np.float64] = (profiles - low) / np.where(high > low, high - low, np.nan)
    return shares


def rise(image: NDArray[np.float32], edges: Edges, scale: int = 1) -> float:
    """Median distance over which an image rises from 10 to 90 % across edges, in its own pixels.

    Args:
        image: ``(scale * y, scale * x)``.
        edges: Of a band ``(y, x)`` on the coarser grid.
        scale: Pixels of the image per pixel of that band.
    """
    profiles, across = _sample(image.astype(np.float64), edges.positions, edges.directions, scale)
    widths = []
    for profile in _normalised(profiles.mean(axis=1)):
        above = np.flatnonzero(profile > 0.9)
        below = np.flatnonzero(profile < 0.1)
        if above.size and below.size:
            widths.append(across[above[0]] - across[below[-1]])
    return scale * float(np.median(widths)) if widths else float("nan")
