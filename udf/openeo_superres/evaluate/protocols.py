"""The Wald protocols by name, and their figures as tables, cards and facts have them.

No such figure proves anything at 5 m, where Sentinel-2 has no reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.sensor import BAND_NAMES, BANDS_10M

from .baseline import bicubic
from .spectrum import restoration
from .wald import bicubic_scores, gain_db, wald_profiles, wald_scores, wald_truth

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from .baseline import Image, Predict
    from .spectrum import Restoration
    from .wald import WaldPair, WaldScores

PROTOCOLS: dict[str, dict[str, Any]] = {
    "x2": {"factor": 2},
    "x2 no noise": {"factor": 2, "noise": 0.0},
    "x2 MTF^0.8": {"factor": 2, "exponent": 0.8},
    "x2 MTF^1.25": {"factor": 2, "exponent": 1.25},
    "x2 mild blur": {"factor": 2, "psf": "mild", "noise": 0.0},
    "x4": {"factor": 4},
}
"""Name -> arguments of :func:`openeo_superres.evaluate.wald_pair`; noise is 8 DN where nothing is said."""
MAIN = "x2"
"""The protocol that overviews show."""
LIMIT = "No Wald figure proves anything at 5 m, where Sentinel-2 has no reference."
"""Said wherever one is shown."""
SPECTRAL = ("frr", "fro", "fru")
"""Measures of :class:`openeo_superres.evaluate.spectrum.Restoration` that go into tables and cards."""


@dataclass(frozen=True, slots=True)
class Reference:
    """What the predictions for a pair are compared with: the truth, and bicubic."""

    pair: WaldPair
    bicubic: Image
    """Bicubic's prediction."""
    scores: WaldScores
    """Of bicubic."""
    profiles: dict[str, NDArray[np.float64]]
    """Spectra of "truth" and "bicubic", see :func:`openeo_superres.evaluate.wald_profiles`."""

    @classmethod
    def of(cls, pair: WaldPair) -> Reference:
        """Measure bicubic."""
        base = bicubic(pair.input)
        images = {"truth": wald_truth(pair), "bicubic": base}
        profiles = {label: wald_profiles(pair, image) for label, image in images.items()}
        return cls(pair, base, bicubic_scores(pair), profiles)

    def restorations(self, profiles: NDArray[np.float64]) -> list[Restoration]:
        """What a prediction gives back of each band's frequencies.

        Args:
            profiles: Of the prediction, see :func:`openeo_superres.evaluate.wald_profiles`.
        """
        references = self.profiles["truth"], self.profiles["bicubic"]
        return [restoration(*bands) for bands in zip(profiles, *references, strict=True)]


def error_figures(scores: WaldScores, reference: WaldScores) -> dict[str, Any]:
    """Errors in DN by band and as means, and their gains over a reference in dB."""
    return {
        "rmse": dict(zip(BAND_NAMES, scores.rmse.round(2).tolist(), strict=True)),
        "rmse10": round(scores.mean_rmse(10), 2),
        "rmse20": round(scores.mean_rmse(20), 2),
        "gain10": round(gain_db(reference.mean_rmse(10), scores.mean_rmse(10)), 2),
        "gain20": round(gain_db(reference.mean_rmse(20), scores.mean_rmse(20)), 2),
        "consistency": round(float(np.mean(scores.consistency)), 2),
    }


def spectral_figures(restorations: Sequence[Restoration]) -> dict[str, Any]:
    """FRR, FRO and FRU in per cent: means of the 10 m bands and, where they have a truth, the 20 m bands.

    Args:
        restorations: One per band that has a reference on the output's grid, in the order of the bands.
    """
    split = len(BANDS_10M)
    groups = {"10": restorations[:split], "20": restorations[split:]}
    return {
        # 0.0: there is no negative zero in tables
        f"{measure}{resolution}": round(float(np.mean([getattr(band, measure) for band in bands])), 3) + 0.0
        for resolution, bands in groups.items()
        if bands
        for measure in SPECTRAL
    }


def measure(pair: WaldPair, predictors: Mapping[str, Predict]) -> dict[str, dict[str, Any]]:
    """Figures of bicubic and of each model on one pair."""
    reference = Reference.of(pair)
    table = {}
    for label, predict in {"bicubic": bicubic, **predictors}.items():
        output = predict(pair.input)
        scores = reference.scores if label == "bicubic" else wald_scores(pair, output)
        restorations = reference.restorations(wald_profiles(pair, output))
        table[label] = error_figures(scores, reference.scores) | spectral_figures(restorations)
    return table
