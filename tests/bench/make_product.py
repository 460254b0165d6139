"""Make a Sentinel-2 product of any size in the layout of ESA's SAFE, to time readers and whole runs on.

    python tests/bench/make_product.py /var/tmp/bench                       # 10980 x 10980, L1C: about 1 GB
    python tests/bench/make_product.py /var/tmp/bench --level L2A --size 2040

The pixels are the sample's, mirrored over and over so that no seam shows. They are stored as since baseline
04.00: 1000 is added to each digital number, the metadata say -1000, and 0 is nodata. A wedge of nodata lies
along the eastern side, as where a tile reaches beyond the swath, a few pixels apart in each band. JPEG 2000
as ESA's: reversible 5/3 wavelet, six resolutions, tiles of 1024 pixels at 10 m, 640 at 20 m, 192 at 60 m.

There are the ten bands, and at 60 m B01, B09 and B10 (L1C) or B01 and B09 (L2A); no coarser copies of bands,
no previews, masks or quality reports. Memory is bounded by a row of tiles. The folder appears whole.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.transform import from_origin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
FULL = 10980
"""Edge of a tile of Sentinel-2 in 10 m pixels."""
OFFSET = -1000
NODATA_SHARE, SLOPE = 0.15, 0.2
"""Of the tile's pixels; tangent of the angle between the swath's edge and north."""
TILES = {10: 1024, 20: 640, 60: 192}
EPSG, WEST, NORTH = 32633, 300000, 6200040
"""Where tile 33UUB lies."""
SENSED, MADE = "20260601T100029", "20260601T120000"
PHYSICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""Bands in the order of ESA's band_id."""
RESOLUTIONS = (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20)
CENTRES = (442.3, 492.1, 559.0, 665.0, 703.8, 739.1, 779.7, 833.0, 864.0, 943.2, 1376.9, 1610.4, 2185.7)
IRRADIANCES = (1874.3, 1959.75, 1824.93, 1512.79, 1425.78, 1291.13, 1175.57, 1041.28, 953.93, 817.58, 365.41)
IRRADIANCES += (247.08, 87.75)


@dataclass(frozen=True, slots=True)
class Layer:
    """A band, and what of the sample it is made of."""

    name: str
    resolution: int
    pixels: NDArray[np.uint16]
    """``(y, x)`` digital numbers, to be mirrored."""

    def rows(self, start: int, stop: int, edge: int, nodata: float) -> NDArray[np.uint16]:
        """Rows of the layer, of ``edge`` pixels each."""
        down, across = (
            _mirrored(range(*ends), n)
            for ends, n in zip(((start, stop), (0, edge)), self.pixels.shape, strict=True)
        )
        image = self.pixels[np.ix_(down, across)] + np.uint16(-OFFSET)
        if nodata:
            # detectors of different bands see a little beside each other
            apart = 3 * PHYSICAL.index(_physical(self.name)) * 10 / self.resolution
            last = edge * (1 - nodata + SLOPE / 2) - SLOPE * np.arange(start, stop) - apart
            image[np.arange(edge) > last[:, None]] = 0
        return image


def _physical(name: str) -> str:
    return f"B{name[1:].lstrip('0')}"


def _mirrored(indices: Iterable[int], size: int) -> NDArray[np.intp]:
    """Indices that run to and fro over ``size`` pixels."""
    folded = np.array([*indices], np.intp) % (2 * size)
    return np.minimum(folded, 2 * size - 1 - folded)


