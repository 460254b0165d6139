"""What a Sentinel-2 product of ESA (SAFE) says of itself, in its XML files.

Names follow the Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD): versions 14 and 15 alike,
and 13 and before, when a product held several tiles and other names.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from openeo_superres.errors import SceneError
from openeo_superres.sensor import BANDS

from .archive import children, read_xml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from xml.etree import ElementTree as ET

    from .archive import Member

BAND_IDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
"""Bands in the order of the specification's band_id."""
RESOLUTIONS = {band.name: band.resolution for band in BANDS} | {"SCL": 20}
"""Of the images that are read; an L2A product has coarser copies, too."""
FORMATS = {"JPEG2000": (".jp2", "JP2OpenJPEG"), "GeoTIFF": (".tif", "GTiff")}
"""Suffix and GDAL's driver by the metadata's imageFormat."""
PRODUCT_FILE = re.compile(r"MTD_MSIL(1C|2A)\.xml|S2[A-Z]_[A-Z]{4}_MTD_SAFL(1C|2A)\w*\.xml")
OFFSET_SINCE = "04.00"
"""Baseline since which the metadata give a radiometric offset."""


@dataclass(frozen=True, slots=True)
class SafeMetadata:
    """What a product says of itself and of one tile."""

    name: str
    """Of the product, without ``.SAFE``; of the tile, where there are several."""
    level: str
    """ "L1C" or "L2A"."""
    baseline: str
    date: str
    """Start of sensing, in UTC as ISO 8601."""
    tile: str
    """Folder below GRANULE."""
    quantification: float
    offsets: Mapping[str, float]
    """By band: reflectance is ``(raw + offset) / quantification``."""
    nodata: float
    driver: str
    """GDAL's, of the images."""
    images: Mapping[str, str]
    """Paths below the product's folder by band, at the band's own resolution, and of "SCL"."""
    tile_file: str
    """Path of the tile's metadata below the product's folder."""
    crs: str
    geocoding: Mapping[int, tuple[float, float, int, int]]
    """Left, top, columns and rows by resolution."""


def product_files(folder: Member) -> list[Member]:
    """The metadata of products in a folder: one file, as a rule."""
    return [child for child in children(folder) if PRODUCT_FILE.fullmatch(child.name) and child.is_file()]


def product_file(root: Member) -> Member:
    """The metadata of the product in a folder.

    Raises:
        SceneError: If there is no such product, or are several.
    """
    files = product_files(root)
    if len(files) != 1:
        listed = ", ".join(file.name for file in files) or "none"
        raise SceneError(
            f"{root} holds the metadata of {len(files)} Sentinel-2 products ({listed}); expected one of "
            "MTD_MSIL1C.xml and MTD_MSIL2A.xml. Is the product complete?"
        )
    return files[0]


def read_metadata(root: Member, granule: str | None = None) -> SafeMetadata:
    """Parse a product's metadata; no image is looked at.

    Args:
        root: Folder that holds MTD_MSIL1C.xml or MTD_MSIL2A.xml (or S2A_OPER_MTD_SAFL1C_*.xml), on disk or
            in a zip.
        granule: Folder of the tile in GRANULE, where the product has several.

    Raises:
        SceneError: If they are incomplete, contradict themselves, or speak of several tiles.
    """
    file = product_file(root)
    product = _Document(file)
    level = product.text("PROCESSING_LEVEL").removeprefix("Level-")[:2]
    if level not in {"1C", "2A"}:
        raise SceneError(f"{file} is of level {level}; expected 1C or 2A.")
    baseline = product.text("PROCESSING_BASELINE")
    if not re.fullmatch(r"\d\d\.\d\d", baseline):
        raise SceneError(f'{file} gives the processing baseline "{baseline}"; expected one such as 05.11.')
    date = product.text("PRODUCT_START_TIME")
    if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", date):
        raise SceneError(f'{file} gives the start "{date}"; expected a time such as 2026-06-01T10:00:29.')
    uris = [*product.all("PRODUCT_URI"), *product.all("PRODUCT_URI_2A")]
    # names of results are made of it: no path, and one per tile
    names = [uri for element in uris if re.fullmatch(r"\w[\w.-]*", uri := _text(element))]
    several = _tiles(product)
    tiles = {name: tile for name, tile in several.items() if granule in {None, PurePosixPath(name).name}}
    if len(tiles) != 1:
        listed = ", ".join(sorted(several)) or "none"
        raise SceneError(
            f"{product.file} lists {len(several)} tiles ({listed}); expected one. Of a product with several, "
            "give the path of one of these folders, unpacked."
        )
    ((folder, images),) = tiles.items()
    tile = PurePosixPath(folder).name
    name = tile if len(several) > 1 else (names or [root.name])[0].removesuffix(".SAFE")
    tile_file = _tile_file(root, folder)
    crs, geocoding = _geocoding(_Document(root.joinpath(tile_file)))
    quantity = "QUANTIFICATION_VALUE" if level == "1C" else "BOA_QUANTIFICATION_VALUE"
    quantification = product.number(quantity, f"L2A_{quantity}")
    if quantification <= 0:
        raise SceneError(f"{file} has {quantification:g} as {quantity}; expected a positive number.")
    return SafeMetadata(
        name=name,
        level=f"L{level}",
        baseline=baseline,
        # whole seconds, as in the product's name
        date=date[:19],
        tile=tile,
        quantification=quantification,
        offsets=_offsets(product, "RADIO_ADD_OFFSET" if level == "1C" else "BOA_ADD_OFFSET", baseline),
        nodata=_nodata(product),
        driver=_format(product)[1],
        images=images,
        tile_file=tile_file,
        crs=crs,
        geocoding=geocoding,
    )


