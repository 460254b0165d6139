"""How close a model comes to real pixels: the Wald protocols, in numpy.

A real scene is degraded by 2 (or 4), super-resolved, and compared with itself at its native resolutions. No
such figure proves anything at 5 m, where there is no reference: it measures the same task one scale up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BANDS, BANDS_10M, BANDS_20M, degrade, upsample_cubic

from .baseline import bicubic
from .metrics import inside, rmse
from .radiometry import BORDER, consistency
from .spectrum import radial_profile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .baseline import Image

    Compared = tuple[tuple[Image, Image], tuple[Image, Image]]
    """Prediction and truth of the 10 m bands, and of the 20 m bands, each on a grid of their own, without
    ``BORDER`` pixels of it."""

NOISE = 8.0
"""Noise added to the degraded input, in DN: about the sensor's in-flight noise."""


@dataclass(frozen=True, slots=True)
class WaldScores:
    """Errors of one prediction, per band in the order of ``BANDS``, in DN."""

    rmse: NDArray[np.float64]
    """Against the truth: 10 m bands at 10 m (20 m for factor 4), 20 m bands at 20 m."""
    consistency: NDArray[np.float64]
    """Of the output seen by the sensor again, against the input."""

    def mean_rmse(self, resolution: int) -> float:
        """Mean over the bands of one native resolution (10 or 20 m)."""
        return float(
            np.mean([e for e, band in zip(self.rmse, BANDS, strict=True) if band.resolution == resolution])
        )


@dataclass(frozen=True, slots=True)
class WaldPair:
    """A scene seen with larger pixels, and the truth to compare with."""

    input: Image
    """``(10, y, x)`` DN, 20 m bands replicated 2 x 2."""
    target10: Image
    """``(4, 2y, 2x)``."""
    target20: Image
    """``(6, y, x)`` for factor 2 (compared after D), ``(6, 2y, 2x)`` for factor 4."""
    factor: int


def wald_pair(
    x10: Image,
    x20: Image,
    *,
    factor: int = 2,
    exponent: float = 1.0,
    noise: float = NOISE,
    psf: str = "relative",
    seed: int = 0,
) -> WaldPair:
    """Degrade a scene at native resolutions by ``factor`` (2 or 4), with Gaussian noise.

    Args:
        x10: ``(4, y, x)`` float32 DN; y and x multiples of ``4 * factor`` (cropped to them).
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        factor: Of the degradation; the network always upsamples by 2.
        exponent: Of the MTF: 0.8 and 1.25 are the robustness tests.
        noise: Standard deviation in DN.
        psf: "relative", our sensor model, or "mild", which others use (factor 2 only): a Gaussian of half a
            pixel, then the mean of 2 x 2.
        seed: Of the noise.

    Raises:
        ValueError: If the PSF or the factor is another.
    """
    height, width = (n // (4 * factor) * 4 * factor for n in x10.shape[1:])
    x10, x20 = x10[:, :height, :width], x20[:, : height // 2, : width // 2]
    rng = np.random.default_rng(seed)
    if psf == "relative" and factor in {2, 4}:
        low10 = degrade(x10, BANDS_10M, factor, exponent)
        low20 = degrade(x20, BANDS_20M, factor, exponent)
    elif psf == "mild" and factor == 2:
        low10, low20 = _mild(x10), _mild(x20)
    else:
        raise ValueError(
            f"Expected psf 'relative' with factor 2 or 4, or 'mild' with 2; got {psf!r} with {factor}."
        )
    low10, low20 = (
        low + np.float32(noise) * rng.standard_normal(low.shape, dtype=np.float32) for low in (low10, low20)
    )
    target10 = x10 if factor == 2 else degrade(x10, BANDS_10M, factor // 2)
    replicated = low20.repeat(2, axis=1).repeat(2, axis=2)
    return WaldPair(np.concatenate([low10, replicated]), target10, x20, factor)


def _mild(image: Image) -> Image:
    """Gaussian of half a pixel, then the mean of each 2 x 2 block."""
    taps = np.exp(-2.0 * np.arange(-2, 3) ** 2).astype(np.float32)
    taps /= taps.sum()
    size = image.shape[1:]
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    rows = sum(tap * padded[:, k : k + size[0]] for k, tap in enumerate(taps))
    blurred = sum(tap * rows[:, :, k : k + size[1]] for k, tap in enumerate(taps))
    blocks: Image = blurred.reshape(len(image), size[0] // 2, 2, size[1] // 2, 2).mean(axis=(2, 4))
    return blocks


def wald_compared(pair: WaldPair, output: Image) -> Compared:
    """A prediction for ``pair.input`` and the truth; with factor 2, D brings its 20 m bands to theirs."""
    split = len(BANDS_10M)
    coarse = degrade(output[split:], BANDS_20M, 2) if pair.factor == 2 else output[split:]
    return _compared(pair, output, coarse)


def bicubic_compared(pair: WaldPair, output: Image) -> Compared:
    """The same of bicubic, whose 20 m bands are upsampled to the truth's grid alone, as the protocol says."""
    split = len(BANDS_10M)
    coarse = upsample_cubic(pair.input[split:, ::2, ::2], 2) if pair.factor == 2 else output[split:]
    return _compared(pair, output, coarse)


def _compared(pair: WaldPair, output: Image, coarse: Image) -> Compared:
    fine, coarse, truth10, truth20 = (
        inside(image, BORDER) for image in (output[: len(BANDS_10M)], coarse, pair.target10, pair.target20)
    )
    return (fine, truth10), (coarse, truth20)


def errors(compared: Compared) -> NDArray[np.float64]:
    """RMSE per band in DN, in the order of ``BANDS``."""
    return np.concatenate([rmse(*images) for images in compared])


def wald_scores(pair: WaldPair, output: Image) -> WaldScores:
    """Compare a prediction for ``pair.input`` with the truth."""
    return WaldScores(errors(wald_compared(pair, output)), consistency(output, pair.input))


def bicubic_scores(pair: WaldPair) -> WaldScores:
    """Bicubic's figures, see :func:`bicubic_compared`."""
    output = bicubic(pair.input)
    return WaldScores(errors(bicubic_compared(pair, output)), consistency(output, pair.input))


def wald_profiles(pair: WaldPair, image: Image) -> NDArray[np.float64]:
    """Radial profiles in dB of the bands that have a reference on the output's grid, border left out.

    Args:
        pair: Of factor 2: the four 10 m bands have one; of factor 4: all ten.
        image: A prediction ``(10, 2y, 2x)`` for ``pair.input``, bicubic's too, or :func:`wald_truth`.

    Returns:
        ``(4 or 10, n)``, see :func:`openeo_superres.evaluate.spectrum.radial_profile`.
    """
    return radial_profile(image[: len(wald_truth(pair)), BORDER:-BORDER, BORDER:-BORDER])


def wald_truth(pair: WaldPair) -> Image:
    """The truth on the output's grid: ``(4, 2y, 2x)`` for factor 2, ``(10, 2y, 2x)`` for factor 4."""
    return pair.target10 if pair.factor == 2 else np.concatenate([pair.target10, pair.target20])


def gain_db(reference: float, error: float) -> float:
    """Gain over a reference error, in dB: ``20 log10(reference / error)``; NaN if either error is 0."""
    return float(20 * np.log10(reference / error)) if reference and error else float("nan")
