"""A STAC item beside a result: where and when, which bands and numbers, what it was made from and with."""

from __future__ import annotations

import hashlib
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import rasterio
from rasterio.warp import transform_geom

from .card import SHA256_MULTIHASH
from .output import SOFTWARE
from .region import densified
from .udf import PIXEL

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rasterio.io import DatasetReader

    from .card import ModelCard
    from .grid import Scene

EXTENSIONS = tuple(
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in ("eo/v2.0.0", "projection/v2.0.0", "raster/v2.0.0", "processing/v1.2.0", "file/v2.1.0")
)
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
FIRST_DATE = "2015-06-23T00:00:00Z"
"""Launch of Sentinel-2A: no scene is older."""
SPECTRUM = {
    "B02": ("blue", 0.4924),
    "B03": ("green", 0.5598),
    "B04": ("red", 0.6646),
    "B08": ("nir", 0.8328),
    "B05": ("rededge071", 0.7041),
    "B06": ("rededge075", 0.7405),
    "B07": ("rededge078", 0.7828),
    "B8A": ("nir08", 0.8647),
    "B11": ("swir16", 1.6137),
    "B12": ("swir22", 2.2024),
}
"""Common name (STAC extension eo) and centre in micrometres, of Sentinel-2A; the others are within 17 nm."""


def build_item(
    raster: Path, folder: Path, *, scene: Scene, card: ModelCard, uncertainty: Path | None = None
) -> dict[str, Any]:
    """Describe a result as a STAC 1.1 item, from its file.

    Args:
        raster: The finished file; its band descriptions are names of bands.
        folder: Of the item, which its links start from.
        scene: What it was made from.
        card: Of the model that made it.
        uncertainty: The finished file of half-widths, if there is one.
    """
    with rasterio.open(raster, driver="GTiff") as dataset:
        geometry, bbox = _footprint(dataset)
        assets = {"data": _asset(dataset, raster, folder, pixel=PIXEL / card.scale)}
        masked = dataset.tags().get("MASK")
    if uncertainty:
        with rasterio.open(uncertainty, driver="GTiff") as dataset:
            asset = _asset(dataset, uncertainty, folder, pixel=PIXEL / card.scale)
            said = dataset.tags()
        asset["title"] = f"{_begun(said['UNCERTAINTY'])}, reflectance"
        asset["description"] = _begun(f"{said['UNCERTAINTY_METHOD']}; {said['UNCERTAINTY_SCALE']}")
        asset["roles"] = ["metadata", "uncertainty"]
        assets["uncertainty"] = asset
    software, version = SOFTWARE.split()
    lineage = (
        f"Super-resolved from {scene.name} to {PIXEL / card.scale:g} m by model {card.name} "
        f"(SHA-256 {card.sha256})"
        + (f", after what its masks hide ({masked}) was made nodata." if masked else ".")
    )
    properties: dict[str, Any] = _times(scene.date) | {
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": PIXEL / card.scale,
        "processing:software": {software: version},
        "processing:lineage": lineage,
    }
    if match := re.match(r"S(?:ENTINEL)?2([A-D])_", scene.name.upper()):
        properties["platform"] = f"sentinel-2{match[1].lower()}"
    if scene.level:
        properties["processing:level"] = scene.level
    model = {
        "rel": "superres:model",
        "href": _href(str(card.path.with_suffix(".json")), folder),
        "type": "application/geo+json",
        "title": card.name,
        "file:checksum": SHA256_MULTIHASH + card.sha256,
    }
    source = {"rel": "derived_from", "href": _href(scene.path, folder), "title": scene.name}
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": list(EXTENSIONS),
        "id": raster.stem,
        "geometry": geometry,
        "bbox": bbox,
        "properties": properties,
        "links": [source, model],
        "assets": assets,
    }
    if bbox is None:
        del item["bbox"]
    return item


