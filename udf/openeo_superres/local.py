"""Super-resolution of an xarray cube on this machine: the UDF's core over numpy or dask."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import xarray as xr

from .card import DEFAULT_MODEL, ModelCard, load_card
from .errors import ModelError, SuperresError
from .udf import (
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
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from .udf import Model

    OpenModel = Callable[[], Model]

VOTERS = 4
"""Tiles per axis of a dask cube that are asked for the phase of its 20 m bands."""

TRAVELS = 8 << 20
"""Weights up to this many bytes go to workers in the graph: distributed warns of graphs from 10 MB on."""

Tile = tuple[int, int, int, int]
"""Top, bottom, left, right in 10 m pixels of the cube."""


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
        threads: Of the network; None for every core, or for one if the cube is backed by dask, which runs
            tasks side by side. Tasks of one process share the network and these threads.

    Returns:
        Same dimensions, band labels in the cube's order and attributes; float32 DN, ``scale`` times the
        pixels over the same outer edges, float64 centre coordinates; NaN exactly where the input is. Lazy if
        the cube is backed by dask; any scheduler computes it, that of a cluster too.

    Raises:
        UnknownModelError: If there is no such model.
        ModelError: If its weights can't be read.
        SuperresError: If a band is missing or 20 m bands were resampled smoothly (with dask: when computed).
    """
    card = load_card(model)
    if not isinstance(cube, xr.DataArray):
        raise SuperresError(f"Expected an xarray.DataArray, got {type(cube).__name__}.")
    if size < 2 or size % 2:
        raise SuperresError(f"Expected an even size of at least 2 pixels, got {size}.")
    if not cube.size:
        raise SuperresError(f"The cube is empty: {dict(cube.sizes)}.")
    selected = select_bands(cube, card.bands)
    leading = [dim for dim in cube.dims if dim not in {"bands", "y", "x"}]
    selected = selected.transpose(*leading, "bands", "y", "x")
    _check_grid(cube)
    origin = grid_origin(cube, PIXEL)
    default = (-origin[0] % 2, -origin[1] % 2)
    lazy = isinstance(selected.data, da.Array)
    opener = _CarriedCard.of(card) if lazy else card
    open_model = partial(opener.open, provider, threads or 1 if lazy else threads)
    stack = selected.data.reshape(-1, *selected.shape[-3:])
    data = (_resolve_dask if lazy else _resolve_numpy)(stack, card, default, size, open_model)
    data = data.reshape(*selected.shape[:-2], *data.shape[-2:])
    result = xr.DataArray(
        data, _fine_coords(selected, card.scale), selected.dims, cube.name, dict(cube.attrs)
    )
    # dask would lend its own name
    result = like_bands(result, cube).rename(cube.name)
    if "grid_mapping" in cube.encoding:
        result.encoding["grid_mapping"] = cube.encoding["grid_mapping"]
    result.attrs["long_name"] = tuple(str(label) for label in result["bands"].to_numpy())
    return result


@dataclass(frozen=True, slots=True)
class _CarriedCard(ModelCard):
    """A card with its weights, for a worker on a machine where its file may not be."""

    content: bytes = b""
    """The ONNX file; empty where it is too large to travel."""

    @classmethod
    def of(cls, card: ModelCard) -> _CarriedCard:
        """Read the weights of a card, and leave its figures behind."""
        facts = {field.name: getattr(card, field.name) for field in fields(ModelCard)}
        content = card.read_weights()
        return cls(**{**facts, "figures": {}}, content=content if len(content) <= TRAVELS else b"")

    def read_weights(self) -> bytes:
        if self.content:
            return self.content
        try:
            return ModelCard.read_weights(self)
        except ModelError as error:
            raise ModelError(
                f"{error}. Weights of more than {TRAVELS >> 20} MiB do not travel to a cluster's workers: "
                "expected them at this path on every machine; use a folder that all of them share."
            ) from error


def _check_grid(cube: xr.DataArray) -> None:
    """Refuse coordinates in metres that are not 10 m apart (a cube in degrees has small steps)."""
    for axis in {"x", "y"} & {*cube.coords}:
        centres = cube[axis].to_numpy().astype(np.float64)
        step = abs(centres[-1] - centres[0]) / max(1, centres.size - 1)
        if centres.size > 1 and step >= 1 and abs(step - PIXEL) > 0.01 * PIXEL:
            raise SuperresError(
                f"Expected pixels of 10 m, but the cube's {axis} coordinates are {step:g} m apart. "
                "Load all bands on the 10 m grid, 20 m bands with method 'near'."
            )


def _tiles(shape: tuple[int, ...], size: int) -> list[list[Tile]]:
    """Rows of tiles over ``(..., y, x)``."""
    height, width = shape[-2:]
    return [
        [(top, min(top + size, height), left, min(left + size, width)) for left in range(0, width, size)]
        for top in range(0, height, size)
    ]


def _with_overlap(
    tile: Tile, shape: tuple[int, ...], margin: int
) -> tuple[tuple[slice, slice], list[tuple[int, int]]]:
    """The part of the cube within ``margin`` of a tile, and what is missing on each side of it."""
    slices, pads = [], []
    for start, stop, n in ((*tile[:2], shape[-2]), (*tile[2:], shape[-1])):
        slices.append(slice(max(0, start - margin), min(n, stop + margin)))
        pads.append((max(0, margin - start), max(0, stop + margin - n)))
    return (slices[0], slices[1]), pads


def _voting(tile: Tile) -> tuple[slice, slice]:
    """A tile and one more row and column: whatever the phase, each cell is in one tile."""
    top, bottom, left, right = tile
    return slice(top, bottom + 1), slice(left, right + 1)


