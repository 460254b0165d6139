"""Spectra as charts draw them: amplitude by spatial frequency, in dB, over cycles per km."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from openeo_superres.evaluate.spectrum import frequencies, radial_profile

from .chart import COLOURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from matplotlib.axes import Axes


def profile(band: np.ndarray) -> np.ndarray:
    """Radial profile of an image less its mean, without the annulus of the mean.

    The mean, at the zero-padded edge, would drown the finest detail.
    """
    return radial_profile(band - band.mean())[1:]


def cycles_per_km(height: int, width: int, metres: float) -> np.ndarray:
    """Frequencies of :func:`profile`, for an image of pixels of so many metres."""
    return 1000 / metres * frequencies(height, width)[1:]


def draw(
    axes: Axes,
    per_km: np.ndarray,
    profiles: Mapping[str, np.ndarray],
    colours: Iterable[str] = COLOURS,
    *,
    width: float = 1.3,
) -> None:
    """Draw a line for each profile, or difference of profiles, over all frequencies there are."""
    for (label, values), colour in zip(profiles.items(), cycle(colours), strict=False):
        axes.plot(per_km, values, color=colour, label=label, linewidth=width)
    axes.grid(color="#dddddd", linewidth=0.6)


def mark_nyquist(axes: Axes, metres: float) -> None:
    """Mark the highest frequency that pixels of so many metres can hold."""
    axes.axvline(1000 / (2 * metres), color="#888888", linewidth=0.8, linestyle="--")


def name_nyquist(axes: Axes, metres: float) -> None:
    """Write beside that mark what it is, up there where falling curves never come."""
    axes.annotate(
        f"Nyquist of {metres:g} m pixels",
        (1000 / (2 * metres), 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(3, -3),
        textcoords="offset points",
        va="top",
        fontsize=8,
        color="#666666",
    )
