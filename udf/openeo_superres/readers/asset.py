"""Assets of STAC items: which band each holds, where it is, how coarse, and what is said of its numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

from openeo_superres.bandfile import band_name, inspect_raster
from openeo_superres.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from openeo_superres.bandfile import Raster

REMOTE = ("http://", "https://")
COMMON = {
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge071": "B05",
    "rededge2": "B06",
    "rededge075": "B06",
    "rededge3": "B07",
    "rededge078": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "swir16": "B11",
    "swir22": "B12",
}
"""Of Earth Search, and common names of the EO extension 1.1 and 2.0, whose "rededge" may be any of three."""
OTHER_ROLES = {"thumbnail", "overview", "visual", "metadata"}
DRIVERS = {
    "image/tiff": "GTiff",
    ".tif": "GTiff",
    ".tiff": "GTiff",
    "image/jp2": "JP2OpenJPEG",
    ".jp2": "JP2OpenJPEG",
}
"""GDAL's names of formats, by media type and by suffix."""


@dataclass(frozen=True, slots=True)
class Asset:
    """An image of an item."""

    key: str
    facts: Mapping[str, Any]
    """Its JSON."""
    driver: str
    """GDAL's name of the format, as the item says it."""
    item: str
    """Path or address of the item."""

    @property
    def band(self) -> str | None:
        """The one band that it holds: by the band's name, by its key, by the band's common name."""
        listed = self.facts.get("bands") or self.facts.get("eo:bands")
        if isinstance(listed, list) and len(listed) > 1:
            return None
        first = _first(self.facts, "bands") or _first(self.facts, "eo:bands")
        for name in (first.get("name"), self.key, first.get("eo:common_name"), first.get("common_name")):
            text = str(name).lower().removesuffix("-jp2")
            if found := COMMON.get(text) or band_name(text):
                return found
        return None

    @property
    def resolution(self) -> float | None:
        """Pixel size in metres, where it is said: "B02_20m" is a coarser copy."""
        if match := re.search(r"_(\d\d)m$", self.key):
            return float(match[1])
        transform = self.facts.get("proj:transform")
        return _number(
            transform[0] if isinstance(transform, list) and transform else None,
            self.facts.get("raster:spatial_resolution"),
            _first(self.facts, "raster:bands").get("spatial_resolution"),
            _first(self.facts, "bands").get("gsd"),
            self.facts.get("gsd"),
        )

    def stated(self, name: str) -> float | None:
        """Scale, offset or nodata, as STAC 1.1 (bands, or the asset) or 1.0 (raster:bands) says it."""
        first, prefixed = _first(self.facts, "bands"), f"raster:{name}"
        return _number(
            first.get(prefixed),
            first.get(name),
            _first(self.facts, "raster:bands").get(name),
            self.facts.get(prefixed),
            self.facts.get(name),
        )

    @property
    def location(self) -> str:
        """Where it is, as GDAL takes it.

        Raises:
            SceneError: If it is neither a path nor an address that can be read.
        """
        href = self.facts["href"]
        if self.item.startswith(REMOTE):
            href = urljoin(self.item, href)
        scheme, found, rest = href.partition("://")
        if not found:
            return str(Path(self.item).parent / href)
        if scheme in {"http", "https"}:
            return f"/vsicurl/{href}"
        if scheme == "s3":
            return f"/vsis3/{rest}"
        if scheme == "file" and not self.item.startswith(REMOTE):
            return url2pathname(urlsplit(href).path)
        raise SceneError(f"{self.item}: its asset {self.key} is at {href}; expected a path, https or s3.")

    @property
    def is_remote(self) -> bool:
        """Whether it is read over the network."""
        return self.location.startswith(("/vsicurl/", "/vsis3/"))

    def inspect(self) -> Raster:
        """What the file says of itself: see :func:`openeo_superres.bandfile.inspect_raster`."""
        # the first bytes of a file on disk tell its format better than the item does
        return inspect_raster(self.location, self.driver if self.is_remote else None)


def image_assets(facts: Mapping[str, Any], item: str) -> Iterator[Asset]:
    """Assets of an item, by key, that are images and neither previews nor metadata."""
    for key, asset in facts.items():
        if isinstance(asset, dict) and isinstance(asset.get("href"), str):
            media = str(asset.get("type")).partition(";")[0].strip().lower()
            suffix = PurePosixPath(urlsplit(asset["href"]).path).suffix.lower()
            driver = DRIVERS.get(media) or DRIVERS.get(suffix)
            roles = asset.get("roles")
            if driver and not (isinstance(roles, list) and OTHER_ROLES & {*map(str, roles)}):
                yield Asset(key, asset, driver, item)


def choose(assets: Sequence[Asset], resolution: int) -> Asset | None:
    """Of assets that hold the same, that of a resolution, a GeoTIFF rather than JPEG 2000; None of none.

    Raises:
        SceneError: If there are several of them.
    """
    native = [asset for asset in assets if asset.resolution in {None, resolution}] or assets
    chosen = [asset for asset in native if asset.driver == "GTiff"] or native
    if len(chosen) > 1:
        listed = ", ".join(asset.key for asset in chosen)
        raise SceneError(f"{chosen[0].item} has several assets of one band ({listed}); expected one.")
    return chosen[0] if chosen else None


def _first(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The first of a list of objects; empty if there is none."""
    listed = facts.get(key)
    return listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else {}


def _number(*values: object) -> float | None:
    """The first that is one."""
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return None
