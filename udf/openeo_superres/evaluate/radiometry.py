"""Faithfulness to what was measured: the output, seen by the sensor again, against the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.sensor import BANDS, Band, degrade, native_groups

from .metrics import inside, rmse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from .baseline import Image

BORDER = 8
"""10 m pixels of the input left out at its edge."""


def seen_again(
    output: Image, image: Image, bands: Sequence[Band] = BANDS
) -> Iterator[tuple[list[int], Image, Image]]:
    """Per native resolution: indices of its bands, D(output), and the input, both on the bands' own grid.

    Args:
        output: ``(bands, scale * y, scale * x)``.
        image: ``(bands, y, x)``, y and x even, 20 m bands replicated on the even grid.
        bands: In the order of both.

    Yields:
        Images without :data:`BORDER`.

    Raises:
        ValueError: If nothing is left of them.
    """
    scale = output.shape[1] // image.shape[1]
    for chosen, step in native_groups(bands):
        seen = degrade(output[chosen], [bands[i] for i in chosen], step * scale)
        given = image[chosen][:, ::step, ::step]
        yield chosen, inside(seen, BORDER // step), inside(given, BORDER // step)


def consistency(output: Image, image: Image, bands: Sequence[Band] = BANDS) -> NDArray[np.float64]:
    """RMSE per band in DN between the output seen by the sensor again, D(output), and the input.

    Arguments as in :func:`seen_again`.
    """
    errors = np.empty(len(bands))
    for chosen, seen, given in seen_again(output, image, bands):
        errors[chosen] = rmse(seen, given)
    return errors
