"""How far a result may be off: per pixel and band, the half-width of an interval that covers a stated share.

The interval is ``result ± (floor + contrast * C + detail * D)``: C is the contrast of the input around the
pixel, D what the model changed there. The coefficients, per band, stand in a model's card. They are
calibrated at the Wald scale, where there is a truth: a real scene is degraded, super-resolved and compared
with itself. Nothing is proven at 5 m, where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .errors import ModelError, SuperresError
from .udf import PIXEL, cell_means, coarse_indices, grid_origin, like_bands, replication_phase, select_bands

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from .card import ModelCard

COEFFICIENTS = ("floor", "contrast", "detail")
REACH = 3
"""10 m pixels that a half-width depends on, one-sided: a 20 m cell beside the pixel's own, and alignment."""


@dataclass(frozen=True, slots=True)
class Trust:
    """A model's calibration: coefficients per band, in the order of its bands, none negative."""

    level: float
    """Share of the pixels that the interval covers where it was calibrated, in ]0, 1[."""
    floor: tuple[float, ...]
    """In DN."""
    contrast: tuple[float, ...]
    """Of the contrast of the input, see :func:`half_width`."""
    detail: tuple[float, ...]
    """Of the change by the model."""

    @classmethod
    def parse(cls, entry: Mapping[str, Any], bands: Sequence[str]) -> Self:
        """Read what a card has under ``superres:trust``.

        Args:
            entry: Of the card.
            bands: Of the model.

        Raises:
            LookupError: If a band is missing.
            TypeError: If a number is none.
            ValueError: If a number can't be.
        """
        level = float(entry["level"])
        columns = {name: tuple(float(entry["bands"][band][name]) for band in bands) for name in COEFFICIENTS}
        numbers = np.array([*columns.values()])
        if not 0 < level < 1 or not np.isfinite(numbers).all() or numbers.min() < 0:
            raise ValueError(
                "expected superres:trust with a level between 0 and 1 and coefficients of at least 0"
            )
        return cls(level, **columns)


def calibration(card: ModelCard) -> Trust:
    """The calibration of a model.

    Raises:
        ModelError: If it has none.
    """
    if card.trust is None:
        raise ModelError(
            f"Model {card.name} has no calibration of its errors (superres:trust in {card.path.stem}.json); "
            "expected one: take a shipped model, calibrate this one (python -m training.calibrate), or leave "
            "the uncertainty out."
        )
    return card.trust


def trust_tags(trust: Trust) -> dict[str, str]:
    """File-level tags of a raster of half-widths."""
    return {
        "UNCERTAINTY": f"half-width of the {100 * trust.level:g} % interval around the result",
        "UNCERTAINTY_LEVEL": f"{trust.level:g}",
        "UNCERTAINTY_METHOD": "split conformal, local scale from the contrast of the input and the change",
        "UNCERTAINTY_SCALE": "calibrated one scale up (Wald protocol); nothing is proven at 5 m",
    }


def half_width(
    image: NDArray[np.float32],
    output: NDArray[np.float32],
    trust: Trust,
    *,
    coarse: Sequence[int],
    phase: tuple[int, int] = (0, 0),
    overlap: int = 0,
) -> NDArray[np.float32]:
    """Half-widths for what a model made of an image.

    The contrast is the range, largest less smallest valid value, over 3 x 3 pixels of the band's own grid (10
    or 20 m); the change is the difference between the output and the input's pixel that it lies in. Both are
    known pixel by pixel from valid neighbours alone, so tiling changes nothing and nodata needs no filling.

    Args:
        image: ``(bands, y, x)`` float32 DN on the 10 m grid, NaN for nodata, 20 m bands replicated 2 x 2.
        output: ``(bands, scale * (y - 2 overlap), scale * (x - 2 overlap))``.
        trust: Of the model.
        coarse: Indices of the 20 m bands.
        phase: Row and column, 0 or 1, of the first 20 m cell that starts inside the image.
        overlap: Pixels of the image per side that are context only; from :data:`REACH` on, or where there is
            nodata beyond the image, any tiling gives the same.

    Returns:
        Like ``output``, in DN; NaN where that is.
    """
    height, width = (n - 2 * overlap for n in image.shape[1:])
    scale = output.shape[1] // height
    result = np.empty_like(output)
    coefficients = np.array([trust.floor, trust.contrast, trust.detail], np.float32).T
    for band, (floor, contrast, detail) in enumerate(coefficients):
        own, spread = _native(image[band], 2 if band in coarse else 1, phase, overlap)
        # rows of the output that lie in one row of the input side by side, so that nothing is copied
        rows = output[band].reshape(height, scale, scale * width)
        target = result[band].reshape(rows.shape)
        np.subtract(rows, own.repeat(scale, axis=1)[:, None], out=target)
        np.abs(target, out=target)
        target *= detail
        target += (floor + contrast * spread).repeat(scale, axis=1)[:, None]
    return result


