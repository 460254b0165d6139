"""One page of HTML that says how far a scene's super-resolved pixels can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from .baseline import Image


@dataclass(frozen=True, slots=True)
class View:
    """A part of the scene to look at: the same window as each result shows it."""

    title: str
    """A few words."""
    about: str
    """What is compared, at which pixel size, in a sentence."""
    images: dict[str, Image]
    """By label, "bicubic" first, then the models, "truth" last where there is one: ``(10, y, x)`` float32 DN,
    NaN nodata, all of one shape."""


def build_report(
    facts: Mapping[str, Any],
    views: Sequence[View],
    spectra: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> str:
    """Write the page: it opens from a file, and asks nothing of any server.

    Args:
        facts: What ``evaluate`` measured, as its JSON has it; what is missing is left out, null is "not known".
        views: Pictures for the slider; none, and there is no slider.
        spectra: Protocol -> label ("bicubic", the models, "truth") -> radial profiles ``(4 or 10, n)`` in dB
            of the bands that have a reference there, in the order of :data:`openeo_superres.sensor.BANDS`, see
            :func:`openeo_superres.evaluate.spectrum.radial_profile`.

    Returns:
        HTML; the same arguments give the same text.

    Raises:
        ValueError: If a view has no image, or images of more than one shape.
    """
    raise NotImplementedError
