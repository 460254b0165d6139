"""The collections: the repository's sample scene as Sentinel-2 Level-2A and (moved) Level-1C at two dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from openeo.metadata import CollectionMetadata
from openeo_driver.backend import CollectionCatalog
from pyproj import Transformer

from . import callback
from .cube import COMMON_NAMES, Cube
from .errors import NoDataError, RequestError
from .layer import Bounds, Grid, Layer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from openeo_driver.backend import LoadParameters
    from openeo_driver.utils import EvalEnv

CLEAR, CLOUDY = "2016-08-01", "2016-08-11"
"""Dates, which the sample does not have: they are made up."""
CLOUD_COVER = {CLEAR: 3.0, CLOUDY: 48.0}
NORTHWARD = 4_240_000.0
"""Metres that SENTINEL2_L1C lies north of the sample: float32 can't hold the centres of 5 m pixels there."""
UTM = {
    "$schema": "https://proj.org/schemas/v0.2/projjson.schema.json",
    "type": "ProjectedCRS",
    "name": "AUTO 42001 (Universal Transverse Mercator)",
    "id": {"authority": "OGC", "version": "1.3", "code": "Auto42001"},
}
"""The zone of whatever is loaded: the front-end aligns extents to its grid."""


@dataclass(frozen=True)
class Scene:
    """Bands at their own resolutions, per date."""

    bands: dict[str, Layer]
    """By name; pixels have dimensions ``(t, y, x)``."""

    def load(self, names: list[str], params: LoadParameters) -> Layer:
        """A layer of bands on one grid.

        It covers what the front-end says, and starts there: the overlap of neighbourhoods is included for
        collections, but not for foreign items, whose grid the front-end does not know. What the user asked
        for is cropped in the end. A resampling that follows is done here.
        """
        own = [self.bands[name] for name in names]
        epsg, step = own[0].grid.epsg, min(layer.grid.step for layer in own)
        if resolution := params.target_resolution:
            step = float(resolution[0]) or step
        extent = params.global_extent
        bounds = Bounds.parse(extent, epsg) if extent else own[0].grid.bounds
        crop = Bounds.parse(params.spatial_extent, epsg) if params.spatial_extent else None
        if ((crop or bounds) & own[0].grid.bounds).empty:
            raise NoDataError
        grid = Grid.covering(bounds, epsg, step)
        method = params.resample_method or "near"
        parts = [layer.onto(grid, method).pixels for layer in own]
        pixels = xr.concat(parts, xr.DataArray(names, dims="bands", name="bands"))
        return Layer(pixels.transpose("t", "bands", "y", "x"), grid, crop)

    def moved(self, northward: float) -> Scene:
        """The same pixels elsewhere."""
        bands = {}
        for name, layer in self.bands.items():
            grid = replace(layer.grid, north=layer.grid.north + northward)
            bands[name] = Layer(layer.pixels.assign_coords(y=grid.y), grid)
        return Scene(bands)


@lru_cache(maxsize=1)
def sample(folder: Path) -> Scene:
    """The sample scene; the second date is darker, cloudy, and has holes where nothing was sensed."""
    bands = {}
    for resolution in (10, 20):
        with rasterio.open(folder / f"virginia_{resolution}m.tif") as source:
            image, names, transform = source.read().astype(np.float32), source.descriptions, source.transform
            epsg = source.crs.to_epsg()
        grid = Grid(epsg, transform.c, transform.f, float(resolution), image.shape[2], image.shape[1])
        for name, clear in zip(names, image, strict=True):
            bands[name] = _layer(grid, [np.where(clear, clear, np.nan), _second(clear, resolution)])
    shape = bands["B11"].pixels.shape[1:]
    cloudy = _cloud(shape)
    scl = [np.where(bands["B11"].pixels[0] < 150, 6, 4) for _ in CLOUD_COVER]
    scl[1] = np.where(cloudy, 9, scl[1])
    bands["SCL"] = _layer(bands["B11"].grid, scl)
    return Scene(bands)


def _layer(grid: Grid, images: list[np.ndarray]) -> Layer:
    coords = {"t": np.array([*CLOUD_COVER], "datetime64[ns]"), "y": grid.y, "x": grid.x}
    return Layer(xr.DataArray(np.stack(images).astype(np.float32), coords, ("t", "y", "x")), grid)


