"""Chunking as GeoTrellis does it for ``apply_neighborhood``, with its habits.

- Tiles start at the layer's upper left corner. A chunk is a tile and its overlap; what is missing is NaN,
  also where the tile itself reaches beyond the layer.
- Coordinates are pixel centres in float32, too coarse for large northings. Those of the runtime "Python-Jep"
  count the overlap twice, so that their step is too large.
- The runtime "Python" never updates the layout: of a result with more pixels the part where the tile was is
  taken for the tile, silently. "Python-Jep" asks ``apply_metadata`` first and scales tile and overlap.
- The bands of a result are labelled by position.
- The overlap reaches the direct neighbours only. Beyond the tile's size the real back-end fails, or, for
  multiples of it, shifts the result; by how much is not documented: here by what the overlap is too large.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from .errors import RequestError
from .layer import Layer
from .worker import STAMP, has_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .executor import Executor

SMALLEST = 4
"""Tiles below this are refused."""


@dataclass(frozen=True)
class Window:
    """Size and overlap of the arguments of ``apply_neighborhood``, in pixels."""

    size: tuple[int, int]
    """Rows and columns."""
    overlap: tuple[int, int]
    daily: bool
    """Whether every date is a chunk of its own, without a time dimension."""

    @classmethod
    def parse(cls, size: list[dict], overlap: list[dict] | None) -> Window:
        """Check the arguments.

        Raises:
            RequestError: If the real back-end would refuse them.
        """
        sizes = {entry["dimension"]: entry for entry in size}
        overlaps = {entry["dimension"]: entry for entry in overlap or []}
        for entry in (sizes.get("x"), sizes.get("y"), overlaps.get("x"), overlaps.get("y")):
            if entry is not None and entry.get("unit") != "px":
                raise RequestError(f"apply_neighborhood: only 'px' is supported in x and y, got {entry}.")
        if not {"x", "y"} <= set(sizes):
            raise RequestError("apply_neighborhood: the size needs dimensions x and y.")
        rows, columns = int(sizes["y"]["value"]), int(sizes["x"]["value"])
        if min(rows, columns) < SMALLEST:
            raise RequestError(f"apply_neighborhood: sizes below {SMALLEST} are not supported.")
        border = tuple(int(overlaps.get(axis, {}).get("value", 0)) for axis in ("y", "x"))
        if any(o > s and o % s for o, s in zip(border, (rows, columns), strict=True)):
            raise RequestError("apply_neighborhood: invalid combination of overlap and size.")
        time = sizes.get("t", {}).get("value")
        if time not in {None, "P1D"}:
            raise RequestError("apply_neighborhood: for t, only all values or 'P1D' are supported.")
        return cls((rows, columns), border, daily=time == "P1D")

    def scaled(self, ratio: float) -> Window:
        """The same on a grid ``ratio`` times finer."""
        size, overlap = (tuple(int(n * ratio) for n in pair) for pair in (self.size, self.overlap))
        return replace(self, size=size, overlap=overlap)


@dataclass(frozen=True)
class Chunk:
    """One call of the UDF."""

    row: int
    column: int
    dates: slice
    message: dict[str, Any]


def apply_neighborhood(layer: Layer, window: Window, udf: dict[str, Any], executor: Executor) -> Layer:
    """Run a UDF over a layer.

    Args:
        layer: Its pixels have dimensions ``(t, bands, y, x)`` or ``(bands, y, x)``.
        window: Tiles and overlap.
        udf: ``code``, ``runtime`` and ``context``.
        executor: Who runs it.
    """
    grid, target = layer.grid, window
    jep = udf["runtime"] == "Python-Jep"
    if jep and has_metadata(udf["code"]):
        step, _ = executor.run(udf, [{"metadata": _dimensions(layer)}])[0]["step"]
        target = window.scaled(layer.grid.step / step)
        grid = layer.grid.resampled(step)
    chunks = list(_chunks(layer, window, jep=jep))
    answers = executor.run(udf, [chunk.message for chunk in chunks])
    return _joined(layer, grid, target, chunks, answers)


def _dimensions(layer: Layer) -> dict[str, Any]:
    """What "Python-Jep" tells of the cube."""
    space = {"type": "spatial", "step": layer.grid.step, "reference_system": layer.grid.epsg}
    return {"x": {**space, "axis": "x"}, "y": {**space, "axis": "y"}, "t": {"type": "temporal"}}


def _chunks(layer: Layer, window: Window, *, jep: bool) -> Iterator[Chunk]:
    values = layer.pixels.to_numpy()
    # further than the direct neighbours nothing is looked for
    reach = tuple(min(o, s) for o, s in zip(window.overlap, window.size, strict=True))
    rows, columns = (-(-n // s) for n, s in zip(values.shape[-2:], window.size, strict=True))
    tiled = (rows * window.size[0], columns * window.size[1])
    pads = [(r, r + t - n) for r, t, n in zip(reach, tiled, values.shape[-2:], strict=True)]
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + pads, constant_values=np.nan)
    timed = layer.pixels.dims[0] == "t"
    days = [slice(i, i + 1) for i in range(len(values))] if timed and window.daily else [slice(None)]
    for row, column, dates in product(range(rows), range(columns), days):
        top, left = row * window.size[0], column * window.size[1]
        bottom, right = (a + s + 2 * r for a, s, r in zip((top, left), window.size, reach, strict=True))
        pixels = padded[..., top:bottom, left:right]
        coords = _coordinates(layer, window, (row, column), pixels.shape[-2:], jep=jep)
        dims = layer.pixels.dims
        if "bands" in layer.pixels.coords:
            coords["bands"] = [str(band) for band in layer.pixels["bands"].to_numpy()]
        if timed and window.daily:
            pixels, dims = pixels[dates.start], dims[1:]
        elif timed:
            coords["t"] = layer.pixels["t"].to_numpy()
        pixels = np.ascontiguousarray(pixels, np.float32)
        yield Chunk(row, column, dates, {"pixels": pixels, "dims": dims, "coords": coords})


def _coordinates(
    layer: Layer, window: Window, tile: tuple[int, int], shape: tuple[int, int], *, jep: bool
) -> dict[str, Any]:
    step = layer.grid.step
    north, west = layer.grid.north - tile[0] * window.size[0] * step, layer.grid.west
    west += tile[1] * window.size[1] * step
    borders = [(n - s) / 2 * step for n, s in zip(shape, window.size, strict=True)]
    if jep:
        borders = [b + o * step for b, o in zip(borders, window.overlap, strict=True)]
    first_y, last_y = north + borders[0], north - window.size[0] * step - borders[0]
    first_x, last_x = west - borders[1], west + window.size[1] * step + borders[1]
    y = np.linspace(first_y - step / 2, last_y + step / 2, shape[0], dtype=np.float32)
    x = np.linspace(first_x + step / 2, last_x - step / 2, shape[1], dtype=np.float32)
    return {"x": x, "y": y}


def _joined(
    layer: Layer, grid: Any, window: Window, chunks: list[Chunk], answers: list[dict[str, Any]]
) -> Layer:
    """Cut the overlap off and lay the tiles out on the layout that the layer is thought to have."""
    (height, width), (border_y, border_x) = window.size, window.overlap
    shape = (grid.height, grid.width)
    own = [str(date) for date in layer.pixels["t"].to_numpy()] if "t" in layer.pixels.coords else None
    whole: dict[str | None, np.ndarray] = {}
    for chunk, answer in zip(chunks, answers, strict=True):
        pixels, dims = answer["pixels"], answer["dims"]
        if "bands" not in dims:
            pixels = np.expand_dims(pixels, -3)
        if window.daily or own is None:
            labels = own[chunk.dates] if own else [None]
        else:
            labels = answer["dates"] if "t" in dims else [STAMP]
        images = pixels.reshape(len(labels), *pixels.shape[-3:])
        tile = images[..., border_y : border_y + height, border_x : border_x + width]
        top, left = chunk.row * height, chunk.column * width
        for label, image in zip(labels, tile, strict=True):
            canvas = whole.setdefault(label, np.full((image.shape[0], *shape), np.nan, np.float32))
            place = canvas[:, top : top + height, left : left + width]
            rows, columns = (min(a, b) for a, b in zip(place.shape[1:], image.shape[1:], strict=True))
            place[:, :rows, :columns] = image[:, :rows, :columns]
    names = [str(band) for band in layer.pixels["bands"].to_numpy()] if "bands" in layer.pixels.coords else []
    count = len(next(iter(whole.values())))
    names = [*names, *(f"band{index}" for index in range(len(names), count))][:count]
    coords: dict[str, Any] = {"bands": names, "y": grid.y, "x": grid.x}
    if own is None:
        pixels = xr.DataArray(whole[None], coords, ("bands", "y", "x"))
    else:
        labels = sorted(filter(None, whole))
        coords["t"] = np.array(labels, "datetime64[ns]")
        pixels = xr.DataArray(np.stack([whole[label] for label in labels]), coords, ("t", "bands", "y", "x"))
    return Layer(pixels, grid, layer.crop)
