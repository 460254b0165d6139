"""Results as files: GeoTIFF, one per date, and netCDF; names and tags as the real back-end gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from openeo.metadata import Band
from pyproj import CRS

from .errors import RequestError

if TYPE_CHECKING:
    from .layer import Layer

MEDIA_TYPES = {
    "gtiff": "image/tiff; application=geotiff",
    "netcdf": "application/x-netcdf",
    "json": "application/json",
}
SUFFIXES = {"gtiff": "tif", "netcdf": "nc", "json": "json"}


def write_single(layer: Layer, path: str, kind: str, options: dict[str, Any]) -> str:
    """Write one file; a GeoTIFF has no dates: of each pixel the first valid value is in it."""
    kind = _known(kind)
    if kind == "gtiff" and "t" in layer.pixels.dims:
        first, *others = (layer.pixels.isel(t=index, drop=True) for index in range(layer.pixels.sizes["t"]))
        for other in others:
            first = first.where(first.notnull(), other)
        layer = layer.with_pixels(first)
    _WRITERS[kind](layer, Path(path), options)
    return path


def write_assets(layer: Layer, path: str | Path, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    """Write files into a path's folder.

    Returns:
        Metadata of assets by file name, as openeo-driver takes them.
    """
    kind = _known(kind)
    folder, prefix = Path(path).parent, options.get("filename_prefix", "openEO")
    if kind == "gtiff" and "t" in layer.pixels.dims:
        dates = [str(date)[:10] for date in layer.pixels["t"].to_numpy()]
        parts = {
            f"{prefix}_{date}Z": layer.with_pixels(layer.pixels.isel(t=index, drop=True))
            for index, date in enumerate(dates)
        }
    else:
        parts = {prefix: layer}
    assets = {}
    for stem, part in parts.items():
        name = f"{stem}.{SUFFIXES[kind]}"
        _WRITERS[kind](part, folder / name, options)
        bounds, grid = list(part.grid.bounds), part.grid
        assets[name] = {
            "href": str(folder / name),
            "output_dir": str(folder),
            "type": MEDIA_TYPES[kind],
            "roles": ["data"],
            "bands": [Band(name) for name in _names(part)],
            "nodata": "nan",
            "proj:epsg": grid.epsg,
            "proj:bbox": bounds,
            "proj:shape": [grid.height, grid.width],
        }
    return assets


def _known(kind: str) -> str:
    if kind.lower() not in _WRITERS:
        raise RequestError(f"Unknown format {kind!r}; there are GTiff, netCDF and JSON.")
    return kind.lower()


def _names(layer: Layer) -> list[str]:
    if "bands" not in layer.pixels.coords:
        return ["var"]
    return [str(name) for name in layer.pixels["bands"].to_numpy()]


def _write_geotiff(layer: Layer, path: Path, options: dict[str, Any]) -> None:
    image = layer.pixels.to_numpy().astype(np.float32)
    if image.ndim == 2:
        image = image[None]
    grid = layer.grid
    profile = {
        "driver": "GTiff",
        "dtype": "float32",
        "count": len(image),
        "height": grid.height,
        "width": grid.width,
        "crs": f"EPSG:{grid.epsg}",
        "transform": grid.transform,
        "nodata": np.nan,
        "compress": "deflate",
        "tiled": True,
    }
    metadata = options.get("bands_metadata", {})
    with rasterio.open(path, "w", **profile) as target:
        target.write(image)
        target.update_tags(**options.get("file_metadata", {}))
        scales, offsets = [], []
        for index, name in enumerate(_names(layer), 1):
            tags = {str(key).upper(): value for key, value in metadata.get(name, {}).items()}
            scales.append(float(tags.pop("SCALE", 1)))
            offsets.append(float(tags.pop("OFFSET", 0)))
            target.set_band_description(index, str(tags.pop("DESCRIPTION", name)))
            target.update_tags(index, **tags)
        target.scales, target.offsets = scales, offsets


def _write_netcdf(layer: Layer, path: Path, options: dict[str, Any]) -> None:  # noqa: ARG001
    pixels = layer.pixels if "bands" in layer.pixels.dims else layer.pixels.expand_dims(bands=["var"])
    crs = CRS.from_epsg(layer.grid.epsg)
    attributes = {"crs_wkt": crs.to_wkt(), "spatial_ref": crs.to_wkt()}
    variables = {}
    for name in pixels["bands"].to_numpy():
        variable = pixels.sel(bands=name, drop=True).astype(np.float32)
        variables[str(name)] = variable.assign_attrs(grid_mapping="crs")
    data = xr.Dataset({**variables, "crs": xr.DataArray(0, attrs=attributes)})
    for axis in ("x", "y"):
        data[axis].attrs = {"standard_name": f"projection_{axis}_coordinate", "units": "m"}
    data.to_netcdf(path, engine="h5netcdf")


def _write_json(layer: Layer, path: Path, options: dict[str, Any]) -> None:  # noqa: ARG001
    values = layer.pixels.astype(object).where(layer.pixels.notnull(), None)
    coords = {name: [str(v) for v in values[name].to_numpy()] for name in values.dims}
    path.write_text(json.dumps({"dims": values.dims, "coords": coords, "data": values.to_numpy().tolist()}))


_WRITERS = {"gtiff": _write_geotiff, "netcdf": _write_netcdf, "json": _write_json}
