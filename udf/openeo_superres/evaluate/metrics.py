"""Errors of an image against its reference, band by band or over all bands.

Images are ``(bands, y, x)`` float32 DN on one grid, all pixels valid. Each function raises ValueError if the
shapes of image and reference differ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baseline import Image

SSIM_WINDOW = 11
"""Pixels on a side of the smallest image that has an SSIM: Gaussian of 1.5 pixels, cut at 3.5 of them."""


def inside(image: Image, border: int) -> Image:
    """An image ``(..., y, x)`` without ``border`` pixels on each side.

    Raises:
        ValueError: If nothing is left.
    """
    height, width = image.shape[-2:]
    if min(height, width) <= 2 * border:
        raise ValueError(
            f"An image of {width} x {height} pixels is too small to compare: "
            f"{border} are left out on each side."
        )
    return image[..., border : height - border, border : width - border]


def expect_alike(image: Image, reference: Image, dimensions: int = 3) -> None:
    """Refuse an image and a reference that can't be compared.

    Raises:
        ValueError: If their shapes differ, or have another number of dimensions.
    """
    if image.shape != reference.shape or image.ndim != dimensions:
        form = "(bands, y, x)" if dimensions == 3 else "(y, x)"
        raise ValueError(
            f"Expected image and reference as {form} of one shape, got {image.shape} and {reference.shape}."
        )


def rmse(image: Image, reference: Image) -> NDArray[np.float64]:
    """Root of the mean squared error per band: ``(bands,)`` DN."""
    expect_alike(image, reference)
    difference = (image - reference).astype(np.float64)
    error: NDArray[np.float64] = np.sqrt((difference**2).mean(axis=(1, 2)))
    return error


def psnr(image: Image, reference: Image, peak: float = REFLECTANCE_SCALE) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio per band: ``(bands,)`` dB, ``20 log10(peak / RMSE)``; infinite if RMSE is 0.

    Args:
        image: To be judged.
        reference: The truth.
        peak: DN; 10 000 is a reflectance of 1, as the literature on Sentinel-2 takes it.
    """
    with np.errstate(divide="ignore"):
        ratio: NDArray[np.float64] = 20 * np.log10(peak / rmse(image, reference))
    return ratio


def ssim(image: Image, reference: Image) -> NDArray[np.float64]:
    """Structural similarity per band (Wang, Bovik, Sheikh and Simoncelli 2004): ``(bands,)``, 1 for the same.

    Gaussian windows of 1.5 pixels, covariances of the population, K1 = 0.01, K2 = 0.03 as there. The dynamic
    range L is the reference band's, highest less lowest DN: reflectances have no natural one. Figures compare
    images with one reference, not references with each other. NaN for a reference that is flat.

    Raises:
        ValueError: If the image is smaller than the window; if shapes differ.
    """
    from skimage.metrics import structural_similarity  # noqa: PLC0415 - the rest is numpy alone

    expect_alike(image, reference)
    if min(image.shape[1:]) < SSIM_WINDOW:
        raise ValueError(
            f"Expected {SSIM_WINDOW} x {SSIM_WINDOW} pixels or more for SSIM, got shape {image.shape}."
        )
    values = np.full(len(image), np.nan)
    for k, (band, truth) in enumerate(zip(image, reference, strict=True)):
        extent = float(np.ptp(truth))
        if extent > 0:
            values[k] = structural_similarity(
                band.astype(np.float64),
                truth.astype(np.float64),
                data_range=extent,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
            )
    return values


def sam(image: Image, reference: Image) -> float:
    """Spectral angle (Kruse et al. 1993) between the two spectra of a pixel, mean over the pixels: degrees.

    Pixels whose spectrum is zero in all bands have no angle and are left out; NaN if none has one.

    Raises:
        ValueError: If there is one band alone, which has no spectrum; if shapes differ.
    """
    expect_alike(image, reference)
    if len(image) < 2:
        raise ValueError(f"Expected two bands or more for a spectral angle, got shape {image.shape}.")
    spectra = [array.reshape(len(array), -1).astype(np.float64) for array in (image, reference)]
    lengths = [np.linalg.norm(spectrum, axis=0) for spectrum in spectra]
    there = (lengths[0] != 0) & (lengths[1] != 0)
    if not there.any():
        return float("nan")
    one, other = (
        spectrum[:, there] / length[there] for spectrum, length in zip(spectra, lengths, strict=True)
    )
    # the arc cosine of their product would lose half the digits of small angles
    angles = 2 * np.arctan2(np.linalg.norm(one - other, axis=0), np.linalg.norm(one + other, axis=0))
    return float(np.degrees(angles.mean()))


def ergas(image: Image, reference: Image, ratio: float) -> float:
    """Relative dimensionless global error in synthesis (Wald 2000), 0 for the same; below 3 is called good.

    ``ERGAS = 100 (h / l) sqrt(mean over bands of (RMSE / mean of the reference)^2)``.

    Args:
        image: To be judged.
        reference: The truth.
        ratio: h / l, the pixel size of the image over that of its input: 0.5 for super-resolution by 2.

    Raises:
        ValueError: If the ratio is not in ]0, 1], or a band of the reference has no positive mean; if shapes
            differ.
    """
    errors = rmse(image, reference)
    means = reference.mean(axis=(1, 2), dtype=np.float64)
    if not 0 < ratio <= 1:
        raise ValueError(f"Expected a ratio h / l in ]0, 1], fine pixels over coarse ones; got {ratio}.")
    if (means <= 0).any():
        raise ValueError(f"Expected reference bands with positive means for ERGAS, got {means.round(2)} DN.")
    return float(100 * ratio * np.sqrt(((errors / means) ** 2).mean()))
