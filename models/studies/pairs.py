"""Pairs of two sensors whose discrepancy is known: real pixels, shifted and made brighter.

A scene is taken to be four (10 m bands) and four times (20 m bands) finer than it is: its pixels of 20 m play
those of 5 m, as SEN2VENµS has them, in eight bands. Seen by the sensor model they give the images of "10 m"
and "20 m"; shifted, times a gain, plus an offset, they give the "5 m" of the other sensor. Both get noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.evaluate import NOISE
from openeo_superres.sensor import BANDS_10M, BANDS_20M, degrade

from .fourier import shifted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from openeo_superres.evaluate import Image

    Images = tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.int16]]

METRES = 5
"""Of the fine pixels, as they are taken to be."""
EDGE = 192
"""Of a pair, in fine pixels: SEN2VENµS has 256, but the sample has no more than that in all."""
MARGIN = 8
"""Fine pixels at the scene's edge that no pair has: there, a shift brings in what is mirrored."""
SHIFT = 10.0
"""Largest shift down and right, in metres: two pixels of 5 m."""
GAIN = 0.11
"""Largest deviation of a gain from 1."""
OFFSET = 100.0
"""Largest offset, in DN."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """What the fine image of a pair was given."""

    shift: NDArray[np.float64]
    """Down and right, in metres."""
    gain: NDArray[np.float64]
    """Per band: ``(8,)``."""
    offset: NDArray[np.float64]
    """Per band, in DN: ``(8,)``."""


def simulated(
    x10: Image, x20: Image, count: int, *, edge: int = EDGE, seed: int = 0
) -> Iterator[tuple[Images, Discrepancy]]:
    """Make pairs, each of a random part of a scene, with a discrepancy drawn evenly up to the bounds above.

    Args:
        x10: ``(4, y, x)`` float32 DN; y and x multiples of 8 (cropped to them).
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        count: Of the pairs.
        edge: Of a pair in fine pixels, a multiple of 4.
        seed: Of everything that is drawn.

    Yields:
        Images as SEN2VENµS has them, int16 DN: ``(8, edge, edge)``, ``(4, edge / 2, edge / 2)`` and
        ``(4, edge / 4, edge / 4)``; and what is to be found in them.

    Raises:
        ValueError: If the scene is too small for a pair.
    """
    height, width = (n // 8 * 8 for n in x10.shape[1:])
    fine = np.concatenate(
        [degrade(x10[:, :height, :width], BANDS_10M, 2), x20[:4, : height // 2, : width // 2]]
    )
    if min(fine.shape[1:]) < edge + 2 * MARGIN:
        raise ValueError(
            f"Expected a scene of {2 * (edge + 2 * MARGIN)} pixels of 10 m or more on a side, "
            f"got {width} x {height}."
        )
    seen = degrade(fine[:4], BANDS_10M, 2), degrade(fine[4:], BANDS_20M[:4], 4)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        row, column = (
            4 * int(rng.integers(MARGIN // 4, (n - edge - MARGIN) // 4 + 1)) for n in fine.shape[1:]
        )
        truth = Discrepancy(
            shift=rng.uniform(-SHIFT, SHIFT, 2),
            gain=rng.uniform(1 - GAIN, 1 + GAIN, len(fine)),
            offset=rng.uniform(-OFFSET, OFFSET, len(fine)),
        )
        moved = shifted(fine, *(truth.shift / METRES))
        other = truth.gain[:, None, None] * moved + truth.offset[:, None, None]
        images = (
            _part(image, row // step, column // step, edge // step, rng)
            for image, step in ((other, 1), (seen[0], 2), (seen[1], 4))
        )
        yield tuple(images), truth


def _part(
    image: NDArray[np.floating], row: int, column: int, edge: int, rng: np.random.Generator
) -> NDArray[np.int16]:
    """A part of an image, with noise."""
    part = image[:, row : row + edge, column : column + edge]
    return np.round(part + NOISE * rng.standard_normal(part.shape)).astype(np.int16)
