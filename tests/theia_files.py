"""Small Theia products in their exact layout, from the repository's scene."""

import shutil
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from openeo_superres.sensor import BANDS

SAMPLE = Path(__file__).parents[1] / "examples/data"
SIZE = 60
"""Pixels of 10 m along an edge."""
START = 200, 100
"""Row and column of the sample."""
CRS, WEST, NORTH = "EPSG:32631", 300000.0, 4900020.0
NAMES = {
    "L2A": "SENTINEL2A_20180101-105441-000_L2A_T31TCJ_C_V2-2",
    "L3A": "SENTINEL2X_20181015-000000-000_L3A_T31TCJ_C_V1-0",
}
DATES = {"L2A": "2018-01-01T10:54:41.000Z", "L3A": "2018-10-15T00:00:00.000Z"}
NODATA = -10000

METADATA = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<Muscate_Metadata_Document xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
 xsi:noNamespaceSchemaLocation="Muscate_Metadata.xsd">
  <Metadata_Identification>
    <METADATA_FORMAT version="1.12">METADATA_MUSCATE</METADATA_FORMAT>
    <METADATA_PROFILE>DISTRIBUTED</METADATA_PROFILE>
    <METADATA_INFORMATION>EXPERT</METADATA_INFORMATION>
  </Metadata_Identification>
  <Dataset_Identification>
    <IDENTIFIER>{identifier}</IDENTIFIER>
    <AUTHORITY>THEIA</AUTHORITY>
    <PRODUCER>MUSCATE</PRODUCER>
    <PROJECT>SENTINEL2</PROJECT>
    <GEOGRAPHICAL_ZONE type="Tile">T31TCJ</GEOGRAPHICAL_ZONE>
  </Dataset_Identification>
  <Product_Characteristics>
    <PRODUCT_ID>{name}</PRODUCT_ID>
    <ACQUISITION_DATE>{date}</ACQUISITION_DATE>
    <PRODUCTION_DATE>2020-01-29T02:31:41.000Z</PRODUCTION_DATE>
    <PRODUCT_VERSION>2.2</PRODUCT_VERSION>
    <PRODUCT_LEVEL>{level}</PRODUCT_LEVEL>
    <PLATFORM>{platform}</PLATFORM>
    <ORBIT_NUMBER type="Path">51</ORBIT_NUMBER>
  </Product_Characteristics>
  <Radiometric_Informations>
    <REFLECTANCE_QUANTIFICATION_VALUE>{quantification}</REFLECTANCE_QUANTIFICATION_VALUE>
    <WATER_VAPOR_CONTENT_QUANTIFICATION_VALUE>20</WATER_VAPOR_CONTENT_QUANTIFICATION_VALUE>
    <Special_Values_List>
      <SPECIAL_VALUE name="nodata">-10000</SPECIAL_VALUE>
      <SPECIAL_VALUE name="water_vapor_content_nodata">0</SPECIAL_VALUE>
    </Special_Values_List>
  </Radiometric_Informations>
</Muscate_Metadata_Document>
"""


def theia_bands():
    """Numbers by band at native resolution, int16: real ones, some dark ones below 0, some without data."""
    bands = {}
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif", driver="GTiff") as dataset:
            row, col, size = (value * 10 // resolution for value in (*START, SIZE))
            pixels = dataset.read(window=((row, row + size), (col, col + size))).astype(np.int16) - 850
            pixels[:, -3:, :4] = NODATA
            bands |= dict(zip(dataset.descriptions, pixels, strict=True))
    return bands


def theia_masks(level):
    """Masks by name, uint8: EDG of each resolution says something else; so do CLM and FLG."""
    masks = {}
    for group, size in (("R1", SIZE), ("R2", SIZE // 2)):
        edge, cloud = np.zeros((2, size, size), np.uint8)
        edge[: 5 if group == "R1" else 2] = 1
        cloud[10:20, 5:9], cloud[12:14, 6:8] = 1 | 2 | 8, 1 | 32
        flags = np.full((size, size), 4, np.uint8)
        flags[:, -2:], flags[8:12, 8:12] = 0, 1
        masks |= {f"EDG_{group}": edge, f"CLM_{group}": cloud} if level == "L2A" else {f"FLG_{group}": flags}
    return masks


def theia_image(level):
    """What a reader must give: (10, SIZE, SIZE) float32 DN on the 10 m grid, NaN for nodata."""
    bands, masks = theia_bands(), theia_masks(level)
    image = []
    for band in BANDS:
        group = "R1" if band.resolution == 10 else "R2"
        hidden = masks[f"EDG_{group}"] != 0 if level == "L2A" else masks[f"FLG_{group}"] == 0
        raw = bands[band.name]
        pixels = np.where(hidden | (raw == NODATA), np.nan, raw).astype(np.float32)
        step = band.resolution // 10
        image.append(pixels.repeat(step, axis=0).repeat(step, axis=1))
    return np.stack(image)


def write_theia(
    folder, level="L2A", *, zipped=False, without=(), platform="SENTINEL2A", quantification=10000, factor=1
):
    """Write a product into a folder; ``without`` are endings of file names that are left out.

    Numbers are multiplied by ``factor``, without which 10000 is reflectance 1. Returns the path of the
    product's folder, or of its zip.
    """
    name = NAMES[level]
    product = folder / name
    for inside in ("MASKS", "DATA"):
        (product / inside).mkdir(parents=True)
    reflectance = "FRE" if level == "L2A" else "FRC"
    short = {band.name: band.name.replace("B0", "B") for band in BANDS}
    for band, pixels in theia_bands().items():
        scaled = np.where(pixels == NODATA, NODATA, pixels * factor).astype(np.int16)
        _write(product / f"{name}_{reflectance}_{short[band]}.tif", scaled)
        if level == "L2A":
            _write(product / f"{name}_SRE_{short[band]}.tif", np.full_like(pixels, 9999))
    for mask, pixels in theia_masks(level).items():
        _write(product / f"MASKS/{name}_{mask}.tif", pixels)
        other = mask.replace("EDG", "SAT").replace("FLG", "WGT")
        if other != mask:
            _write(product / f"MASKS/{name}_{other}.tif", np.full_like(pixels, 255))
    text = METADATA.format(
        name=name,
        identifier=name.rpartition("_V")[0],
        date=DATES[level],
        level=level,
        platform=platform,
        quantification=quantification,
    )
    (product / f"{name}_MTD_ALL.xml").write_text(text, encoding="utf-8")
    (product / f"{name}_QKL_ALL.jpg").write_bytes(b"\xff\xd8\xff\xd9")
    (product / f"DATA/{name}_UII_ALL.xml").write_text("<Scene_Useful_Image_Informations/>")
    for file in [*product.rglob("*")]:
        if file.is_file() and file.name.endswith(tuple(without)):
            file.unlink()
    if not zipped:
        return product
    archive = Path(shutil.make_archive(str(product), "zip", folder, name))
    shutil.rmtree(product)
    return archive


def _write(path, pixels):
    step = SIZE // pixels.shape[0]
    size = 10 * step
    transform = Affine(size, 0, WEST, 0, -size, NORTH)
    profile = {"count": 1, "dtype": pixels.dtype, "crs": CRS, "transform": transform}
    with rasterio.open(
        path, "w", driver="GTiff", height=pixels.shape[0], width=pixels.shape[1], **profile
    ) as file:
        file.write(pixels, 1)