def _votes(image: NDArray[Any], coarse: list[int]) -> NDArray[np.int64]:
    """Votes of a tile ``(dates, bands, y, x)`` on the phase of the 20 m bands: ``(1, 2, 2, 2)``."""
    refuse_reflectance(image)
    votes = phase_votes(image[:, coarse]) if coarse else np.zeros((2, 2, 2), np.int64)
    return votes[None]


def _decide(votes: NDArray[np.int64], default: tuple[int, int]) -> NDArray[np.int64]:
    """The phase as one number, ``2 row + column``, in an array of as many dimensions as the cube."""
    row, column = decide_phase(votes.sum(axis=0), default)
    return np.full((1, 1, 1, 1), 2 * row + column)


def _resolve_tile(
    dates: NDArray[Any],
    phase: NDArray[np.int64],
    opener: NDArray[np.object_],
    *,
    pads: list[tuple[int, int]],
    tile: Tile,
) -> NDArray[np.float32]:
    """One tile of all dates, from its pixels with overlap where there are any."""
    model = opener.item()()
    margin = model.margin
    row, column = divmod(int(phase.item()), 2)
    padded = np.pad(dates.astype(np.float32), ((0, 0), (0, 0), *pads), constant_values=np.nan)
    shifted = ((row - tile[0] + margin) % 2, (column - tile[2] + margin) % 2)
    return np.stack([superresolve_chunk(date, model, phase=shifted, overlap=margin) for date in padded])


def _resolve_numpy(
    stack: NDArray[Any],
    card: ModelCard,
    default: tuple[int, int],
    size: int,
    open_model: OpenModel,
) -> NDArray[np.float32]:
    """``(dates, bands, y, x)`` tile by tile."""
    rows = _tiles(stack.shape, size)
    tiles = [tile for row in rows for tile in row]
    votes = [_votes(stack[..., *_voting(tile)], card.coarse) for tile in tiles]
    phase, opener = _decide(np.concatenate(votes), default), _boxed(open_model)
    scale = card.scale
    result = np.empty((*stack.shape[:2], scale * stack.shape[2], scale * stack.shape[3]), np.float32)
    for tile in tiles:
        window, pads = _with_overlap(tile, stack.shape, card.margin)
        part = _resolve_tile(stack[..., *window], phase, opener, pads=pads, tile=tile)
        top, bottom, left, right = (scale * edge for edge in tile)
        result[..., top:bottom, left:right] = part
    return result


def _resolve_dask(
    stack: da.Array,
    card: ModelCard,
    default: tuple[int, int],
    size: int,
    open_model: OpenModel,
) -> da.Array:
    """The same, lazily: one task per tile and date. Tiles share what they load, and the model."""
    rows = _tiles(stack.shape, size)
    votes = [
        stack[date : date + 1, :, *_voting(tile)]
        .rechunk(-1)
        .map_blocks(partial(_votes, coarse=card.coarse), chunks=((1,), (2,), (2,), (2,)), **_kind(np.int64))
        for date, tile in _voters(rows, stack.shape[0])
    ]
    phase = (
        da.concatenate(votes)
        .rechunk(-1)
        .map_blocks(partial(_decide, default=default), chunks=((1,),) * 4, **_kind(np.int64))
    )
    # a chunk of its own: workers get the weights once, not with every task
    opener = da.from_array(_boxed(open_model), chunks=1)

    def resolve(date: int, tile: Tile) -> da.Array:
        window, pads = _with_overlap(tile, stack.shape, card.margin)
        top, bottom, left, right = (card.scale * edge for edge in tile)
        # what a partial holds is not searched for dask objects, task by task
        function = partial(_resolve_tile, pads=pads, tile=tile)
        pixels = stack[date : date + 1, :, *window].rechunk(-1)
        chunks = ((1,), (stack.shape[1],), (bottom - top,), (right - left,))
        part: da.Array = pixels.map_blocks(function, phase, opener, chunks=chunks, **_kind(np.float32))
        return part

    dates = range(stack.shape[0])
    result: da.Array = da.block([[[[resolve(date, tile) for tile in row] for row in rows]] for date in dates])
    return result


def _boxed(open_model: OpenModel) -> NDArray[np.object_]:
    """How to open the model, in an array of as many dimensions as the cube."""
    box = np.empty((1, 1, 1, 1), object)
    box[...] = open_model
    return box


def _voters(rows: list[list[Tile]], dates: int) -> list[tuple[int, Tile]]:
    """Tiles spread over a cube, and over its dates, that are asked for the phase before all others."""
    spread = [np.unique(np.linspace(0, n - 1, VOTERS, dtype=int)) for n in (len(rows), len(rows[0]))]
    tiles = [rows[row][column] for row, column in product(*spread)]
    count = max(len(tiles), min(dates, VOTERS**2))
    return [(i * dates // count, tiles[i % len(tiles)]) for i in range(count)]


def _kind(dtype: type[np.generic]) -> dict[str, Any]:
    """What dask is told of a result, so that it need not try the function."""
    return {"dtype": dtype, "meta": np.empty((0,) * 4, dtype)}


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
    if len(transform) == 2:
        # rioxarray believes this attribute of the grid mapping before the coordinates
        (left, right_step), (top, down_step) = transform["x"], transform["y"]
        for name, value in coords.items():
            if isinstance(value, xr.DataArray) and "GeoTransform" in value.attrs:
                coords[name] = value.copy()
                coords[name].attrs["GeoTransform"] = f"{left} {right_step} 0.0 {top} 0.0 {down_step}"
    return coords
