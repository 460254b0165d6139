"""Sentinel-2 as a sensor: bands, point spread function, degradation to coarser pixels.

Pure numpy. Images are ``(bands, y, x)`` digital numbers (DN, reflectance x 10 000).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

REFLECTANCE_SCALE = 10_000.0
"""DN per unit of reflectance (Sentinel-2 Products Specification Document, QUANTIFICATION_VALUE)."""
INVERSE_TAPS = 9
INVERSE_RIDGE = 3e-3
"""Of the short inverse in the consistency layer: about 1 DN is left on real scenes."""


@dataclass(frozen=True, slots=True)
class Band:
    """One spectral band of the MultiSpectral Instrument.

    ``mtf`` is the modulation transfer function at the band's Nyquist frequency (Sentinel-2 Annual
    Performance Report, mean of across and along track); ``mean`` and ``std`` are reflectances over
    SEN2VENµS (Michel et al., 2022), used to standardise the input of the networks.
    """

    name: str
    resolution: int
    mtf: float
    mean: float
    std: float


BANDS = (
    Band("B02", 10, 0.304, 0.0478, 0.0289),
    Band("B03", 10, 0.276, 0.0765, 0.0400),
    Band("B04", 10, 0.233, 0.0893, 0.0679),
    Band("B08", 10, 0.222, 0.2622, 0.0811),
    Band("B05", 20, 0.343, 0.1253, 0.0615),
    Band("B06", 20, 0.336, 0.2182, 0.0645),
    Band("B07", 20, 0.338, 0.2524, 0.0772),
    Band("B8A", 20, 0.325, 0.2815, 0.0820),
    Band("B11", 20, 0.210, 0.2472, 0.1196),
    Band("B12", 20, 0.190, 0.1665, 0.1160),
)
"""The ten bands, in the order of every network's input and output."""

BAND_NAMES = tuple(band.name for band in BANDS)
BANDS_10M = tuple(band for band in BANDS if band.resolution == 10)
BANDS_20M = tuple(band for band in BANDS if band.resolution == 20)


def bands_named(names: Iterable[str]) -> list[Band]:
    """The bands of these names, in their order."""
    return [BANDS[BAND_NAMES.index(name)] for name in names]


