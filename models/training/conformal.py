"""Intervals that cover what they say: a scale of the error, and how many of it an interval must be wide.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005; Lei et al., 2018): the half-width is a scale
that is known beforehand times a threshold, a quantile of ``error / scale`` on data that the scale was not
fitted to. Pixels of one patch are alike, so that the patches are the units here, and the share of a patch
that is missed the loss whose mean is controlled (conformal risk control, Angelopoulos et al., 2024): however
alike the pixels of a patch are, a new patch that is exchangeable with those of the calibration is covered to
at least the level in the mean. With patches of one pixel, that is split conformal prediction.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROUNDS = 6
"""Of the fit: its weights no longer change."""
LEAST_SCALE = 1e-3
"""In DN."""


def threshold(scores: Array, level: float) -> float:
    """The smallest threshold by which a new patch's scores are covered to a level, in the mean.

    The sum over the n patches of the share above it, and 1 for the new one, is at most
    ``(1 - level) (n + 1)``.

    Args:
        scores: ``(patches, pixels)``; of one pixel each, the threshold is the score of rank
            ``ceil((n + 1) level)``.
        level: In ]0, 1[.

    Raises:
        ValueError: If there are too few patches to say anything at that level.
    """
    count, pixels = scores.shape
    # the last term keeps a whole number whole
    missed = pixels * ((1 - level) * (count + 1) - 1) + 1e-9
    if missed < 0:
        raise ValueError(
            f"Got {count} patches; a level of {level:g} needs {math.ceil(1 / (1 - level) - 1 - 1e-9)}."
        )
    ranked = np.sort(scores, axis=None)
    return float(ranked[max(ranked.size - 1 - math.floor(missed), 0)])


def fit_scale(error: Array, features: Array) -> Array:
    """Coefficients, none negative, of the features whose sum is nearest to the absolute error.

    Least squares of the relative error: weights are the inverse of the scale that the round before found.

    Args:
        error: ``(n,)``, absolute.
        features: ``(k, n)``, none negative.
    """
    weight = np.ones_like(error)
    for _ in range(ROUNDS):
        coefficients, _ = nnls((features * weight).T, error * weight)
        weight = 1 / np.maximum(coefficients @ features, LEAST_SCALE)
    return np.asarray(coefficients, np.float64)