def _native(
    band: NDArray[np.float32], step: int, phase: tuple[int, int], overlap: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A band's value and its range over 3 x 3 pixels of its own grid, at each 10 m pixel inside the overlap.

    Args:
        band: ``(y, x)``.
        step: Of its grid in 10 m pixels.
        phase: See :func:`half_width`.
        overlap: See there.
    """
    window, pads, inner = [], [], []
    for size, first in zip(band.shape, phase, strict=True):
        # whole cells, one more than needed on each side; beyond the image they are NaN
        start = overlap - step - (overlap - first) % step
        stop = size - overlap + step + (first - size + overlap) % step
        window.append(slice(max(start, 0), min(stop, size)))
        pads.append((max(-start, 0), max(stop - size, 0)))
        inner.append(slice(overlap - start - step, size - overlap - start - step))
    cells = np.pad(band[tuple(window)], pads, constant_values=np.nan)
    if step > 1:
        cells = cell_means(cells[None])[0]
    high, low = cells, cells
    for axis in (0, 1):
        high, low = (_folded(fold, there, axis) for fold, there in ((np.fmax, high), (np.fmin, low)))
    own, spread = cells[1:-1, 1:-1], high - low
    if step > 1:
        own, spread = (there.repeat(step, axis=0).repeat(step, axis=1) for there in (own, spread))
    return own[tuple(inner)], spread[tuple(inner)]


def _folded(fold: np.ufunc, cells: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Fold three neighbours along an axis into one; the outer ones of the array are left out."""
    count = cells.shape[axis]
    before, there, after = (cells.take(range(i, count - 2 + i), axis) for i in range(3))
    folded: NDArray[np.float32] = fold(fold(before, there), after)
    return folded


def uncertainty(cube: xr.DataArray, fine: xr.DataArray, card: ModelCard) -> xr.DataArray:
    """Half-widths for a cube's result, as the file beside a scene's has them.

    Args:
        cube: What :func:`openeo_superres.superresolve_local` was given.
        fine: What it gave. Backed by dask, both are computed.
        card: Of the model.

    Returns:
        Like ``fine``: float32 DN, NaN where that is.

    Raises:
        ModelError: If the model is not calibrated.
        SuperresError: If the two are not of one place, or a band is missing.
    """
    trust = calibration(card)
    given, made = (select_bands(there, card.bands) for there in (cube, fine))
    leading = [dim for dim in given.dims if dim not in {"bands", "y", "x"}]
    given, made = (there.transpose(*leading, "bands", "y", "x") for there in (given, made))
    expected = (*given.shape[:-2], *(card.scale * n for n in given.shape[-2:]))
    if made.shape != expected:
        raise SuperresError(
            f"A result of shape {made.shape} is not what {card.name} makes of a cube of {given.shape}; "
            f"expected {expected}: give the cube that was super-resolved, and its result."
        )
    dates = given.to_numpy().astype(np.float32).reshape(-1, *given.shape[-3:])
    origin = grid_origin(cube, PIXEL)
    phase = (-origin[0] % 2, -origin[1] % 2)
    coarse = coarse_indices(card.bands)
    if coarse:
        phase = replication_phase(dates[:, coarse], 2, phase)
    outputs = made.to_numpy().reshape(-1, *made.shape[-3:])
    widths = [
        half_width(image, output, trust, coarse=coarse, phase=phase)
        for image, output in zip(dates, outputs, strict=True)
    ]
    return like_bands(made.copy(data=np.stack(widths).reshape(made.shape)), fine)
