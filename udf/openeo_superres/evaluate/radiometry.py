"""Faithfulness to what was measured: the output, seen by the sensor again, against the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BANDS, Band, degrade, native_groups

from .metrics import inside, rmse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from .baseline import Image

BORDER = 8
"""10 m pixels of the input left out at its edge."""


@dataclass(frozen=True, slots=True)
class Radiometry:
    """D(output) against the input: ``(bands,)`` each."""

    consistency: NDArray[np.float64]
    """RMSE in DN."""
    bias: NDArray[np.float64]
    """Mean of D(output) less that of the input, in DN: positive where the output is too bright."""
    gain: NDArray[np.float64]
    """Slope of D(output) over the input; NaN for a band that is flat."""


def seen_again(
    output: Image, image: Image, bands: Sequence[Band] = BANDS
) -> Iterator[tuple[list[int], Image, Image]]:
    """Per native resolution: indices of its bands, D(output), and the input, both on the bands' own grid.

    Args:
        output: ``(bands, scale * y, scale * x)``.
        image: ``(bands, y, x)``, y and x even, 20 m bands replicated on the even grid.
        bands: In the order of both.

    Yields:
        Images without :data:`BORDER`.

    Raises:
        ValueError: If nothing is left of them.
    """
    scale = output.shape[1] // image.shape[1]
    for chosen, step in native_groups(bands):
        seen = degrade(output[chosen], [bands[i] for i in chosen], step * scale)
        given = image[chosen][:, ::step, ::step]
        yield chosen, inside(seen, BORDER // step), inside(given, BORDER // step)


def radiometry(output: Image, image: Image, bands: Sequence[Band] = BANDS) -> Radiometry:
    """Consistency, bias and gain of an output, which is degraded once for all three.

    The gain is the least-squares slope with the input as the regressor: by how many DN D(output) differs
    where the input differs by one. The input is what is given, and its noise is in both, so that it does not
    lower the slope as it would that of a second sensor. 1 is right; below 1 contrast is lost, above 1 added.

    Arguments and errors as in :func:`seen_again`.
    """
    return compare_seen(seen_again(output, image, bands), len(bands))


def compare_seen(parts: Iterable[tuple[list[int], Image, Image]], count: int) -> Radiometry:
    """:func:`radiometry` of what :func:`seen_again` gave, of ``count`` bands in all."""
    found = Radiometry(*(np.empty(count) for _ in range(3)))
    for chosen, seen, given in parts:
        found.consistency[chosen] = rmse(seen, given)
        means = [part.mean(axis=(1, 2), dtype=np.float64) for part in (seen, given)]
        found.bias[chosen] = means[0] - means[1]
        deviation = given - means[1][:, None, None]
        variance = (deviation**2).mean(axis=(1, 2))
        covariance = (deviation * (seen - means[0][:, None, None])).mean(axis=(1, 2))
        slope = np.full(len(chosen), np.nan)
        np.divide(covariance, variance, out=slope, where=variance > 0)
        found.gain[chosen] = slope
    return found


def consistency(output: Image, image: Image, bands: Sequence[Band] = BANDS) -> NDArray[np.float64]:
    """RMSE per band in DN between the output seen by the sensor again, D(output), and the input.

    Arguments as in :func:`seen_again`.
    """
    return radiometry(output, image, bands).consistency


def bias(output: Image, image: Image, bands: Sequence[Band] = BANDS) -> NDArray[np.float64]:
    """Mean of D(output) less the input, per band in DN; arguments as in :func:`seen_again`."""
    return radiometry(output, image, bands).bias


def gain(output: Image, image: Image, bands: Sequence[Band] = BANDS) -> NDArray[np.float64]:
    """Slope per band of D(output) over the input, see :func:`radiometry`; arguments as there."""
    return radiometry(output, image, bands).gain
