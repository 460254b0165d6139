"""Stability over time: how much of what changes between two outputs is not in their inputs.

Outputs of two dates differ because the ground does, because noise does, and because a network adds something
else each time. What the sensor would see of the change can be checked against the input; the rest cannot.
:func:`visible` splits a fine image so: the smooth image (bicubic) that the sensor would see alike, and the
remainder, which it does not see at all. That is the network's own: fine detail, true or not.

Fine images are ``(bands, scale * y, scale * x)`` DN without nodata; pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import (
    BANDS,
    Band,
    coarse_response,
    degrade,
    native_groups,
    ridge_inverse,
    upsample_cubic,
)

from .metrics import inside
from .wald import NOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from .baseline import Image

TAPS, RIDGE = 31, 1e-9
"""Of the inverse of D after bicubic: exact to a hundredth of a DN."""
EDGE = 16
"""10 m pixels left out at the edge of an image, where the inverse lacks its surroundings."""
STABLE = 2 * np.sqrt(2) * NOISE
"""DN: twice the standard deviation of the difference of two inputs that differ by noise alone."""
FEWEST = 100
"""Stable pixels of the input from which on there is a figure."""
LEAST = 0.5
"""RMS in DN of what is not visible, from which on two such images are correlated."""


@dataclass(frozen=True, slots=True)
class Change:
    """Change between two outputs, per band in DN; all are roots of mean squares over pixels."""

    total: NDArray[np.float64]
    """Of the change."""
    varying: NDArray[np.float64]
    """Of the change less its mean: what is not the same everywhere."""
    unseen: NDArray[np.float64]
    """Of what is not visible in it, see :func:`visible`: what is in the outputs, but not in the inputs."""


def visible(image: Image, bands: Sequence[Band] = BANDS, scale: int = 2) -> Image:
    """The part of a fine image that the sensor sees: ``U H D(image)``, with ``H`` the inverse of ``D U``.

    D is the sensor (:func:`openeo_superres.sensor.degrade`), U bicubic upsampling. So the sensor sees the
    whole and this part alike, ``D(U H D(image)) = D(image)``, and of the remainder nothing. It is a
    projection: a bicubic image is visible altogether, and so is what ``cubic_mtf`` makes.

    Args:
        image: Fine, a whole number of 20 m pixels in size.
        bands: In its order.
        scale: Of its grid to that of 10 m.
    """
    result = np.empty_like(image)
    for chosen, step in native_groups(bands):
        factor = step * scale
        of = [bands[i] for i in chosen]
        seen = degrade(image[chosen], of, factor)
        inverse = np.stack([ridge_inverse(coarse_response(band, factor), TAPS, RIDGE) for band in of])
        for axis in (1, 2):
            seen = _filtered(seen, inverse, axis)
        result[chosen] = upsample_cubic(seen, factor)
    return result


def _filtered(image: Image, taps: NDArray[np.float64], axis: int) -> Image:
    """Filter each band by its taps (an odd number) along an axis; beyond its edge an image is mirrored."""
    reach = taps.shape[1] // 2
    around = [(0, 0), (0, 0), (0, 0)]
    around[axis] = (reach, reach)
    padded = np.pad(image.astype(np.float64), around, mode="symmetric")
    moved = np.moveaxis(padded, axis, -1)
    size = image.shape[axis]
    total = sum(taps[:, k, None, None] * moved[..., k : k + size] for k in range(taps.shape[1]))
    result: Image = np.moveaxis(np.asarray(total), -1, axis).astype(np.float32)
    return result


def unseen(image: Image, bands: Sequence[Band] = BANDS, scale: int = 2) -> Image:
    """What is not :func:`visible` of a fine image, without :data:`EDGE`."""
    return inside(image - visible(image, bands, scale), EDGE * scale)


def change(first: Image, second: Image, bands: Sequence[Band] = BANDS, scale: int = 2) -> Change:
    """Change from one output to another, without :data:`EDGE`.

    Args:
        first: Fine.
        second: Fine, of another date.
        bands: In the order of both.
        scale: Of their grid to that of 10 m.
    """
    difference = second - first
    inner = inside(difference, EDGE * scale).astype(np.float64)
    mean = inner.mean(axis=(1, 2), keepdims=True)
    return Change(_rms(inner), _rms(inner - mean), _rms(unseen(difference, bands, scale)))


def persistence(first: Image, second: Image) -> NDArray[np.float64]:
    """Whether two dates have the same fine detail: correlation per band of what is :func:`unseen` of them.

    1: the same detail each time, so it belongs to the place; 0: another each time. NaN where an image has
    hardly any (below :data:`LEAST`).

    Args:
        first: From :func:`unseen`.
        second: The same of another date.
    """
    products = (first.astype(np.float64) * second).mean(axis=(1, 2))
    one, other = _rms(first), _rms(second)
    few = np.minimum(one, other) < LEAST
    result: NDArray[np.float64] = products / np.where(few, np.nan, one * other)
    return result


def stable(
    first: Image, second: Image, bands: Sequence[Band] = BANDS, limit: float = STABLE
) -> NDArray[np.bool_]:
    """Where the input of a band did not change: ``(bands, y, x)``, band by band, on the 10 m grid.

    A pixel of the band's own grid is stable if it and its eight neighbours changed by ``limit`` at most;
    those at the edge are not.

    Args:
        first: Input ``(bands, y, x)`` DN, y and x even, 20 m bands replicated on the even grid.
        second: The same of another date.
        bands: In the order of both.
        limit: In DN.
    """
    result = np.zeros(first.shape, bool)
    for chosen, step in native_groups(bands):
        calm = np.abs((second - first)[chosen][:, ::step, ::step]) <= limit
        height, width = calm.shape[1:]
        padded = np.pad(calm, ((0, 0), (1, 1), (1, 1)))
        around = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        result[chosen] = np.logical_and.reduce(around).repeat(step, axis=1).repeat(step, axis=2)
    return result


def flicker(
    first: Image, second: Image, calm: NDArray[np.bool_], scale: int = 2
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Change of outputs where their inputs did not: sums of squares per band, and numbers of fine pixels.

    Sums, so that several pairs of dates can be taken together: the RMS is ``sqrt(sum / number)``.

    Args:
        first: Fine.
        second: Fine, of another date.
        calm: From :func:`stable`.
        scale: Of their grid to that of 10 m.
    """
    fine = calm.repeat(scale, axis=1).repeat(scale, axis=2)
    squares = inside(np.where(fine, second - first, np.nan), EDGE * scale).astype(np.float64) ** 2
    return np.nansum(squares, axis=(1, 2)), np.isfinite(squares).sum(axis=(1, 2))


def _rms(image: Image | NDArray[np.float64]) -> NDArray[np.float64]:
    """Root of the mean square per band."""
    result: NDArray[np.float64] = np.sqrt((image.astype(np.float64) ** 2).mean(axis=(1, 2)))
    return result