def native_groups(bands: Sequence[Band]) -> list[tuple[list[int], int]]:
    """Per resolution there is: indices of its bands, and its pixels in 10 m pixels."""
    steps = [band.resolution // 10 for band in bands]
    return [([i for i, there in enumerate(steps) if there == step], step) for step in sorted({*steps})]


def relative_sigma(mtf: float, factor: int, exponent: float = 1.0) -> float:
    """Standard deviation, in fine pixels, of the PSF between a grid and one ``factor`` times coarser.

    A Gaussian seen on a grid f times finer has ``sigma = f sqrt(-2 ln MTF) / pi`` if the fine image is ideal.
    Here the fine image is what a Sentinel-2 with pixels f times smaller would see: it has the same MTF at its
    own Nyquist frequency, so the kernel in between has ``MTF ** (1 - 1 / f**2)`` (variances subtract).

    Args:
        mtf: Modulation transfer function of the band at Nyquist, in ]0, 1[.
        factor: Ratio of the two pixel sizes.
        exponent: Raises the MTF: below 1 a sharper sensor, above 1 a more blurred one.
    """
    return float(np.sqrt(-2 * exponent * np.log(mtf) * (factor**2 - 1)) / np.pi)


def psf(mtf: float, factor: int, exponent: float = 1.0) -> NDArray[np.float64]:
    """Sampled relative PSF: ``4 * factor`` taps summing to 1, centred between its two middle taps.

    The even length puts the kernel on the centre of a block of ``factor`` fine pixels: no half-pixel shift.
    Arguments as in :func:`relative_sigma`.
    """
    offsets = np.arange(4 * factor) - (4 * factor - 1) / 2
    taps: NDArray[np.float64] = np.exp(-0.5 * (offsets / relative_sigma(mtf, factor, exponent)) ** 2)
    taps /= taps.sum()
    return taps


def degrade(
    image: NDArray[np.float32], bands: Sequence[Band], factor: int, exponent: float = 1.0
) -> NDArray[np.float32]:
    """See an image with pixels ``factor`` times larger: PSF of each band, then one sample per block.

    Args:
        image: ``(bands, y, x)`` float32, y and x multiples of ``factor``; beyond its edge it is mirrored.
        bands: The image's bands, in its order.
        factor: Ratio of pixel sizes.
        exponent: See :func:`relative_sigma`.

    Returns:
        ``(bands, y / factor, x / factor)`` float32, same unit, same outer edges.

    Raises:
        ValueError: If the size is no multiple of the factor, or the number of bands differs.
    """
    count, height, width = image.shape
    if height % factor or width % factor or count != len(bands):
        raise ValueError(
            f"Expected {len(bands)} bands and a size that is a multiple of {factor}, got shape {image.shape}."
        )
    pad = 3 * factor // 2
    taps = np.stack([psf(band.mtf, factor, exponent) for band in bands]).astype(np.float32)
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    rows = np.zeros((count, height // factor, padded.shape[2]), np.float32)
    for k in range(4 * factor):
        rows += taps[:, k, None, None] * padded[:, k : k + height : factor]
    result = np.zeros((count, height // factor, width // factor), np.float32)
    for k in range(4 * factor):
        result += taps[:, k, None, None] * rows[:, :, k : k + width : factor]
    return result


def cubic_taps(factor: int, coefficient: float = -0.75) -> NDArray[np.float64]:
    """Bicubic upsampling as phases: ``(factor, 5)`` taps over the input samples i-2 .. i+2.

    Row p gives fine pixel ``factor * i + p`` (pixel centres aligned, "align_corners false"); each row sums
    to 1. Cubic convolution of Keys (1981), coefficient a = -0.75 as in ONNX ``Resize`` and PyTorch.
    """
    phase = (np.arange(factor) + 0.5) / factor - 0.5
    t = np.abs(np.arange(-2, 3)[None, :] - phase[:, None])
    a = coefficient
    near = (a + 2) * t**3 - (a + 3) * t**2 + 1
    far = a * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, np.where(t < 2, far, 0.0))


def upsample_cubic(image: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Bicubic upsampling of ``(..., y, x)`` by ``factor``; beyond its edge the image is repeated."""
    taps = cubic_taps(factor).astype(np.float32)
    for axis in (-2, -1):
        moved = np.moveaxis(image, axis, -1)
        padded = np.pad(moved, [(0, 0)] * (moved.ndim - 1) + [(2, 2)], mode="edge")
        size = moved.shape[-1]
        phases = [sum(row[k] * padded[..., k : k + size] for k in range(5)) for row in taps]
        image = np.moveaxis(np.stack(phases, axis=-1).reshape(*moved.shape[:-1], -1), -1, axis)
    return image


def coarse_response(band: Band, factor: int) -> NDArray[np.float64]:
    """Taps of ``g = D C`` on the input grid (7, centred): bicubic upsampling seen by the sensor again."""
    cells = 9
    impulse = np.zeros(cells + 4)
    impulse[cells // 2 + 2] = 1.0
    cubic = cubic_taps(factor)
    fine = np.stack([impulse[k : k + cells] for k in range(5)]).T @ cubic.T
    taps = psf(band.mtf, factor)
    padded = np.pad(fine.ravel(), 3 * factor // 2)
    response = np.array([padded[factor * i : factor * i + taps.size] @ taps for i in range(cells)])
    return response[1:-1]


def ridge_inverse(
    response: NDArray[np.float64], taps: int = INVERSE_TAPS, ridge: float = INVERSE_RIDGE
) -> NDArray[np.float64]:
    """Centred filter h of ``taps`` taps that minimises ``|h * response - delta|^2 + ridge |h|^2``."""
    matrix = np.stack([np.convolve(row, response) for row in np.eye(taps)], axis=1)
    delta = np.zeros(matrix.shape[0])
    delta[delta.size // 2] = 1.0
    inverse = np.linalg.solve(matrix.T @ matrix + ridge * np.eye(taps), matrix.T @ delta)
    return np.asarray(inverse, np.float64)
