"""Whether the pixels of a scene agree with what its metadata say of the radiometric offset.

Since processing baseline 04.00 the numbers in Sentinel-2 products are raised by 1000, so that dark pixels
need not be cut off at 0 (Sentinel-2 Products Specification Document, RADIO_ADD_OFFSET and BOA_ADD_OFFSET).
Copies in archives may have it taken off while their metadata keep it, or the other way round.
"""

from __future__ import annotations

import warnings
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.bandfile import opened, reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from openeo_superres.bandfile import BandFile
    from openeo_superres.grid import Scene

DARK, DARK_SHARE = 900, 1e-3
"""Raised numbers hardly fall below the first; not raised, more than this share of the valid ones do."""
BRIGHT, PERCENTILE = 1000, 1
"""Numbers that aren't raised have this percentile below the first."""
SMALLEST = 256
"""Pixels along an edge of a part that are kept at least: much coarser resolutions of JPEG 2000 undershoot
beside bright pixels."""
LARGEST_BLOCK = 1024


def check_offset(scene: Scene, *, raised: bool) -> None:
    """Warn where pixels contradict the metadata about the offset; nothing is changed.

    Args:
        scene: Whose files are sampled, all bands together.
        raised: Whether the numbers in the files are raised by 1000, as the metadata have it.

    Raises:
        SceneError: If a file can't be read.
    """
    numbers = np.concatenate([_valid_numbers(file) for file in scene.files])
    if not numbers.size:
        return
    if raised:
        share = float(np.mean(numbers < DARK))
        if share > DARK_SHARE:
            warnings.warn(
                f"{scene.path}: its metadata say that 1000 is still to be taken off its numbers, but "
                f"{100 * share:.2g} % of its valid pixels are below {DARK}, as if that had been done. "
                "Results would be 1000 DN too dark: compare with the original product, and correct the "
                "metadata or the pixels.",
                stacklevel=2,
            )
        return
    lowest = float(np.percentile(numbers, PERCENTILE))
    if lowest > BRIGHT:
        warnings.warn(
            f"{scene.path}: its metadata say that no offset is left in its numbers, but 99 % of its valid "
            f"pixels are above {lowest:.0f}, as if 1000 were still to be taken off. Unless it is bright all "
            "over (snow, clouds, desert), results would be 1000 DN too bright: compare with the original "
            "product, and correct the metadata or the pixels.",
            stacklevel=2,
        )


def _valid_numbers(file: BandFile) -> NDArray[np.float64]:
    """A sample of a band's numbers before the offset, in units of DN."""
    with opened(file.path, file.driver) as dataset, reading(file.path):
        return np.concatenate([_inner(raw, file) for raw in _samples(dataset, file.index)])


def _samples(dataset: DatasetReader, index: int) -> Iterator[NDArray[np.generic]]:
    """Parts of a band, coarser where that saves time: ``(y, x)`` each."""
    factors = [1, *dataset.overviews(index + 1)]
    shape = dataset.height, dataset.width
    if len(factors) > 1 and dataset.driver != "JP2OpenJPEG":
        windows = {((0, dataset.height), (0, dataset.width))}
    else:
        # a JPEG 2000 file has all resolutions of a block in one place: few blocks are faster than all
        blocks = (min(max(edge, SMALLEST), LARGEST_BLOCK) for edge in dataset.block_shapes[index])
        rows, cols = (_spread(*edges) for edges in zip(shape, blocks, strict=True))
        windows = {*product(rows[::2], cols[::2]), *product(rows[1:2], cols[1:2])}
    for (top, bottom), (left, right) in sorted(windows):
        height, width = bottom - top, right - left
        factor = max(factor for factor in factors if factor == 1 or min(height, width) >= factor * SMALLEST)
        coarse = -(-height // factor), -(-width // factor)
        yield dataset.read(index + 1, window=((top, bottom), (left, right)), out_shape=coarse)


def _spread(size: int, block: int) -> list[tuple[int, int]]:
    """Start and stop of the first, middle and last block of an axis, as far as there are."""
    last = (size - 1) // block
    return [(i * block, min((i + 1) * block, size)) for i in sorted({0, last // 2, last})]


def _inner(raw: NDArray[np.generic], file: BandFile) -> NDArray[np.float64]:
    """Valid numbers without those beside nodata, which a coarser pixel mixes with it."""
    dn = file.to_dn(raw).astype(np.float64)
    padded = np.pad(np.isfinite(dn), 1, constant_values=True)
    height, width = raw.shape
    valid = np.logical_and.reduce(
        [padded[row : row + height, col : col + width] for row, col in product(range(3), repeat=2)]
    )
    numbers: NDArray[np.float64] = dn[valid] - file.offset
    return numbers