def needed_files(root: Member) -> set[str]:
    """Paths below a product's folder of what a reader opens, of all tiles."""
    file = product_file(root)
    tiles = _tiles(_Document(file))
    images = {path for tile in tiles.values() for path in tile.values()}
    return {file.name, *(_tile_file(root, folder) for folder in tiles), *images}


class _Document:
    """An XML file, whose elements are found by name wherever they are; namespaces differ by version."""

    def __init__(self, file: Member) -> None:
        self.file = file
        self._root = read_xml(file)

    def all(self, name: str) -> list[ET.Element]:
        return list(self._root.iter(name))

    def text(self, *names: str) -> str:
        """Of the one element with any of the names."""
        found = {_text(element) for name in names for element in self.all(name)} - {""}
        if len(found) != 1:
            values = ", ".join(sorted(found)) or "none"
            raise SceneError(f"{self.file} has {values} as {names[0]}; expected one value. Is it complete?")
        return found.pop()

    def number(self, *names: str) -> float:
        return _number(self.file, names[0], self.text(*names))


def _text(element: ET.Element) -> str:
    """Of an element, in one line."""
    return " ".join((element.text or "").split())


def _number(file: Member, name: str, text: str | None) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        shown = " ".join((text or "").split())
        raise SceneError(f'{file} has "{shown}" as {name}; expected a number.')
    return number


def _granules(product: _Document) -> list[ET.Element]:
    return [*product.all("Granule"), *product.all("Granules")]


def _format(product: _Document) -> tuple[str, str]:
    """Suffix of the images, and GDAL's driver."""
    formats = sorted({element.get("imageFormat", "") for element in _granules(product)})
    if len(formats) != 1 or formats[0] not in FORMATS:
        raise SceneError(
            f"{product.file} gives {', '.join(formats) or 'no'} as image format; expected "
            f"{' or '.join(FORMATS)}."
        )
    return FORMATS[formats[0]]


def _tiles(product: _Document) -> dict[str, dict[str, str]]:
    """Paths of images by name, by folder of the tile."""
    suffix, _ = _format(product)
    tiles: dict[str, dict[str, str]] = {}
    for element in _granules(product):
        for image in element:
            path = _text(image)
            if image.tag in {"IMAGE_ID", "IMAGE_ID_2A"}:
                path = _old_path(element.get("granuleIdentifier", ""), path)
            elif image.tag not in {"IMAGE_FILE", "IMAGE_FILE_2A"}:
                continue
            path = f"{path.removesuffix(suffix)}{suffix}"
            parts = PurePosixPath(path).parts
            if len(parts) < 3 or parts[0] != "GRANULE" or ".." in parts or "\\" in path:
                raise SceneError(f'{product.file} has "{path}" as an image; expected a path below GRANULE.')
            images = tiles.setdefault("/".join(parts[:2]), {})
            if (name := _image_name(parts[-1])) and images.setdefault(name, path) != path:
                raise SceneError(f"{product.file} has two images of {name}; expected one.")
    return tiles


