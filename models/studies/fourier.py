"""Shifts and blurs of an image by its Fourier transform: exact below a pixel, and without an edge's effects.

Images are ``(..., y, x)``, all pixels valid. Beyond its edge an image is mirrored, so that it is continuous
where the transform takes it to be periodic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def shifted(image: NDArray[np.float32], down: float, right: float) -> NDArray[np.float32]:
    """An image moved by parts of a pixel: what was at ``(y, x)`` comes to ``(y + down, x + right)``.

    Args:
        image: ``(..., y, x)``.
        down: In pixels.
        right: In pixels.
    """
    if down == right == 0:
        return image
    return _filtered(image, lambda y, x: np.exp(-2j * np.pi * (down * y + right * x)))


def blurred(image: NDArray[np.float32], mtf: float) -> NDArray[np.float32]:
    """An image seen through a Gaussian.

    Its standard deviation is ``sqrt(-2 ln mtf) / pi`` pixels, so that the transfer at the frequency f (cycles
    per pixel) is ``mtf ** (4 f**2)``.

    Args:
        image: ``(..., y, x)``.
        mtf: Transfer at the Nyquist frequency, above 0; 1 blurs nothing.
    """
    if mtf == 1:
        return image
    return _filtered(image, lambda y, x: mtf ** (4 * (y**2 + x**2)))


def _filtered(
    image: NDArray[np.float32],
    transfer: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.inexact]],
) -> NDArray[np.float32]:
    """Multiply the transform of the mirrored image; frequencies in cycles per pixel."""
    height, width = image.shape[-2:]
    mirrored = np.pad(image, [(0, 0)] * (image.ndim - 2) + [(0, height), (0, width)], mode="symmetric")
    factor = transfer(np.fft.fftfreq(2 * height)[:, None], np.fft.rfftfreq(2 * width))
    result = np.fft.irfft2(np.fft.rfft2(mirrored) * factor, mirrored.shape[-2:])
    return result[..., :height, :width].astype(image.dtype)
