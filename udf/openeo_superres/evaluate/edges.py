"""Sharpness of real edges: over how many pixels an image rises from one field to the next.

The principle of the slanted edge (ISO 12233): what lies along a straight edge is averaged, which leaves one
profile across it, finer than the pixels and with little noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from skimage.filters import gaussian
from skimage.transform import warp

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 5.0
"""Reference pixels on each side of an edge that its profile takes."""
PLATEAU = 1.5
"""Reference pixels at each end of a profile that must be level; their means are 0 and 100 %."""
ALONG = 3.0
"""Reference pixels along an edge on each side of its middle, over which it must be straight."""
CELL = 4
"""Reference pixels on a side of the squares that have one edge at most."""
BATCH = 4096
"""Candidates whose profiles are in memory at a time: 10 MB."""
STEP = 0.25
"""Reference pixels between two samples of a profile."""
LEVEL = 0.15
"""Isolated: standard deviation of each plateau, as a share of the step between them, at most."""
STRAIGHT = 0.25
"""Straight: standard deviation of the edge about its line, in reference pixels, at most."""


@dataclass(frozen=True, slots=True)
class Edges:
    """Strong, straight and isolated edges of a band."""

    positions: NDArray[np.float64]
    """Their middles: ``(n, 2)`` y and x in pixels of the band, pixel centres at whole numbers."""
    directions: NDArray[np.float64]
    """Across them, from dark to bright: ``(n, 2)`` unit vectors, y and x."""


def find_edges(reference: NDArray[np.float32]) -> Edges:
    """Find edges whose step is seven times what their surroundings vary by, within :data:`REACH`.

    There may be none.

    Args:
        reference: ``(y, x)``, any unit, all pixels valid.

    Raises:
        ValueError: If pixels are missing, or it is not one band.
    """
    if reference.ndim != 2 or not np.isfinite(reference).all():
        raise ValueError(
            f"Expected a band (y, x) with all pixels valid to find edges, got shape {reference.shape}."
        )
    margin = int(np.ceil(np.hypot(REACH, ALONG))) + 2
    if min(reference.shape) < 2 * margin + CELL:
        return Edges(np.empty((0, 2)), np.empty((0, 2)))
    image = reference.astype(np.float64)
    positions, directions = _candidates(image, margin)
    found = [
        _chosen(image, positions[start : start + BATCH], directions[start : start + BATCH])
        for start in range(0, max(len(positions), 1), BATCH)
    ]
    return Edges(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def rise(image: NDArray[np.float32], edges: Edges, scale: int = 1) -> float:
    """Median distance over which an image rises from 10 to 90 % across edges, in its own pixels.

    Of a step seen through a Gaussian it is ``2 * 1.2816 sigma``. It is taken outward from the middle of the
    rise: ringing beside an edge does not lengthen it, nor does a small shift. NaN without edges.

    Args:
        image: ``(scale * y, scale * x)``, all pixels valid.
        edges: Of a band ``(y, x)``, see :func:`find_edges`.
        scale: Pixels of the image per pixel of that band, along an axis; outer edges are the same.

    Raises:
        ValueError: If edges lie outside of the image: it has another scale.
    """
    positions = (edges.positions + 0.5) * scale - 0.5
    if ((positions < 0) | (positions > np.array(image.shape) - 1)).any():
        raise ValueError(
            f"Expected an image with {scale} x {scale} pixels per pixel of the edges' band, "
            f"got shape {image.shape}, which edges lie outside of."
        )
    widths = _rises(_sampled(image.astype(np.float64), edges.positions, edges.directions, scale))
    widths = widths[np.isfinite(widths)]
    return scale * float(np.median(widths)) if widths.size else float("nan")


def _chosen(
    image: NDArray[np.float64], positions: NDArray[np.float64], directions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions and directions of the candidates that are edges, put in place."""
    roughness = np.zeros(len(positions))
    for _ in range(3):
        profiles = _sampled(image, positions, directions, 1)
        chosen = _isolated(profiles, 2 * LEVEL)
        positions, directions, roughness = _aligned(profiles[chosen], positions[chosen], directions[chosen])
        chosen = np.isfinite(roughness)
        positions, directions, roughness = positions[chosen], directions[chosen], roughness[chosen]
    profiles = _sampled(image, positions, directions, 1)
    # a slope has no plateaus
    chosen = (roughness <= STRAIGHT) & _isolated(profiles, LEVEL) & (_rises(profiles) <= REACH)
    return positions[chosen], directions[chosen]


