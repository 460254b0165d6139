"""Where an image lies against its reference: its shift, as a whole and from place to place.

Cross-correlation refined to a hundredth of a pixel by an upsampled Fourier transform (Guizar-Sicairos,
Thurman and Fienup 2008). It is not normalised to pure phase: what a super-resolved or blurred image has of
the finest frequencies is little, aliased, or invented, and pure phase gives it the weight of all that is
certain. With real 10 m bands against bicubic and super-resolved ones that were moved by known fractions of a
pixel, the error of the whole shift is 0.01 pixels RMS (0.03 to 0.05 with pure phase), that of 64-pixel
patches 0.02 to 0.03 (0.18).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from skimage.registration import phase_cross_correlation

from .metrics import expect_alike

if TYPE_CHECKING:
    from numpy.typing import NDArray

UPSAMPLING = 100
"""Shifts are whole hundredths of a pixel."""
LEAST = 16
"""Pixels on a side of the smallest image that has a shift."""
TEXTURE = 12.0
"""DN per pixel: root mean square slope that a patch needs in every direction, twice that of the sensor's
noise (8 DN) alone."""


def shift(image: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    """By how many pixels an image lies off its reference: ``(dy, dx)``, positive further down and right.

    Both are seen through a Hann window, or else their borders, which are at one place in both, would speak
    for no shift. Windows at one place do so, too, if less: a second round moves each by half of what the
    first found, so that both show the same part of the ground.

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
    if not (np.ptp(image) and np.ptp(reference)):
        raise ValueError("Expected images with some texture to find a shift, got a flat one.")
    found = np.zeros(2)
    for _ in range(2):
        parts = (_window(reference, -found / 2), _window(image, found / 2))
        back, _, _ = phase_cross_correlation(*parts, upsample_factor=UPSAMPLING, normalization=None)
        # 0.0: no negative zeros
        found = 0.0 - np.asarray(back, np.float64)
    return found


def _window(image: NDArray[np.float32], offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image less its mean, through a Hann window moved by ``offset``."""
    across = [
        np.sin(np.pi * np.clip((np.arange(n) + 0.5 - by) / n, 0, 1)) ** 2
        for n, by in zip(image.shape, offset, strict=True)
    ]
    weights = np.outer(*across)
    centred: NDArray[np.float64] = weights * (image - np.average(image, weights=weights))
    return centred


def local_shifts(
    image: NDArray[np.float32], reference: NDArray[np.float32], size: int = 64
) -> NDArray[np.float64]:
    """Shifts of patches side by side: ``(n, 2)``, see :func:`shift`.

    Patches are left out if the reference has too little texture for a shift in both directions (the smaller
    eigenvalue of its structure tensor, Shi and Tomasi 1994, below :data:`TEXTURE` squared), if either image
    is flat there, or pixels are missing.

    Args:
        image: ``(y, x)`` DN.
        reference: Of the same shape.
        size: Pixels on a side of a patch, 16 or more; what is left at the right and the bottom is not used.

    Raises:
        ValueError: If shapes differ or the patches are too small.
    """
    expect_alike(image, reference, 2)
    if size < LEAST:
        raise ValueError(f"Expected patches of {LEAST} pixels or more to find shifts, got {size}.")
    found = []
    for y in range(0, image.shape[0] - size + 1, size):
        for x in range(0, image.shape[1] - size + 1, size):
            window = (slice(y, y + size), slice(x, x + size))
            if np.isfinite(image[window]).all() and np.ptp(image[window]) and _textured(reference[window]):
                found.append(shift(image[window], reference[window]))
    return np.asarray(found, np.float64).reshape(-1, 2)


def _textured(patch: NDArray[np.float32]) -> bool:
    """Whether there are slopes in every direction; not where pixels are missing."""
    if not np.isfinite(patch).all():
        return False
    slopes = np.stack([part.ravel() for part in np.gradient(patch.astype(np.float64))])
    tensor = slopes @ slopes.T / patch.size
    return bool(np.linalg.eigvalsh(tensor)[0] > TEXTURE**2)