def _old_path(granule: str, image: str) -> str:
    """Path of an image that is known by its identifier alone."""
    resolution = re.search(r"_(\d0m)$", image)
    return f"GRANULE/{granule}/IMG_DATA/{f'R{resolution[1]}/' if resolution else ''}{image}"


def _image_name(stem: str) -> str | None:
    """Band of an image, or "SCL"; None if it is none that is read, or coarser than the band."""
    tokens = PurePosixPath(stem).name.split(".")[0].split("_")
    resolutions = [int(token[:2]) for token in tokens if re.fullmatch(r"\d0m", token)]
    names = [token for token in tokens if token in RESOLUTIONS]
    if len(names) != 1 or (resolutions and resolutions != [RESOLUTIONS[names[0]]]):
        return None
    return names[0]


def _tile_file(root: Member, folder: str) -> str:
    """Path of a tile's metadata."""
    place = root.joinpath(folder)
    if not place.is_dir():
        raise SceneError(f"{place} is missing; is the product complete?")
    names = [child.name for child in children(place)]
    found = [name for name in names if re.fullmatch(r"MTD_TL\.xml|S2[A-Z]_[A-Z]{4}_MTD_\w+\.xml", name)]
    if len(found) != 1:
        raise SceneError(f"{place} holds {len(found)} metadata files of a tile; expected one MTD_TL.xml.")
    return f"{folder}/{found[0]}"


def _offsets(product: _Document, name: str, baseline: str) -> dict[str, float]:
    elements = product.all(name)
    if not elements:
        if baseline >= OFFSET_SINCE:
            raise SceneError(
                f"{product.file} is of baseline {baseline} and gives no {name}; since {OFFSET_SINCE} "
                "products have one for each band. Whether 1000 is to be taken off the numbers can't be told: "
                "download the product again."
            )
        return dict.fromkeys(BAND_IDS, 0.0)
    offsets = {}
    for element in elements:
        number = element.get("band_id", "")
        if not number.isdecimal() or int(number) >= len(BAND_IDS) or BAND_IDS[int(number)] in offsets:
            raise SceneError(
                f'{product.file} has a {name} of band_id "{number}"; expected 0 to 12, once each.'
            )
        offsets[BAND_IDS[int(number)]] = _number(product.file, name, element.text)
    if missing := [band.name for band in BANDS if band.name not in offsets]:
        raise SceneError(
            f"{product.file} gives no {name} of {', '.join(missing)}; expected one of each band."
        )
    return offsets


def _nodata(product: _Document) -> float:
    for element in product.all("Special_Values"):
        if (element.findtext("SPECIAL_VALUE_TEXT") or "").strip() == "NODATA":
            return _number(product.file, "SPECIAL_VALUE_INDEX", element.findtext("SPECIAL_VALUE_INDEX"))
    return 0.0


def _geocoding(tile: _Document) -> tuple[str, dict[int, tuple[float, float, int, int]]]:
    """CRS, and left, top, columns and rows by resolution."""

    def numbers(element: ET.Element, *names: str) -> list[float]:
        return [_number(tile.file, name, element.findtext(name)) for name in names]

    corners = {e.get("resolution"): numbers(e, "ULX", "ULY", "XDIM", "YDIM") for e in tile.all("Geoposition")}
    sizes = {e.get("resolution"): numbers(e, "NCOLS", "NROWS") for e in tile.all("Size")}
    result = {}
    for resolution in (10, 20):
        key = str(resolution)
        if key not in corners or key not in sizes:
            raise SceneError(f"{tile.file} lacks position or size at {key} m; is it complete?")
        left, top, *steps = corners[key]
        if steps != [resolution, -resolution]:
            raise SceneError(f"{tile.file} gives steps of {steps} at {key} m; expected {key} and -{key}.")
        result[resolution] = (left, top, int(sizes[key][0]), int(sizes[key][1]))
    crs = tile.text("HORIZONTAL_CS_CODE")
    if not re.fullmatch(r"EPSG:\d{4,5}", crs):
        raise SceneError(f'{tile.file} gives the CRS "{crs}"; expected one such as EPSG:32631.')
    return crs, result
