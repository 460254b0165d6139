"""Where an image lies against its reference: shifts, whole and local."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.registration import phase_cross_correlation

from .metrics import expect_alike

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPSAMPLING = 100
"""Shifts are found to 1 / 100 pixel."""
LEAST = 16
"""Pixels on a side of the smallest image that has a shift."""


def shift(image: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """By how many pixels an image lies off its reference: ``(dy, dx)``, positive further down and right.

    Args:
        image: ``(y, x)``, any unit, all pixels valid.
        reference: Of the same shape.

    Raises:
        ValueError: If pixels are missing, shapes differ, the image is too small, or one is flat.
    """
    expect_alike(image, reference, 2)
    if min(image.shape) < LEAST or not (np.isfinite(image).all() and np.isfinite(reference).all()):
        raise ValueError(
            f"Expected {LEAST} x {LEAST} pixels or more, all of them valid; got shape {image.shape}."
        )
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    one, other = ((array - array.mean(dtype=np.float64)) * window for array in (reference, image))
    if not (one.any() and other.any()):
        raise ValueError("Expected images with some texture to find a shift, got a flat one.")
    found, _, _ = phase_cross_correlation(one, other, upsample_factor=UPSAMPLING, normalization=None)
    return -np.asarray(found, np.float64)


def local_shifts(
    image: NDArray[np.float32], reference: NDArray[np.float32], size: int = 64
) -> NDArray[np.float64]:
    """Shifts of patches of ``size`` pixels side by side: ``(n, 2)``, those without texture left out.

    Arguments and errors as in :func:`shift`.
    """
    expect_alike(image, reference, 2)
    limit = 0.25 * float(np.std(reference))
    found = [
        shift(image[window], reference[window])
        for y in range(0, image.shape[0] - size + 1, size)
        for x in range(0, image.shape[1] - size + 1, size)
        for window in [(slice(y, y + size), slice(x, x + size))]
        if np.std(reference[window]) > limit and np.ptp(image[window]) > 0
    ]
    return np.reshape(found, (-1, 2)).astype(np.float64)