def _second(image: np.ndarray, resolution: int) -> np.ndarray:
    result = np.float32(0.9) * image + np.float32(50)
    result[_cloud(image.shape)] += 2000
    fine = resolution == 10
    # at 10 m the hole starts and ends within cells of 20 m
    rows, columns = (slice(201, 232), slice(300, 347)) if fine else (slice(100, 116), slice(150, 174))
    result[rows, columns] = np.nan
    # and a corner, as at a swath's edge
    result[: 40 if fine else 20, : 60 if fine else 30] = np.nan
    return result


def _cloud(shape: tuple[int, ...]) -> np.ndarray:
    """A disc a quarter of the scene wide."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    height, width = shape
    return (y - 0.7 * height) ** 2 + (x - 0.3 * width) ** 2 < (height / 8) ** 2


def select_dates(
    layer: Layer, params: LoadParameters, properties: Mapping[str, Mapping[str, Any]], env: EvalEnv
) -> Layer:
    """Keep the dates in the extent whose properties pass the conditions.

    Args:
        layer: With dimension t.
        params: Say the extent and the conditions: process graphs of a ``value`` and of the parameters in env.
        properties: By date.
        env: Of the process graph.
    """
    parameters = env.collect_parameters()
    times = layer.pixels["t"].to_numpy()
    start, end = params.temporal_extent or (None, None)
    keep = np.ones(len(times), bool)
    if start:
        keep &= times >= np.datetime64(str(start).removesuffix("Z"), "ns")
    if end:
        keep &= times < np.datetime64(str(end).removesuffix("Z"), "ns")
    for name, condition in (params.properties or {}).items():
        for index, time in enumerate(times):
            value = properties.get(str(time)[:10], {}).get(name)
            graph = condition["process_graph"]
            keep[index] &= value is not None and callback.evaluate(graph, {**parameters, "value": value})
    if not keep.any():
        raise NoDataError
    return layer.with_pixels(layer.pixels.isel(t=np.flatnonzero(keep)))


class Catalog(CollectionCatalog):
    """Collections over the sample of a folder."""

    def __init__(self, folder: Path) -> None:
        scene = sample(folder)
        spectral = Scene({name: layer for name, layer in scene.bands.items() if name != "SCL"})
        self._scenes = {"SENTINEL2_L2A": scene, "SENTINEL2_L1C": spectral.moved(NORTHWARD)}
        super().__init__([self._describe(name) for name in self._scenes])

    def _describe(self, name: str) -> dict[str, Any]:
        scene = self._scenes[name]
        bands = [*scene.bands]
        grid = scene.bands["B02"].grid
        to_degrees = Transformer.from_crs(grid.epsg, 4326, always_xy=True)
        box = to_degrees.transform_bounds(*grid.bounds)
        west, south, east, north = (round(value, 6) for value in box)
        time = [f"{CLEAR}T00:00:00Z", f"{CLOUDY}T23:59:59Z"]
        common = {band: common for common, band in COMMON_NAMES.items()}
        space = {"type": "spatial", "step": 10, "reference_system": UTM}
        return {
            "id": name,
            "title": f"{name} of the sample",
            "description": "Contains modified Copernicus Sentinel data 2016. The dates are made up.",
            "license": "proprietary",
            "extent": {"spatial": {"bbox": [[west, south, east, north]]}, "temporal": {"interval": [time]}},
            "links": [],
            "cube:dimensions": {
                "x": {**space, "axis": "x", "extent": [west, east]},
                "y": {**space, "axis": "y", "extent": [south, north]},
                "t": {"type": "temporal", "extent": time},
                "bands": {"type": "bands", "values": bands},
            },
            "summaries": {
                "eo:bands": [
                    {
                        "name": band,
                        "common_name": common.get(band, band),
                        "gsd": scene.bands[band].grid.step,
                    }
                    for band in bands
                ],
                "eo:cloud_cover": {"minimum": 0, "maximum": 100},
            },
        }

    def load_collection(self, collection_id: str, load_params: LoadParameters, env: EvalEnv) -> Cube:
        """See openeo-driver."""
        metadata = CollectionMetadata(self.get_collection_metadata(collection_id))
        names = list(load_params.bands or metadata.band_names)
        if unknown := [name for name in names if name not in metadata.band_names]:
            raise RequestError(f"Unknown bands {unknown}; there are {metadata.band_names}.")
        layer = self._scenes[collection_id].load(names, load_params)
        covers = {date: {"eo:cloud_cover": cover} for date, cover in CLOUD_COVER.items()}
        layer = select_dates(layer, load_params, covers, env)
        cube = Cube(layer, metadata.filter_bands(names).resample_spatial(layer.grid.step))
        # the front-end leaves a mask that directly follows to the loading
        return cube.mask(load_params.data_mask) if load_params.data_mask else cube