def _asset(dataset: DatasetReader, raster: Path, folder: Path, *, pixel: float) -> dict[str, Any]:
    with raster.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    nodata = dataset.nodata
    asset = {
        "href": _href(str(raster), folder),
        "type": MEDIA_TYPE,
        "title": f"{len(dataset.descriptions)} bands at {pixel:g} m, reflectance",
        "roles": ["data", "reflectance"],
        "gsd": pixel,
        "data_type": dataset.dtypes[0],
        "nodata": "nan" if np.isnan(nodata) else int(nodata),
        "raster:scale": dataset.scales[0],
        "raster:offset": dataset.offsets[0],
        "raster:spatial_resolution": pixel,
        "bands": [_band(str(name)) for name in dataset.descriptions],
        "proj:shape": list(dataset.shape),
        "proj:transform": list(dataset.transform)[:6],
        "proj:bbox": list(dataset.bounds),
        "file:size": raster.stat().st_size,
        "file:checksum": SHA256_MULTIHASH + digest,
    }
    if dataset.crs:
        code = dataset.crs.to_authority()
        asset["proj:code"] = ":".join(code) if code else None
        if not code:
            asset["proj:wkt2"] = dataset.crs.to_wkt(version="WKT2_2019")
    return asset


def _begun(text: str) -> str:
    """A text as a sentence begins; names in it stay as they are."""
    return text[:1].upper() + text[1:]


def _band(name: str) -> dict[str, Any]:
    common, centre = SPECTRUM[name]
    return {"name": name, "eo:common_name": common, "eo:center_wavelength": centre}


def _times(date: str | None) -> dict[str, Any]:
    """Time of sensing as STAC wants it: an instant, or from when to when it was at any rate."""
    if date is None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"datetime": None, "start_datetime": FIRST_DATE, "end_datetime": now}
    if len(date) == len("2026-06-01"):
        day = {"start_datetime": f"{date}T00:00:00Z", "end_datetime": f"{date}T23:59:59Z"}
        return {"datetime": None, **day}
    return {"datetime": f"{date}Z"}


def _footprint(dataset: DatasetReader) -> tuple[dict[str, Any] | None, list[float] | None]:
    """The bounds in longitude and latitude, cut at 180 degrees: a geometry and a box; None without a CRS."""
    if not dataset.crs:
        return None, None
    west, south, east, north = dataset.bounds
    corners = np.array([(west, south), (east, south), (east, north), (west, north), (west, south)])
    parts = _on_the_globe(dataset, corners)
    # the edges bend: the box is that of more points
    bent = _on_the_globe(dataset, densified(corners))
    boxes = np.array([(*ring.min(axis=0), *ring.max(axis=0)) for ring in bent])
    # over 180 degrees, west is the greater one (RFC 7946, section 5.2)
    wests, easts = (boxes[boxes[:, 0] > 0], boxes[boxes[:, 0] <= 0]) if len(boxes) > 1 else (boxes, boxes)
    box = [wests[:, 0].min(), boxes[:, 1].min(), easts[:, 2].max(), boxes[:, 3].max()]
    rings = [[ring.tolist()] for ring in parts]
    whole = len(rings) == 1
    geometry = {"type": "Polygon" if whole else "MultiPolygon", "coordinates": rings[0] if whole else rings}
    return geometry, [float(edge) for edge in box]


def _on_the_globe(dataset: DatasetReader, ring: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A ring in the CRS of a file as rings of longitudes and latitudes, several where 180 degrees cut it."""
    there = transform_geom(
        dataset.crs,
        "OGC:CRS84",
        {"type": "Polygon", "coordinates": [ring.tolist()]},
        antimeridian_cutting=True,
        precision=7,
    )
    parts = there["coordinates"] if there["type"] == "MultiPolygon" else [there["coordinates"]]
    return [np.array(part[0]) for part in parts]


def _href(path: str, folder: Path) -> str:
    """A reference from a folder to a file, or an address as it is."""
    if "://" in path:
        return path
    try:
        relative = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).absolute().as_uri()
    return quote(relative if relative.startswith("..") else f"./{relative}")