def _candidates(image: NDArray[np.float64], margin: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels on crests of the slope, the steepest of each cell: positions and directions as in Edges."""
    slopes = np.stack(np.gradient(gaussian(image, 1.0)))
    steepness = np.hypot(*slopes)
    size = [(n - 2 * margin) // CELL for n in image.shape]
    inner = steepness[margin:, margin:][: CELL * size[0], : CELL * size[1]]
    cells = inner.reshape(size[0], CELL, size[1], CELL).swapaxes(1, 2).reshape(*size, -1)
    within = np.stack(np.divmod(cells.argmax(axis=-1), CELL))
    where = (margin + CELL * np.indices(size) + within).reshape(2, -1)
    height = steepness[tuple(where)]
    where = where[:, height > 0]
    height = height[height > 0]
    directions = slopes[:, *where] / height
    beside = np.rint(directions).astype(np.intp)
    crest = (height >= steepness[tuple(where + beside)]) & (height >= steepness[tuple(where - beside)])
    return where[:, crest].T.astype(np.float64), directions[:, crest].T


def _offsets() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where profiles have samples, in reference pixels along and across an edge."""
    return (
        np.linspace(-ALONG, ALONG, round(2 * ALONG) + 1),
        np.linspace(-REACH, REACH, round(2 * REACH / STEP) + 1),
    )


def _sampled(
    image: NDArray[np.float64], positions: NDArray[np.float64], directions: NDArray[np.float64], scale: int
) -> NDArray[np.float64]:
    """Profiles ``(n, along, across)`` from an image ``scale`` times finer than the positions' pixels."""
    along, across = _offsets()
    tangents = directions[:, ::-1] * [1, -1]
    points = (
        positions[:, None, None]
        + along[:, None, None] * tangents[:, None, None]
        + across[:, None] * directions[:, None, None]
    )
    coordinates = np.moveaxis((points + 0.5) * scale - 0.5, -1, 0).reshape(2, -1, across.size)
    if not len(positions):
        return np.empty(points.shape[:-1])
    values: NDArray[np.float64] = warp(image, coordinates, order=3, mode="edge", clip=False)
    return values.reshape(points.shape[:-1])


def _plateaus(profiles: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The low and the high end of profiles ``(..., across)``."""
    count = round(PLATEAU / STEP)
    return profiles[..., :count], profiles[..., -count:]


def _shares(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Profiles ``(n, across)`` as shares of the step between their plateaus; NaN if there is none upward."""
    low, high = (part.mean(axis=-1, keepdims=True) for part in _plateaus(profiles))
    shares: NDArray[np.float64] = (profiles - low) / np.where(high > low, high - low, np.nan)
    return shares


def _rises(profiles: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 10 to 90 % of the mean along each edge: ``(n,)`` reference pixels, NaN where there is no rise."""
    shares = _shares(profiles.mean(axis=1))
    return _crossing(shares, 0.9) - _crossing(shares, 0.1)


def _crossing(shares: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Where profiles ``(..., across)`` cross a level, outward from where they cross a half: ``(...)``.

    In reference pixels off the middle; NaN where they don't.
    """
    across = _offsets()[1]
    cells = np.arange(across.size - 1)
    lower, upper = shares[..., :-1], shares[..., 1:]

    def nearest(level: float, origin: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            at = across[:-1] + STEP * (level - lower) / (upper - lower)
        there = (lower <= level) & (upper > level)
        if level < 0.5:
            there &= cells <= origin[..., None]
        if level > 0.5:
            there &= cells >= origin[..., None]
        distance = np.where(there, np.abs(cells - origin[..., None]), np.inf)
        best = distance.argmin(axis=-1)[..., None]
        found = np.where(np.take_along_axis(there, best, -1), np.take_along_axis(at, best, -1), np.nan)
        return np.asarray(found[..., 0], np.float64)

    middle = nearest(0.5, np.full(shares.shape[:-1], (across.size - 1) / 2))
    return middle if level == 0.5 else nearest(level, np.floor((middle - across[0]) / STEP))


def _aligned(
    profiles: NDArray[np.float64], positions: NDArray[np.float64], directions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Put edges on the line through the middles of their rises, and say how far these lie off it.

    The deviation is NaN where there is no such line near.
    """
    along = _offsets()[0]
    low, high = (part.mean(axis=(1, 2))[:, None, None] for part in _plateaus(profiles))
    middles = _crossing((profiles - low) / np.where(high > low, high - low, np.nan), 0.5)
    offset = middles.mean(axis=1)
    slope = (middles @ along) / (along @ along)
    deviation = (middles - offset[:, None] - slope[:, None] * along).std(axis=1)
    tangents = directions[:, ::-1] * [1, -1]
    turned = directions - slope[:, None] * tangents
    turned /= np.hypot(*turned.T)[:, None]
    far = ~((np.abs(offset) < 2) & (np.abs(slope) < 0.5))
    return positions + offset[:, None] * directions, turned, np.where(far, np.nan, deviation)


def _isolated(profiles: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Which profiles ``(n, along, across)`` lead from one level area to another."""
    low, high = _plateaus(profiles)
    step = high.mean(axis=(1, 2)) - low.mean(axis=(1, 2))
    varies = np.maximum(low.std(axis=(1, 2)), high.std(axis=(1, 2)))
    chosen: NDArray[np.bool_] = varies <= level * step
    return chosen