def layers(level: str) -> list[Layer]:
    """Every image of a product."""
    found = []
    for resolution in (10, 20):
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            pairs = zip(source.descriptions, source.read(), strict=True)
            found += [Layer(name, resolution, pixels) for name, pixels in pairs]
    there = {layer.name: layer.pixels for layer in found}
    found.append(Layer("B01", 60, there["B02"][3::6, 3::6]))
    found.append(Layer("B09", 60, there["B8A"][1::3, 1::3] // 2))
    if level == "L1C":
        found.append(Layer("B10", 60, there["B02"][3::6, 3::6] // 50))
    return sorted(found, key=lambda layer: layer.name)


def write_layer(layer: Layer, path: Path, size: int, nodata: float) -> None:
    """Write a layer as JPEG 2000, by way of a plain GeoTIFF: the driver only copies."""
    edge, tile = size * 10 // layer.resolution, TILES[layer.resolution]
    plain = path.with_suffix(".tif")
    with rasterio.open(
        plain,
        "w",
        driver="GTiff",
        width=edge,
        height=edge,
        count=1,
        dtype="uint16",
        crs=f"EPSG:{EPSG}",
        transform=from_origin(WEST, NORTH, layer.resolution, layer.resolution),
    ) as target:
        for start in range(0, edge, tile):
            stop = min(start + tile, edge)
            target.write(layer.rows(start, stop, edge, nodata), 1, window=((start, stop), (0, edge)))
    options = {"QUALITY": "100", "REVERSIBLE": "YES", "RESOLUTIONS": "6", "CODEC": "JP2"}
    options |= {"BLOCKXSIZE": str(tile), "BLOCKYSIZE": str(tile)}
    with rasterio.Env(GDAL_CACHEMAX=256 << 20, GDAL_NUM_THREADS="1"):
        rasterio.shutil.copy(plain, path, driver="JP2OpenJPEG", **options)
    plain.unlink()
    path.with_suffix(".jp2.aux.xml").unlink(missing_ok=True)


# ---- metadata


def _product_xml(level: str, name: str, images: Sequence[str], granule: str) -> str:
    digit = level[1]
    kind = f"Level-{digit}{level[2]}"
    listed = "\n".join(
        f"            <IMAGE_FILE>{image.removesuffix('.jp2')}</IMAGE_FILE>" for image in images
    )
    tag, group = (
        ("RADIO", "Radiometric_Offset_List") if level == "L1C" else ("BOA", "BOA_ADD_OFFSET_VALUES_LIST")
    )
    offsets = "\n".join(
        f'        <{tag}_ADD_OFFSET band_id="{i}">{OFFSET}</{tag}_ADD_OFFSET>' for i in range(len(PHYSICAL))
    )
    if level == "L1C":
        quantification = '      <QUANTIFICATION_VALUE unit="none">10000</QUANTIFICATION_VALUE>'
    else:
        quantification = """      <QUANTIFICATION_VALUES_LIST>
        <BOA_QUANTIFICATION_VALUE unit="none">10000</BOA_QUANTIFICATION_VALUE>
        <AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE>
        <WVP_QUANTIFICATION_VALUE unit="cm">1000.0</WVP_QUANTIFICATION_VALUE>
      </QUANTIFICATION_VALUES_LIST>"""
    irradiances = "\n".join(
        f'          <SOLAR_IRRADIANCE bandId="{i}" unit="W/m²/µm">{value}</SOLAR_IRRADIANCE>'
        for i, value in enumerate(IRRADIANCES)
    )
    spectra = "\n".join(
        f"""        <Spectral_Information bandId="{i}" physicalBand="{band}">
          <RESOLUTION>{resolution}</RESOLUTION>
          <Wavelength>
            <CENTRAL unit="nm">{centre}</CENTRAL>
          </Wavelength>
        </Spectral_Information>"""
        for i, (band, resolution, centre) in enumerate(zip(PHYSICAL, RESOLUTIONS, CENTRES, strict=True))
    )
    stem, number = f"S2B_OPER_MSI_{level}", granule.split("_")[2]
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{kind}_User_Product xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_{kind}.xsd">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2026-06-01T10:00:29.024Z</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>2026-06-01T10:00:29.024Z</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PROCESSING_LEVEL>{kind}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{digit}{level[2]}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>05.11</PROCESSING_BASELINE>
      <GENERATION_TIME>2026-06-01T12:00:00.000000Z</GENERATION_TIME>
      <PREVIEW_IMAGE_URL>Not applicable</PREVIEW_IMAGE_URL>
      <PREVIEW_GEO_INFO>Not applicable</PREVIEW_GEO_INFO>
      <Datatake datatakeIdentifier="GS2B_{SENSED}_043210_N05.11">
        <SPACECRAFT_NAME>Sentinel-2B</SPACECRAFT_NAME>
        <DATATAKE_TYPE>INS-NOBS</DATATAKE_TYPE>
        <DATATAKE_SENSING_START>2026-06-01T10:00:29.024Z</DATATAKE_SENSING_START>
        <SENSING_ORBIT_NUMBER>122</SENSING_ORBIT_NUMBER>
        <SENSING_ORBIT_DIRECTION>DESCENDING</SENSING_ORBIT_DIRECTION>
      </Datatake>
      <Query_Options completeSingleTile="true">
        <PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>
      </Query_Options>
      <Product_Organisation>
        <Granule_List>
          <Granule datastripIdentifier="{stem}_DS_2BPS_{MADE}_S{SENSED}_N05.11"
            granuleIdentifier="{stem}_TL_2BPS_{MADE}_{number}_T33UUB_N05.11" imageFormat="JPEG2000">
{listed}
          </Granule>
        </Granule_List>
      </Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Special_Values>
        <SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT>
        <SPECIAL_VALUE_INDEX>65535</SPECIAL_VALUE_INDEX>
      </Special_Values>
      <Image_Display_Order>
        <RED_CHANNEL>3</RED_CHANNEL>
        <GREEN_CHANNEL>2</GREEN_CHANNEL>
        <BLUE_CHANNEL>1</BLUE_CHANNEL>
      </Image_Display_Order>
{quantification}
      <{group}>
{offsets}
      </{group}>
      <Reflectance_Conversion>
        <U>0.971</U>
        <Solar_Irradiance_List>
{irradiances}
        </Solar_Irradiance_List>
      </Reflectance_Conversion>
      <Spectral_Information_List>
{spectra}
      </Spectral_Information_List>
      <REFERENCE_BAND>3</REFERENCE_BAND>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:{kind}_User_Product>
"""


def _tile_xml(level: str, size: int, nodata: float, granule: str) -> str:
    kind = f"Level-{level[1:]}"
    sizes = "\n".join(
        f"""      <Size resolution="{r}">
        <NROWS>{size * 10 // r}</NROWS>
        <NCOLS>{size * 10 // r}</NCOLS>
      </Size>"""
        for r in TILES
    )
    positions = "\n".join(
        f"""      <Geoposition resolution="{r}">
        <ULX>{WEST}</ULX>
        <ULY>{NORTH}</ULY>
        <XDIM>{r}</XDIM>
        <YDIM>-{r}</YDIM>
      </Geoposition>"""
        for r in TILES
    )
    stem, number = f"S2B_OPER_MSI_{level}", granule.split("_")[2]
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{kind}_Tile_ID xmlns:n1="https://psd-15.sentinel2.eo.esa.int/PSD/S2_PDI_{kind}_Tile_Metadata.xsd">
  <n1:General_Info>
    <TILE_ID metadataLevel="Brief">{stem}_TL_2BPS_{MADE}_{number}_T33UUB_N05.11</TILE_ID>
    <DATASTRIP_ID metadataLevel="Standard">{stem}_DS_2BPS_{MADE}_S{SENSED}_N05.11</DATASTRIP_ID>
    <DOWNLINK_PRIORITY metadataLevel="Standard">NOMINAL</DOWNLINK_PRIORITY>
    <SENSING_TIME metadataLevel="Standard">2026-06-01T10:06:04.567Z</SENSING_TIME>
  </n1:General_Info>
  <n1:Geometric_Info>
    <Tile_Geocoding metadataLevel="Brief">
      <HORIZONTAL_CS_NAME>WGS84 / UTM zone 33N</HORIZONTAL_CS_NAME>
      <HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>
{sizes}
{positions}
    </Tile_Geocoding>
  </n1:Geometric_Info>
  <n1:Quality_Indicators_Info metadataLevel="Standard">
    <Image_Content_QI>
      <CLOUDY_PIXEL_PERCENTAGE>0.0</CLOUDY_PIXEL_PERCENTAGE>
      <DEGRADED_MSI_DATA_PERCENTAGE>0</DEGRADED_MSI_DATA_PERCENTAGE>
      <NODATA_PIXEL_PERCENTAGE>{100 * nodata:.6f}</NODATA_PIXEL_PERCENTAGE>
    </Image_Content_QI>
  </n1:Quality_Indicators_Info>
</n1:{kind}_Tile_ID>
"""


def _manifest(level: str, product: Path) -> str:
    kind = f"Level-{level[1:]}"
    objects = []
    for path in sorted(path for path in product.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha3_256").hexdigest()
        mime = "application/xml" if path.suffix == ".xml" else "application/octet-stream"
        objects.append(f"""    <dataObject ID="{path.stem}_Data">
      <byteStream mimeType="{mime}" size="{path.stat().st_size}">
        <fileLocation href="./{path.relative_to(product).as_posix()}" locatorType="URL"/>
        <checksum checksumName="SHA3-256">{digest}</checksum>
      </byteStream>
    </dataObject>""")
    listed = "\n".join(objects)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<xfdu:XFDU xmlns:safe="http://www.esa.int/safe/sentinel/1.1" xmlns:xfdu="urn:ccsds:schema:xfdu:1"
  version="esa/safe/sentinel/1.1/sentinel-2/msi/archive_{level.lower()}_user_product">
  <informationPackageMap>
    <xfdu:contentUnit textInfo="SENTINEL-2 MSI {kind} User Product" unitType="Product_{kind}"/>
  </informationPackageMap>
  <dataObjectSection>
{listed}
  </dataObjectSection>
</xfdu:XFDU>
"""


def make_product(folder: Path, size: int = FULL, level: str = "L1C", nodata: float = NODATA_SHARE) -> Path:
    """Make a product below a folder, unless it is there.

    Args:
        folder: That is to hold it.
        size: Edge in 10 m pixels, a multiple of 6.
        level: "L1C" or "L2A".
        nodata: Share of the pixels that are beyond the swath.

    Returns:
        Path of the folder ``*.SAFE``.
    """
    if size % 6:
        raise SystemExit(
            f"A size of {size} was asked for; expected a multiple of 6: there are bands of 60 m."
        )
    name = f"S2B_MSI{level}_{SENSED}_N0511_R122_T33UUB_{MADE}.SAFE"
    product, part = folder / name, folder / f"{name}.part"
    if product.exists():
        return product
    shutil.rmtree(part, ignore_errors=True)
    granule = f"{level}_T33UUB_A043210_20260601T100604"
    images = []
    for layer in layers(level):
        place = f"GRANULE/{granule}/IMG_DATA"
        image = f"{place}/T33UUB_{SENSED}_{layer.name}.jp2"
        if level == "L2A":
            resolution = f"{layer.resolution}m"
            image = f"{place}/R{resolution}/T33UUB_{SENSED}_{layer.name}_{resolution}.jp2"
        (part / image).parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        write_layer(layer, part / image, size, nodata)
        megabytes = (part / image).stat().st_size / 1e6
        print(f"{layer.name}: {megabytes:.1f} MB, {time.perf_counter() - started:.1f} s", flush=True)
        images.append(image)
    texts = {
        f"MTD_MSI{level}.xml": _product_xml(level, name, images, granule),
        f"GRANULE/{granule}/MTD_TL.xml": _tile_xml(level, size, nodata, granule),
    }
    for place, text in texts.items():
        (part / place).write_text(text, encoding="utf-8")
    (part / "manifest.safe").write_text(_manifest(level, part), encoding="utf-8")
    part.rename(product)
    return product


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="that is to hold the product")
    parser.add_argument("--size", type=int, default=FULL, help="edge in 10 m pixels, a multiple of 6")
    parser.add_argument("--level", choices=["L1C", "L2A"], default="L1C")
    parser.add_argument("--nodata", type=float, default=NODATA_SHARE, help="share beyond the swath")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    print(make_product(arguments.folder, arguments.size, arguments.level, arguments.nodata))


if __name__ == "__main__":
    main()
