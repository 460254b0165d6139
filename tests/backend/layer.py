"""A raster layer: pixels on a grid whose upper left corner the tiling starts at."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from openeo_driver.util.geometry import BoundingBox
from rasterio.transform import from_origin
from rasterio.warp import Resampling, reproject

from .errors import NoDataError

if TYPE_CHECKING:
    from affine import Affine

TINY = 1e-6
"""Of a pixel: what rounding may add to a bound before it reaches the next pixel."""


class Bounds(NamedTuple):
    """A rectangle in the coordinates of a projected reference system."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, extent: dict, epsg: int) -> Bounds:
        """From an openEO extent, whose reference system is longitude and latitude unless it says another."""
        box = BoundingBox.from_dict(extent, default_crs=4326).reproject(epsg)
        return cls(*box.as_wsen_tuple())

    def __and__(self, other: Bounds) -> Bounds:
        low = (max(a, b) for a, b in zip(self[:2], other[:2], strict=True))
        high = (min(a, b) for a, b in zip(self[2:], other[2:], strict=True))
        return Bounds(*low, *high)

    @property
    def empty(self) -> bool:
        """Whether nothing is inside."""
        return self.west >= self.east or self.south >= self.north


@dataclass(frozen=True)
class Grid:
    """Square pixels, rows from north to south."""

    epsg: int
    west: float
    north: float
    step: float
    width: int
    height: int

    @classmethod
    def covering(cls, bounds: Bounds, epsg: int, step: float) -> Grid:
        """Whole pixels, at multiples of their size, that cover the bounds."""
        left, top = math.floor(bounds.west / step + TINY), math.ceil(bounds.north / step - TINY)
        right, bottom = math.ceil(bounds.east / step - TINY), math.floor(bounds.south / step + TINY)
        return cls(epsg, left * step, top * step, step, right - left, top - bottom)

    @property
    def bounds(self) -> Bounds:
        """Outer edges."""
        south, east = self.north - self.height * self.step, self.west + self.width * self.step
        return Bounds(self.west, south, east, self.north)

    @property
    def transform(self) -> Affine:
        """Of the upper left corner, as GDAL takes it."""
        return from_origin(self.west, self.north, self.step, self.step)

    @property
    def x(self) -> np.ndarray:
        """Pixel centres from west to east."""
        return self.west + (np.arange(self.width) + 0.5) * self.step

    @property
    def y(self) -> np.ndarray:
        """Pixel centres from north to south."""
        return self.north - (np.arange(self.height) + 0.5) * self.step

    def cut(self, bounds: Bounds) -> Grid:
        """The pixels of this grid that the bounds touch."""
        left = max(0, math.floor((bounds.west - self.west) / self.step + TINY))
        top = max(0, math.floor((self.north - bounds.north) / self.step + TINY))
        right = min(self.width, math.ceil((bounds.east - self.west) / self.step - TINY))
        bottom = min(self.height, math.ceil((self.north - bounds.south) / self.step - TINY))
        west, north = self.west + left * self.step, self.north - top * self.step
        return replace(self, west=west, north=north, width=max(0, right - left), height=max(0, bottom - top))

    def resampled(self, step: float) -> Grid:
        """The same corner with pixels of another size."""
        width, height = (math.ceil(n * self.step / step - TINY) for n in (self.width, self.height))
        return replace(self, step=step, width=width, height=height)


@dataclass(frozen=True)
class Layer:
    """Float32 pixels, NaN for nodata, with dimensions ``(t, bands, y, x)`` or without the first or second."""

    pixels: xr.DataArray
    grid: Grid
    crop: Bounds | None = None
    """What is written of it: filtering by a bounding box leaves pixels and tiles where they are."""

    def with_pixels(self, pixels: xr.DataArray) -> Layer:
        """The same place with other values."""
        return replace(self, pixels=pixels)

    def cropped(self) -> Layer:
        """What a user asked for.

        Raises:
            NoDataError: If nothing of it is here.
        """
        if self.crop is None:
            return self
        grid = self.grid.cut(self.crop)
        if not grid.width or not grid.height:
            raise NoDataError
        return self.onto(grid)

    def onto(self, grid: Grid, method: str = "near") -> Layer:
        """Resample; only nearest keeps the samples as they are."""
        if grid == self.grid:
            return self
        values = self.pixels.to_numpy()
        images = values.reshape(-1, *values.shape[-2:])
        image = _nearest(images, self.grid, grid) if method == "near" else _warped(images, self, grid, method)
        coords = {k: v for k, v in self.pixels.coords.items() if k not in {"x", "y"}}
        result = image.reshape(*values.shape[:-2], grid.height, grid.width)
        pixels = xr.DataArray(result, {**coords, "y": grid.y, "x": grid.x}, self.pixels.dims)
        return replace(self, pixels=pixels, grid=grid)


def _nearest(images: np.ndarray, source: Grid, target: Grid) -> np.ndarray:
    rows = np.floor((source.north - target.y) / source.step + TINY).astype(int)
    columns = np.floor((target.x - source.west) / source.step + TINY).astype(int)
    taken = images[:, rows.clip(0, source.height - 1)][:, :, columns.clip(0, source.width - 1)]
    inside_rows = (rows >= 0) & (rows < source.height)
    inside = inside_rows[:, None] & (columns >= 0) & (columns < source.width)
    return np.where(inside, taken, np.float32(np.nan)).astype(np.float32)


def _warped(images: np.ndarray, layer: Layer, target: Grid, method: str) -> np.ndarray:
    result = np.full((len(images), target.height, target.width), np.nan, np.float32)
    reproject(
        np.ascontiguousarray(images, np.float32),
        result,
        src_transform=layer.grid.transform,
        dst_transform=target.transform,
        src_crs=f"EPSG:{layer.grid.epsg}",
        dst_crs=f"EPSG:{target.epsg}",
        src_nodata=np.nan,
        dst_nodata=np.nan,
        resampling=Resampling[method],
    )
    return result
