"""Foreign STAC items: raw numbers, for the offset of Sentinel-2 is applied for known catalogues only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import numpy as np
import xarray as xr
from openeo.metadata import Band, BandDimension, CubeMetadata, SpatialDimension, TemporalDimension
from rasterio.io import MemoryFile

from .catalog import Scene, select_dates
from .cube import Cube
from .downloads import get
from .errors import RequestError
from .layer import Grid, Layer

if TYPE_CHECKING:
    from openeo_driver.backend import LoadParameters
    from openeo_driver.utils import EvalEnv


def load_stac(url: str, params: LoadParameters, env: EvalEnv) -> Cube:
    """Load an item, or the items that a collection links to.

    Args:
        url: Of the item or collection. Bands are assets, by "eo:bands", "bands" or the asset's key.
        params: What of it.
        env: Of the process graph.
    """
    items = _items(url)
    dates = {item["properties"]["datetime"][:10]: item["properties"] for item in items}
    found: dict[str, dict[str, tuple[str, int]]] = {}
    for item in items:
        for band, place in _bands(item).items():
            found.setdefault(band, {})[item["properties"]["datetime"][:10]] = place
    names = list(params.bands or found)
    if unknown := [name for name in names if name not in found]:
        raise RequestError(f"Unknown bands {unknown}; the items of {url} have {[*found]}.")
    scene = Scene({name: _layer(found[name]) for name in names})
    layer = select_dates(scene.load(names, params), params, dates, env)
    dimensions = [
        SpatialDimension("x", [None, None], crs=layer.grid.epsg, step=layer.grid.step),
        SpatialDimension("y", [None, None], crs=layer.grid.epsg, step=layer.grid.step),
        TemporalDimension("t", [min(dates), max(dates)]),
        BandDimension("bands", [Band(name) for name in names]),
    ]
    return Cube(layer, CubeMetadata(dimensions))


def _items(url: str) -> list[dict[str, Any]]:
    content = get(url).json()
    if content.get("type") == "Feature":
        for asset in content["assets"].values():
            asset["href"] = urljoin(url, asset["href"])
        return [content]
    links = [link["href"] for link in content.get("links", []) if link["rel"] == "item"]
    return [item for link in links for item in _items(urljoin(url, link))]


def _bands(item: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Where each band is: a file and the number of the band in it."""
    places = {}
    for key, asset in item["assets"].items():
        if "tiff" not in asset.get("type", "tiff"):
            continue
        bands = asset.get("bands") or asset.get("eo:bands") or [{"name": key}]
        for index, band in enumerate(bands, 1):
            places[band["name"]] = (asset["href"], index)
    return places


def _layer(places: dict[str, tuple[str, int]]) -> Layer:
    images = []
    for href, index in places.values():
        # not opened by its URL: GDAL would hold the lock that a server in this process needs to answer
        with MemoryFile(get(href).content) as file, file.open() as source:
            image = source.read(index).astype(np.float32)
            if source.nodata is not None:
                image[image == source.nodata] = np.nan
            corner, epsg = source.transform, source.crs.to_epsg()
            grid = Grid(epsg, corner.c, corner.f, corner.a, source.width, source.height)
        images.append(image)
    coords = {"t": np.array([*places], "datetime64[ns]"), "y": grid.y, "x": grid.x}
    return Layer(xr.DataArray(np.stack(images), coords, ("t", "y", "x")), grid)
