"""Super-resolution of an xarray cube on this machine: the UDF's core over numpy or dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import delayed

from .card import DEFAULT_MODEL, ModelCard, load_card
from .errors import SuperresError
from .udf import (
    COARSE_BANDS,
    PIXEL,
    decide_phase,
    grid_origin,
    like_bands,
    phase_votes,
    refuse_reflectance,
    select_bands,
    superresolve_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

VOTING_TILES = 16
"""Tiles of a dask cube that are asked for the phase of its 20 m bands, before the others are needed."""


def superresolve_local(
    cube: xr.DataArray,
    model: str | Path | ModelCard = DEFAULT_MODEL,
    *,
    size: int = 512,
    provider: str = "auto",
    threads: int | None = None,
) -> xr.DataArray:
    """Super-resolve a Sentinel-2 cube.

    Args:
        cube: Dimensions ``(bands, y, x)`` or ``(t, bands, y, x)``, band labels B02 ... B12 (others are
            dropped), harmonised DN on the 10 m grid, NaN for nodata, coordinates of pixel centres, 20 m bands
            replicated 2 x 2 ("nearest"). Any height and width.
        model: Name of a shipped model, the path of a card, or a card.
        size: Edge of the tiles that are computed at once, in 10 m pixels, without their overlap.
        provider: "auto", "cpu" or "cuda".
        threads: Of the network; None for every core, or for one per task if the cube is backed by dask.

    Returns:
        Same dimensions, band labels in the cube's order and attributes; float32 DN, ``scale`` times the
        pixels over the same outer edges, float64 centre coordinates; NaN exactly where the input is. Lazy if
        the cube is backed by dask.

    Raises:
        UnknownModelError: If there is no such model.
        SuperresError: If a band is missing or 20 m bands were resampled smoothly (with dask: when computed).
    """
    card = model if isinstance(model, ModelCard) else load_card(model)
    if not isinstance(cube, xr.DataArray):
        raise SuperresError(f"Expected an xarray.DataArray, got {type(cube).__name__}.")
    if size < 2 or size % 2:
        raise SuperresError(f"Expected an even size of at least 2 pixels, got {size}.")
    if not {"bands", "y", "x"} <= {*cube.dims}:
        raise SuperresError(
            f"Expected dimensions (t,) bands, y, x; the cube has {', '.join(map(str, cube.dims))}."
        )
    if not cube.size:
        raise SuperresError(f"The cube is empty: {dict(cube.sizes)}.")
    selected = select_bands(cube, card.bands)
    leading = [dim for dim in cube.dims if dim not in {"bands", "y", "x"}]
    selected = selected.transpose(*leading, "bands", "y", "x")
    origin = grid_origin(cube, PIXEL)
    default = (-origin[0] % 2, -origin[1] % 2)
    resolve = _resolve_dask if isinstance(selected.data, da.Array) else _resolve_numpy
    stack = selected.data.reshape(-1, *selected.shape[-3:])
    data = resolve(stack, card, default, size, provider, threads)
    data = data.reshape(*selected.shape[:-2], *data.shape[-2:])
    result = xr.DataArray(
        data, _fine_coords(selected, card.scale), selected.dims, cube.name, dict(cube.attrs)
    )
    # dask would lend its own name
    result = like_bands(result, cube).rename(cube.name)
    result.attrs["long_name"] = tuple(str(label) for label in result["bands"].to_numpy())
    return result


def _coarse(card: ModelCard) -> list[int]:
    return [i for i, band in enumerate(card.bands) if band in COARSE_BANDS]


def _decide(votes: list[NDArray[np.int64]], default: tuple[int, int]) -> tuple[int, int]:
    return decide_phase(np.sum(votes, axis=0), default)


def _tiles(shape: tuple[int, ...], size: int) -> Iterator[list[tuple[int, int, int, int]]]:
    """Rows of tiles as (top, bottom, left, right) over ``(..., y, x)``."""
    height, width = shape[-2:]
    for top in range(0, height, size):
        yield [
            (top, min(top + size, height), left, min(left + size, width)) for left in range(0, width, size)
        ]


def _with_overlap(
    tile: tuple[int, int, int, int], shape: tuple[int, ...], margin: int
) -> tuple[tuple[slice, slice], list[tuple[int, int]]]:
    """The part of the cube within ``margin`` of a tile, and what is missing on each side of it."""
    slices, pads = [], []
    for start, stop, n in ((*tile[:2], shape[-2]), (*tile[2:], shape[-1])):
        slices.append(slice(max(0, start - margin), min(n, stop + margin)))
        pads.append((max(0, margin - start), max(0, stop + margin - n)))
    return (slices[0], slices[1]), pads


def _resolve_tile(  # noqa: PLR0917
    dates: NDArray[Any],
    pads: list[tuple[int, int]],
    tile: tuple[int, int, int, int],
    phase: tuple[int, int],
    card: ModelCard,
    provider: str,
    threads: int | None,
) -> NDArray[np.float32]:
    """One tile of all dates, from its pixels with overlap where there are any."""
    model, margin = card.open(provider, threads), card.margin
    padded = np.pad(dates.astype(np.float32), ((0, 0), (0, 0), *pads), constant_values=np.nan)
    shifted = ((phase[0] - tile[0] + margin) % 2, (phase[1] - tile[2] + margin) % 2)
    return np.stack([superresolve_chunk(date, model, phase=shifted, overlap=margin) for date in padded])


def _resolve_numpy(  # noqa: PLR0917
    stack: NDArray[Any],
    card: ModelCard,
    default: tuple[int, int],
    size: int,
    provider: str,
    threads: int | None,
) -> NDArray[np.float32]:
    """``(dates, bands, y, x)`` tile by tile."""
    refuse_reflectance(stack)
    phase = _decide([phase_votes(date[_coarse(card)]) for date in stack], default)
    scale = card.scale
    result = np.empty((*stack.shape[:2], scale * stack.shape[2], scale * stack.shape[3]), np.float32)
    for row in _tiles(stack.shape, size):
        for tile in row:
            (rows, columns), pads = _with_overlap(tile, stack.shape, card.margin)
            part = _resolve_tile(stack[:, :, rows, columns], pads, tile, phase, card, provider, threads)
            top, bottom, left, right = (scale * edge for edge in tile)
            result[:, :, top:bottom, left:right] = part
    return result


def _resolve_dask(  # noqa: PLR0917
    stack: da.Array,
    card: ModelCard,
    default: tuple[int, int],
    size: int,
    provider: str,
    threads: int | None,
) -> da.Array:
    """The same, lazily: one task per tile and date, which opens the model once per process."""
    tiles = [tile for row in _tiles(stack.shape, size) for tile in row]
    voters = tiles[:: -(-len(tiles) // VOTING_TILES)]
    votes = [
        delayed(phase_votes)(stack[:, _coarse(card), top:bottom, left:right])
        for top, bottom, left, right in voters
    ]
    phase = delayed(_decide)(votes, default)
    resolve_tile = delayed(_resolve_tile)
    dates = []
    for date in range(stack.shape[0]):
        blocks = []
        for row in _tiles(stack.shape, size):
            line = []
            for tile in row:
                (rows, columns), pads = _with_overlap(tile, stack.shape, card.margin)
                window = stack[date : date + 1, :, rows, columns]
                part = resolve_tile(window, pads, tile, phase, card, provider, threads or 1)
                top, bottom, left, right = (card.scale * edge for edge in tile)
                shape = (1, stack.shape[1], bottom - top, right - left)
                line.append(da.from_delayed(part, shape, np.float32, meta=np.empty((0,) * 4, np.float32)))
            blocks.append(line)
        dates.append(da.block(blocks))
    result: da.Array = da.concatenate(dates)
    return result


def _fine_coords(cube: xr.DataArray, scale: int) -> dict[Any, Any]:
    """The cube's coordinates, with x and y at the centres of the fine pixels in float64."""
    coords: dict[Any, Any] = {
        name: value for name, value in cube.coords.items() if not {"x", "y"} & {*value.dims}
    }
    transform = {}
    for axis in ("x", "y"):
        if axis not in cube.coords:
            continue
        centres = cube[axis].to_numpy().astype(np.float64)
        last = centres.size - 1
        step = (centres[last] - centres[0]) / last if last else (PIXEL if axis == "x" else -PIXEL)
        edge = centres[0] - step / 2
        fine = edge + (np.arange(scale * centres.size) + 0.5) * step / scale
        coords[axis] = (axis, fine, dict(cube[axis].attrs))
        transform[axis] = (edge, step / scale)
    if "spatial_ref" in coords and "GeoTransform" in coords["spatial_ref"].attrs and len(transform) == 2:
        # rioxarray believes this attribute before the coordinates
        (left, right_step), (top, down_step) = transform["x"], transform["y"]
        reference = coords["spatial_ref"].copy()
        reference.attrs["GeoTransform"] = f"{left} {right_step} 0.0 {top} 0.0 {down_step}"
        coords["spatial_ref"] = reference
    return coords
