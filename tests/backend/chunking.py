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

RUNTIMES = ("Python", "Python-Jep")
SMALLEST = 4
"""Tiles below this are refused."""


@dataclass(frozen=True)
class Habits:
    """What differs between back-ends, or is not known of the real one."""

    pads: bool = True
    """Whether chunks at the layer's edges are filled up with NaN, or shorter."""
    tells_step: bool = True
    """Whether ``apply_metadata`` learns the pixel size."""


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
        rows, columns = (_number(sizes[axis]) for axis in ("y", "x"))
        if min(rows, columns) < SMALLEST:
            raise RequestError(f"apply_neighborhood: sizes below {SMALLEST} are not supported.")
        border = tuple(_number(overlaps.get(axis, {"value": 0})) for axis in ("y", "x"))
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


def _number(entry: dict[str, Any]) -> int:
    try:
        return int(entry["value"])
    except (KeyError, TypeError, ValueError) as error:
        raise RequestError(f"apply_neighborhood: expected a number of pixels, got {entry}.") from error


@dataclass(frozen=True)
class Chunk:
    """One call of the UDF."""

    row: int
    column: int
    border: tuple[int, int]
    """Rows and columns before the tile, in pixels of what is handed over."""
    dates: slice
    message: dict[str, Any]

    def scaled(self, ratio: float) -> Chunk:
        """As what comes back of it is cut."""
        top, left = (int(n * ratio) for n in self.border)
        return replace(self, border=(top, left))


def apply_neighborhood(
    layer: Layer, window: Window, udf: dict[str, Any], executor: Executor, habits: Habits
) -> Layer:
    """Run a UDF over a layer.

    Args:
        layer: Its pixels have dimensions ``(t, bands, y, x)`` or ``(bands, y, x)``.
        window: Tiles and overlap.
        udf: ``code``, ``runtime`` and ``context``.
        executor: Who runs it.
        habits: How.
    """
    grid, ratio = layer.grid, 1.0
    jep = udf["runtime"] == "Python-Jep"
    if jep and has_metadata(udf["code"]):
        told = _dimensions(layer, layer.grid.step if habits.tells_step else None)
        step, _ = executor.run(udf, [{"metadata": told}])[0]["step"]
        ratio = layer.grid.step / step
        grid = layer.grid.resampled(step)
    chunks = list(_chunks(layer, window, jep=jep))
    if not habits.pads:
        chunks = [_shortened(chunk, layer, window) for chunk in chunks]
    answers = executor.run(udf, [chunk.message for chunk in chunks])
    if ratio != 1:
        window, chunks = window.scaled(ratio), [chunk.scaled(ratio) for chunk in chunks]
    return _joined(layer, grid, window, chunks, answers)


def _dimensions(layer: Layer, step: float | None) -> dict[str, Any]:
    """What "Python-Jep" tells of the cube."""
    space = {"type": "spatial", "step": step, "reference_system": layer.grid.epsg}
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
        message = {"pixels": pixels, "dims": dims, "coords": coords}
        yield Chunk(row, column, window.overlap, dates, message)


def _shortened(chunk: Chunk, layer: Layer, window: Window) -> Chunk:
    """Without what lies beyond the layer."""
    starts = (chunk.row * window.size[0], chunk.column * window.size[1])
    ends = (layer.grid.height, layer.grid.width)
    rows, columns = (
        slice(max(0, reach - start), reach - start + end)
        for reach, start, end in zip(map(min, window.overlap, window.size), starts, ends, strict=True)
    )
    coords = chunk.message["coords"]
    coords = {**coords, "y": coords["y"][rows], "x": coords["x"][columns]}
    pixels = np.ascontiguousarray(chunk.message["pixels"][..., rows, columns])
    border = (window.overlap[0] - rows.start, window.overlap[1] - columns.start)
    return replace(chunk, border=border, message={**chunk.message, "pixels": pixels, "coords": coords})


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
    height, width = window.size
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
        skip_y, skip_x = chunk.border
        tile = images[..., skip_y : skip_y + height, skip_x : skip_x + width]
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
