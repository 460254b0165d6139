"""How faithful an output is: to the truth where there is one, to the input always."""

from .baseline import Image, Predict, bicubic
from .radiometry import BORDER, consistency
from .wald import (
    NOISE,
    WaldPair,
    WaldScores,
    bicubic_scores,
    gain_db,
    wald_pair,
    wald_profiles,
    wald_scores,
    wald_truth,
)

__all__ = [
    "BORDER",
    "NOISE",
    "Image",
    "Predict",
    "WaldPair",
    "WaldScores",
    "bicubic",
    "bicubic_scores",
    "consistency",
    "gain_db",
    "wald_pair",
    "wald_profiles",
    "wald_scores",
    "wald_truth",
]
