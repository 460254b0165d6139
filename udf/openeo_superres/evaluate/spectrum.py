"""Spatial frequencies of an image: radial profiles, and how much of what bicubic loses comes back.

Frequency-domain measures of Michel, Kalinicheva and Inglada (2024). They look at amplitudes only: a shift
does not touch them, which is their purpose, and invented detail pleases them as much as true detail, which is
their limit. They never stand alone.

Pure numpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Restoration:
    """How a prediction's spectrum lies between bicubic's and the reference's, in per cent."""

    prr: float
    """Potential restoration rate: what bicubic lacks, so what could be restored."""
    arr: float
    """Actual restoration rate: what was restored of it."""
    frr: float
    """Frequency restoration rate, ARR / PRR: 0 for bicubic, 100 for all; NaN if bicubic lacks nothing."""
    fro: float
    """Frequency restoration overshoot: amplitude above the reference's. 0 or more."""
    fru: float
    """Frequency restoration undershoot: amplitude below bicubic's. 0 or less, as sums of these dB are."""


def frequencies(height: int, width: int) -> NDArray[np.float64]:
    """Centres of the annuli of :func:`radial_profile`, in cycles per pixel: from near 0 to near 0.5."""
    shorter = min(height, width)
    centres: NDArray[np.float64] = (np.arange(shorter // 2) + 0.5) / shorter
    return centres


def radial_profile(image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Amplitude by spatial frequency, whatever the direction, in dB.

    |FFT2| of each band, zero-padded to twice its size, averaged over annuli two frequency bins wide (of the
    shorter side); ``L(f) = 10 log10 P(f) - 10 log10 P(1)`` with index 0 for the annulus of the mean (Michel,
    Kalinicheva, Inglada 2024). Zero-padding makes an edge as high as the mean, which leaks into the fine
    frequencies: to look at those, take an image less its mean.

    Args:
        image: ``(..., y, x)``, any unit, all pixels valid, at least 4 x 4.

    Returns:
        ``(..., min(y, x) // 2)`` dB, 0 at index 1; frequencies as :func:`frequencies` says.

    Raises:
        ValueError: If pixels are missing, the image is too small, or a frequency has no amplitude at all.
    """
    height, width = image.shape[-2:]
    if min(height, width) < 4 or not np.isfinite(image).all():
        raise ValueError(f"Expected 4 x 4 pixels or more, all of them valid; got shape {image.shape}.")
    shorter = min(height, width)
    rows = np.fft.fftfreq(2 * height, 1 / (2 * height)) * (shorter / height)
    columns = np.fft.rfftfreq(2 * width, 1 / (2 * width)) * (shorter / width)
    # radii on the axes come out exact, so that none falls into the annulus below
    annulus = (np.hypot(rows[:, None], columns) // 2).astype(np.intp)
    # the half that is not computed mirrors all columns but the first and the last
    weight = np.full(annulus.shape, 2.0)
    weight[:, [0, -1]] = 1
    count = shorter // 2
    samples = np.bincount(annulus.ravel(), weight.ravel())[:count]
    bands = []
    for band in image.reshape(-1, height, width):
        amplitude = np.abs(np.fft.rfft2(band, (2 * height, 2 * width)))
        bands.append(np.bincount(annulus.ravel(), (weight * amplitude).ravel())[:count] / samples)
    mean = np.stack(bands)
    if not mean.all():
        raise ValueError(
            "Expected an image with some amplitude at each frequency, got one without: is it flat?"
        )
    levels: NDArray[np.float64] = 10 * np.log10(mean / mean[:, 1:2])
    return levels.reshape(*image.shape[:-2], count)


def restoration(
    predicted: NDArray[np.float64], reference: NDArray[np.float64], bicubic: NDArray[np.float64]
) -> Restoration:
    """Compare three radial profiles (Michel, Kalinicheva, Inglada 2024); sums start at index 1.

    With T = reference, I = bicubic, P = prediction, and B = min(T, I):
    ``PRR = 100 |ΣT - ΣB| / |ΣB|``, ``ARR = 100 |Σmax(min(P, T), B) - ΣB| / |ΣB|``, ``FRR = 100 ARR / PRR``,
    ``FRO = 100 (ΣT - Σmax(P, T)) / ΣT``, ``FRU = 100 Σ(I - min(P, I)) / ΣI``.

    Args:
        predicted: ``(n,)`` dB, as :func:`radial_profile` gives them, like the two others.
        reference: Of the truth.
        bicubic: Of the bicubic image on the same grid.
    """
    p, t, i = predicted[1:], reference[1:], bicubic[1:]
    below = np.minimum(t, i)
    base = below.sum()
    prr = 100 * abs((t.sum() - base) / base)
    arr = 100 * abs((np.maximum(np.minimum(p, t), below).sum() - base) / base)
    return Restoration(
        prr=float(prr),
        arr=float(arr),
        frr=float(100 * arr / prr) if prr else float("nan"),
        fro=float(100 * (t.sum() - np.maximum(p, t).sum()) / t.sum()),
        fru=float(100 * (i - np.minimum(p, i)).sum() / i.sum()),
    )
