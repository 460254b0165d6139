"""Scenes in Theia products, in the MUSCATE format: L2A that MAJA made, L3A that WASP made; folders and zips.

Format: CNES, PSC-NT-411-0362-CNES, and CESBIO's pages on Theia's Sentinel-2 L2A and L3A products. A product
``SENTINEL2A_20180101-105441-000_L2A_T31TCJ_C_V2-2`` holds ``<name>_MTD_ALL.xml``, one ``<name>_FRE_B2.tif``
per band, and ``MASKS/<name>_EDG_R1.tif`` and so on: R1 for bands of 10 m, R2 for those of 20 m.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openeo_superres.bandfile import band_name, inspect_raster
from openeo_superres.errors import SceneError
from openeo_superres.grid import Mask, Scene, assemble
from openeo_superres.sensor import BANDS

from .archive import children, gdal_name, product_root, read_xml

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from openeo_superres.bandfile import BandFile, Raster

    from .archive import Member

METADATA = "_MTD_ALL.xml"
REFLECTANCE = {"L2A": "FRE", "L3A": "FRC"}
"""Flat reflectance, that is, corrected for slopes too, and its composite, as file names say it by level."""
NODATA = -10000.0
"""Where the metadata don't say; other negative numbers are dark pixels."""
EDGE = {"L2A": "EDG", "L3A": "FLG"}
"""Masks that say where there is no data: EDG by being not 0, FLG by 0."""
OFFERED = {"L2A": "CLM", "L3A": "FLG"}
"""Masks of the scene. CLM has bits: 1 any cloud or shadow but the thinnest clouds, 2 such a cloud, 128 high
clouds; what 4 to 64 mean differs between versions. FLG has classes: 0 no data, 1 cloud or shadow, 2 snow, 3
water, 4 land."""
GROUPS = {10: "R1", 20: "R2"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What MTD_ALL.xml says of a product."""

    name: str
    level: str
    date: str
    quantification: float
    """Numbers are divided by it to get reflectance."""
    nodata: float


def read_theia(path: Path, bands: Sequence[str]) -> list[Scene]:
    """A product's folder, its zip, or its MTD_ALL.xml: see :data:`openeo_superres.scene.RECOGNISERS`.

    DN are the flat reflectance (FRE; FRC of L3A); that without correction for slopes (SRE) is not read.
    Nodata is -10000, and what the edge mask (EDG; class 0 of FLG in L3A) says for bands of its resolution.
    CLM, or FLG, is a mask of the scene.

    Raises:
        SceneError: If it is such a product, but of another satellite or level, or a band or its metadata are
            missing or damaged.
    """
    folder = _product(path)
    if folder is None:
        return []
    files = {file.name: file for file in children(folder)}
    found = [file for name, file in files.items() if name.endswith(METADATA)]
    if len(found) != 1:
        raise SceneError(
            f"{folder} holds files of a Theia product, and {len(found)} named *{METADATA}; expected one, "
            "the whole product in a folder of its own."
        )
    metadata = _read_metadata(found[0])
    rasters = _bands(files, metadata, bands)
    if not rasters:
        raise SceneError(
            f"{folder} has no *_{REFLECTANCE[metadata.level]}_B*.tif of {', '.join(bands)}; expected the "
            "flat reflectance that Theia's products hold."
        )
    scene = assemble(
        "Theia",
        str(path),
        rasters,
        bands,
        name=metadata.name,
        masks=_masks(folder, metadata.level, bands),
        level=metadata.level,
        date=metadata.date,
    )
    return [_masked(scene)]


def _product(path: Path) -> Member | None:
    """The folder that holds a product's files; None if it is none."""
    if path.name.endswith(METADATA) and path.is_file():
        return path.parent
    root = product_root(path)
    if root is None:
        return None
    inside = list(children(root))
    if any(_is_part(file.name) for file in inside):
        return root
    # a zip holds the product's folder, and unpacking it may have made one more around it
    folders = [folder for folder in inside if folder.is_dir()]
    if len(folders) < len(inside):
        return None
    products = [folder for folder in folders if any(_is_part(file.name) for file in children(folder))]
    if len(products) > 1:
        listed = ", ".join(folder.name for folder in products)
        raise SceneError(f"{path} holds several Theia products ({listed}); give the path of one.")
    return products[0] if products else None


def _is_part(name: str) -> bool:
    """Whether a file is named like the metadata of a Theia product, or a band of one."""
    return name.endswith(METADATA) or re.search(r"_(FRE|SRE|FRC)_B\d+A?\.tif$", name) is not None


def _read_metadata(file: Member) -> Metadata:
    root = read_xml(file)

    def text(path: str) -> str:
        if found := (root.findtext(f".//{path}") or "").strip():
            return found
        raise SceneError(f"{file} lacks {path}; expected the metadata of a Theia product.")

    platform, level = text("PLATFORM"), text("PRODUCT_LEVEL")
    if not platform.upper().startswith("SENTINEL2") or level not in REFLECTANCE:
        raise SceneError(f"{file} is of {platform} {level}; expected SENTINEL2, L2A or L3A.")
    try:
        date = datetime.fromisoformat(text("ACQUISITION_DATE"))
        quantification = float(text("REFLECTANCE_QUANTIFICATION_VALUE"))
        nodata = float(root.findtext(".//SPECIAL_VALUE[@name='nodata']") or NODATA)
    except ValueError as error:
        raise SceneError(f"{file} has no date or number where one is expected: {error}.") from error
    if not 10 < quantification < float("inf"):
        raise SceneError(f"{file} says that numbers are divided by {quantification:g}; expected 10000.")
    moment = (date.astimezone(UTC) if date.tzinfo else date).replace(tzinfo=None)
    return Metadata(
        name=file.name.removesuffix(METADATA),
        level=level,
        # a composite is of many moments
        date=moment.date().isoformat() if level == "L3A" else moment.isoformat(timespec="seconds"),
        quantification=quantification,
        nodata=nodata,
    )


def _bands(files: Mapping[str, Member], metadata: Metadata, bands: Sequence[str]) -> list[Raster]:
    """The files of the bands that are needed, with what their numbers mean."""
    rasters = []
    for name, file in files.items():
        match = re.search(rf"_{REFLECTANCE[metadata.level]}_(B\d+A?)\.tif$", name)
        band = band_name(match[1]) if match else None
        if band and band in bands:
            raster = inspect_raster(gdal_name(file), "GTiff")
            count = len(raster.dtypes)
            meaning = replace(
                raster,
                bands={band: 0},
                nodata=(metadata.nodata,) * count,
                scales=(1 / metadata.quantification,) * count,
                offsets=(0.0,) * count,
            )
            rasters.append(meaning)
    return rasters


def _masks(folder: Member, level: str, bands: Sequence[str]) -> dict[str, Raster]:
    """Masks by name and resolution of the bands, such as "EDG 20"."""
    inside = folder / "MASKS"
    files = list(children(inside)) if inside.is_dir() else []
    masks = {}
    for resolution in sorted({band.resolution for band in BANDS if band.name in bands}):
        for kind in sorted({EDGE[level], OFFERED[level]}):
            ending = f"_{kind}_{GROUPS[resolution]}.tif"
            if found := [file for file in files if file.name.endswith(ending)]:
                masks[f"{kind} {resolution}"] = inspect_raster(gdal_name(found[0]), "GTiff")
            elif kind == EDGE[level]:
                warnings.warn(
                    f"{folder} lacks MASKS/*{ending}: only {NODATA:g} is nodata in bands of {resolution} m.",
                    stacklevel=2,
                )
    return masks


def _masked(scene: Scene) -> Scene:
    """Hide what has no data, and offer the finest of the other masks under its plain name."""
    hidden: list[Mask] = []
    offered: dict[str, BandFile] = {}
    for name, file in scene.masks.items():
        kind, resolution = name.split()
        if kind == "EDG":
            hidden.append(Mask(file, bits=0xFF, resolution=int(resolution)))
        elif kind == "FLG":
            hidden.append(Mask(file, values=frozenset({0}), resolution=int(resolution)))
        if kind in OFFERED.values():
            offered.setdefault(kind, file)
    return replace(scene, hidden=tuple(hidden), masks=offered)
