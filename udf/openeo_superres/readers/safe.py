"""ESA's Sentinel-2 products (SAFE): levels 1C and 2A of any baseline, in folders and in zips."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError

from openeo_superres.bandfile import JPEG_2000, inspect_raster
from openeo_superres.errors import SceneError
from openeo_superres.grid import Scene, assemble

from .archive import children, file_size, gdal_name, product_root, unpacked
from .offset import check_offset
from .safexml import PRODUCT_FILE, RESOLUTIONS, product_file, product_files, read_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openeo_superres.bandfile import Raster

    from .archive import Member
    from .safexml import SafeMetadata

ZIPPED = re.compile(r"S2[A-Z]_\w*MSI\w*(\.SAFE)?\.zip")
"""Names of products as they are downloaded."""
SCL_CLASSES = {
    0: "no data",
    1: "saturated or defective",
    2: "dark area, topographic shadow",
    3: "cloud shadow",
    4: "vegetation",
    5: "not vegetated",
    6: "water",
    7: "unclassified, cloud of low probability",
    8: "cloud of medium probability",
    9: "cloud of high probability",
    10: "thin cirrus",
    11: "snow or ice",
}
"""Of the mask "SCL", the scene classification of an L2A product."""


def read_safe(path: Path, bands: Sequence[str]) -> list[Scene]:
    """An L1C or L2A product: see :data:`openeo_superres.scene.RECOGNISERS`.

    It may be the folder or a zip of it, what holds exactly one of them, its metadata file or manifest, or one
    of its granules.
    """
    found = find_product(path)
    if found is None:
        return []
    root, granule = found
    metadata = read_metadata(root, granule)
    wanted = [band for band in bands if band in metadata.images]
    rasters = [_raster(root, metadata, band) for band in wanted]
    masks = {}
    if (scl := metadata.images.get("SCL")) and root.joinpath(scl).exists():
        masks["SCL"] = _raster(root, metadata, "SCL")
    scene = assemble(
        "SAFE",
        str(path),
        rasters,
        bands,
        name=metadata.name,
        masks=masks,
        level=metadata.level,
        baseline=metadata.baseline,
        date=metadata.date,
    )
    check_offset(scene, raised=min(metadata.offsets[band] for band in wanted) < 0)
    return [scene]


# ---- where the product is


def find_product(path: Path) -> tuple[Member, str | None] | None:
    """The product's folder, on disk or in a zip, and the name of the granule if the path says one.

    Returns:
        None if there is no Sentinel-2 product.

    Raises:
        SceneError: If there are several, or one without its metadata.
    """
    if path.name == "manifest.safe" or PRODUCT_FILE.fullmatch(path.name):
        product_file(path.parent)
        return path.parent, None
    if path.name == "MTD_TL.xml":
        path = path.parent
    for folder, granule in ((path.parent, path.name), (path, None)):
        if folder.name == "GRANULE" and path.is_dir():
            product_file(folder.parent)
            return folder.parent, granule
    root = product_root(path)
    if root is None:
        return None
    if path.suffix == ".SAFE" or product_files(root):
        product_file(root)
        return root, None
    folders = [child for child in children(root) if child.is_dir()]
    inside = [folder for folder in folders if folder.name.endswith(".SAFE") or product_files(folder)]
    names = {folder.name.removesuffix(".SAFE") for folder in inside}
    zips = [child for child in children(root) if ZIPPED.fullmatch(child.name)]
    several = inside + [file for file in zips if file.name.split(".")[0] not in names]
    if inside and len(several) > 1:
        listed = ", ".join(child.name for child in several)
        raise SceneError(f"{path} holds several products ({listed}); give the path of one.")
    if not inside:
        return None
    product_file(inside[0])
    return inside[0], None


# ---- its images


def _raster(root: Member, metadata: SafeMetadata, name: str) -> Raster:
    """An image, checked against the metadata, which say what its numbers mean."""
    file = root.joinpath(metadata.images[name])
    _check_length(file, name)
    raster = inspect_raster(gdal_name(file), metadata.driver)
    if len(raster.dtypes) != 1:
        raise SceneError(f"{file} has {len(raster.dtypes)} bands; expected {name} alone.")
    left, top, columns, rows = metadata.geocoding[RESOLUTIONS[name]]
    step = float(RESOLUTIONS[name])
    try:
        crs = CRS.from_string(metadata.crs)
    except CRSError as error:
        raise SceneError(f"{metadata.tile_file} gives the CRS {metadata.crs}; there is no such.") from error
    transform = Affine(step, 0, left, 0, -step, top)
    if raster.crs is None and raster.transform.is_identity:
        raster = replace(raster, crs=crs, transform=transform)
    same = (raster.crs, raster.width, raster.height) == (crs, columns, rows)
    if not same or not raster.transform.almost_equals(transform, 1e-3):
        x, y = raster.transform.c, raster.transform.f
        raise SceneError(
            f"{file} has {raster.width} x {raster.height} pixels of {raster.transform.a:g} m from "
            f"({x:.9g}, {y:.9g}) in {raster.crs}, but {metadata.tile_file} says {columns} x {rows} of "
            f"{step:g} m from ({left:.9g}, {top:.9g}) in {crs}; expected the same."
        )
    if name == "SCL":
        return replace(raster, bands={name: 0})
    return replace(
        raster,
        bands={name: 0},
        nodata=(metadata.nodata,),
        scales=(1 / metadata.quantification,),
        offsets=(metadata.offsets[name] / metadata.quantification,),
    )


def _check_length(file: Member, name: str) -> None:
    """Refuse an image that is missing, empty, or shorter than its boxes say.

    Boxes are those of ISO/IEC 15444-1, annex I; ESA's codestream reaches to the end of the file, where its
    last marker is.
    """
    try:
        size = file_size(file)
    except SceneError as error:
        raise SceneError(f"Band {name} is missing: {error}") from error
    if not size:
        raise SceneError(f"Band {name} is empty: {file}; download the product again.")
    with unpacked(file) as stream:
        if not stream.read(12).startswith(JPEG_2000[0]):
            return
        position, end = 12, 0
        while position + 8 <= size and not end:
            stream.seek(position)
            length, kind, longer = struct.unpack(">I4sQ", stream.read(16).ljust(16, b"\0"))
            position += max({0: size - position, 1: longer}.get(length, length), 8)
            end = position if kind == b"jp2c" else 0
        whole = 0 < end <= size
        if whole and (isinstance(file, Path) or not file.root.getinfo(file.at).compress_type):
            # of a packed file all would have to be unpacked; reading its pixels will tell
            stream.seek(end - 2)
            whole = stream.read(2) == b"\xff\xd9"
    if not whole:
        raise SceneError(f"Band {name} is cut short: {file}; download the product again.")
