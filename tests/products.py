"""Small complete Sentinel-2 products of the sample's pixels, in ESA's layout (SAFE)."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio.io import MemoryFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE = Path(__file__).parents[1] / "examples" / "data"
EPSG, WEST, NORTH, TILE = 32618, 435740, 4165120, "T18SVG"
"""Where the sample lies."""
PHYSICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
"""Bands in the order of ESA's band_id."""
RESOLUTIONS = dict(zip(PHYSICAL, (60, 10, 10, 10, 20, 20, 20, 10, 20, 60, 60, 20, 20), strict=True))
NODATA, SATURATED = 0, 65535
ORBIT, MADE = "A043210", "20260601T120000"


def padded(physical: str) -> str:
    """B1 is B01."""
    return f"B{physical[1:].zfill(2)}"


def sample_numbers(size: int = 96) -> dict[str, np.ndarray]:
    """Digital numbers of the sample's upper left corner, uint16 by band, each at its own resolution.

    ``size`` is in 10 m pixels, a multiple of 6. Bands at 60 m are made of others.
    """
    bands = {}
    for resolution in (10, 20):
        edge = size * 10 // resolution
        with rasterio.open(SAMPLE / f"virginia_{resolution}m.tif") as source:
            numbers = source.read(window=((0, edge), (0, edge)))
            bands |= dict(zip(source.descriptions, numbers, strict=True))
    bands["B01"], bands["B09"] = bands["B02"][3::6, 3::6], bands["B8A"][1::3, 1::3] // 2
    bands["B10"] = bands["B01"] // 50
    return bands


def coarser(numbers: np.ndarray, factor: int) -> np.ndarray:
    """Block means, as the 20 m and 60 m copies in an L2A product are; 0 where a block has nodata."""
    height, width = numbers.shape
    blocks = numbers.reshape(height // factor, factor, width // factor, factor)
    return np.where((blocks == 0).any(axis=(1, 3)), 0, blocks.mean(axis=(1, 3))).astype(np.uint16)


def write_image(
    path: Path,
    numbers: np.ndarray,
    resolution: int,
    *,
    georeference: bool = True,
    corner: tuple[float, float] = (WEST, NORTH),
    epsg: int = EPSG,
    **options: str,
) -> Path:
    """Write ``(y, x)`` numbers as lossless JPEG 2000, or as GeoTIFF by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "height": numbers.shape[0],
        "width": numbers.shape[1],
        "count": 1,
        "dtype": numbers.dtype,
        "crs": f"EPSG:{epsg}",
        "transform": Affine(resolution, 0, corner[0], 0, -resolution, corner[1]),
    }
    if path.suffix == ".tif":
        with rasterio.open(path, "w", driver="GTiff", **profile) as target:
            target.write(numbers, 1)
        return path
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES", "CODEC": "JP2", **options}
    if not georeference:
        lossless |= {"GMLJP2": "NO", "GeoJP2": "NO"}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", **profile) as plain:
            plain.write(numbers, 1)
        rasterio.shutil.copy(memory.name, path, driver="JP2OpenJPEG", **lossless)
    path.with_name(f"{path.name}.aux.xml").unlink(missing_ok=True)
    return path


def write_safe(
    folder: Path,
    *,
    level: str = "L1C",
    baseline: str = "05.11",
    satellite: str = "S2B",
    offset: float | None = -1000,
    raised: int | None = None,
    zipped: bool = False,
    checksum: str = "SHA3-256",
    size: int = 96,
    old_naming: bool = False,
    sensed: str = "20260601T100029",
    psd: int | None = None,
    image_format: str = "JPEG2000",
    georeference: bool = True,
    tiles: Sequence[str] = (TILE,),
    quantification: int = 10_000,
    bands: Mapping[str, np.ndarray] | None = None,
    **options: str,
) -> Path:
    """Write a product below a folder.

    Args:
        folder: That is to hold it.
        level: "L1C" or "L2A".
        baseline: Processing baseline.
        satellite: "S2A" to "S2D".
        offset: RADIO_ADD_OFFSET or BOA_ADD_OFFSET of every band; None leaves it out.
        raised: What is added to the digital numbers; None: what the offset takes off.
        zipped: Whether it is a zip that holds the folder ``*.SAFE``.
        checksum: "SHA3-256" or "MD5".
        size: Edge in 10 m pixels, a multiple of 6.
        old_naming: Whether it is named as before December 2016.
        sensed: Sensing start.
        psd: Version of the product specification that names the XML namespaces; None: as the baseline's.
        image_format: "JPEG2000" or "GeoTIFF".
        georeference: Whether images have one.
        tiles: One granule each, all of the same pixels; several are in products of old naming alone.
        quantification: Of the metadata; the numbers stay as they are.
        bands: Digital numbers instead of the sample's, see :func:`sample_numbers`; 0 and 65535 stay.
        **options: Of the JPEG 2000 driver.

    Returns:
        Path of the folder or the zip.
    """
    numbers = sample_numbers(size) | dict(bands or {})
    raised = int(-(offset or 0)) if raised is None else raised
    special = {key: (dn == NODATA) | (dn == SATURATED) for key, dn in numbers.items()}
    numbers = {key: np.where(special[key], dn, dn + raised).astype(np.uint16) for key, dn in numbers.items()}
    number, orbit = f"N{baseline.replace('.', '')}", "R122"
    name = f"{satellite}_MSI{level}_{sensed}_{number}_{orbit}_{tiles[0]}_{MADE}"
    centre = "USER" if level == "L2A" and old_naming else "OPER"
    if old_naming:
        name = f"{satellite}_{centre}_PRD_MSI{level}_PDMC_{MADE}_{orbit}_V{sensed}_{sensed}"
    root = folder / f"{name}.SAFE"
    suffix = {"JPEG2000": ".jp2", "GeoTIFF": ".tif"}[image_format]
    granules: dict[str, list[str]] = {}
    for tile in tiles:
        identifier = f"{satellite}_{centre}_MSI_{level}_TL_SGS__{MADE}_{ORBIT}_{tile}_N{baseline}"
        place = identifier if old_naming else f"{level}_{tile}_{ORBIT}_{sensed}"
        stem = identifier.rsplit("_", 1)[0] if old_naming else f"{tile}_{sensed}"
        tile_xml = f"{stem.replace('_MSI_', '_MTD_')}.xml" if old_naming else "MTD_TL.xml"
        granules[identifier] = []
        for key, resolution, pixels in images(numbers, level):
            ending = f"R{resolution}m/{stem}_{key}_{resolution}m" if level == "L2A" else f"{stem}_{key}"
            image = f"GRANULE/{place}/IMG_DATA/{ending}"
            write_image(root / f"{image}{suffix}", pixels, resolution, georeference=georeference, **options)
            granules[identifier].append(image)
        text = tile_metadata(level, size, identifier, sensed, psd or _psd(baseline))
        (root / "GRANULE" / place / tile_xml).write_text(text, encoding="utf-8")
    text = product_metadata(
        name, level, baseline, satellite, granules, sensed, offset, quantification, image_format, psd=psd
    )
    file = f"{name.replace('_PRD_MSI', '_MTD_SAF')}.xml" if old_naming else f"MTD_MSI{level}.xml"
    (root / file).write_text(text, encoding="utf-8")
    write_manifest(root, checksum)
    return zip_folder(root) if zipped else root


def images(numbers: Mapping[str, np.ndarray], level: str) -> list[tuple[str, int, np.ndarray]]:
    """Name, resolution and numbers of every image of a granule."""
    native = [(padded(band), resolution) for band, resolution in RESOLUTIONS.items()]
    if level == "L1C":
        return [(key, resolution, numbers[key]) for key, resolution in native]
    found = [(key, resolution, numbers[key]) for key, resolution in native if key != "B10"]
    # coarser copies of finer bands are there, too: the wrong ones to take
    found += [
        (key, other, coarser(numbers[key], other // resolution))
        for key, resolution in native
        for other in (20, 60)
        if resolution < other and key != "B08"
    ]
    scl = scene_classes(numbers)
    return [*found, ("SCL", 20, scl), ("SCL", 60, scl[1::3, 1::3])]


def scene_classes(numbers: Mapping[str, np.ndarray]) -> np.ndarray:
    """A plausible scene classification at 20 m, uint8: no data, vegetation, bare soil, water."""
    green, near = coarser(numbers["B03"], 2), numbers["B8A"]
    classes = np.select([near == NODATA, near < green, numbers["B05"] > 0.8 * near], [0, 6, 5], 4)
    return classes.astype(np.uint8)


# ---- metadata


def _psd(baseline: str) -> int:
    return 15 if baseline >= "05.10" else 14


def _time(sensed: str) -> str:
    date, time = sensed.split("T")
    return f"{date[:4]}-{date[4:6]}-{date[6:]}T{time[:2]}:{time[2:4]}:{time[4:]}.024Z"


def product_metadata(
    name: str,
    level: str,
    baseline: str,
    satellite: str,
    granules: Mapping[str, Sequence[str]],
    sensed: str,
    offset: float | None,
    quantification: int,
    image_format: str,
    *,
    psd: int | None,
) -> str:
    """What MTD_MSIL1C.xml or MTD_MSIL2A.xml says, in the dialect of the baseline."""
    kind, old = f"Level-{level[1:]}", "_PRD_" in name
    # user products of the first years of sen2cor, and the pilot products of 2017
    pilot = level == "L2A" and (old or baseline < "02.06")
    prefix, ending, p = ("L2A_", "_2A", "p") if pilot else ("", "", "")
    tag = ("IMAGE_ID" if old else "IMAGE_FILE") + ending
    element = "Granules" if old else "Granule"
    listed = "".join(
        f'<Granule_List><{element} datastripIdentifier="{satellite}_OPER_MSI_{level}_DS_SGS__{MADE}_S{sensed}'
        f'_N{baseline}" granuleIdentifier="{identifier}" imageFormat="{image_format}">'
        + "".join(f"<{tag}>{image.rsplit('/')[-1] if old else image}</{tag}>\n" for image in paths)
        + f"</{element}></Granule_List>"
        for identifier, paths in granules.items()
    )
    uris = {"": f"<PRODUCT_URI>{name}.SAFE</PRODUCT_URI>"}
    uris["_2A"] = f"<PRODUCT_URI_1C>{name.replace('L2A', 'L1C')}.SAFE</PRODUCT_URI_1C>"
    uris["_2A"] += f"<PRODUCT_URI_2A>{name}.SAFE</PRODUCT_URI_2A>"
    radio, group = (
        ("RADIO", "Radiometric_Offset_List") if level == "L1C" else ("BOA", "BOA_ADD_OFFSET_VALUES_LIST")
    )
    offsets = "".join(
        f'<{radio}_ADD_OFFSET band_id="{i}">{offset:g}</{radio}_ADD_OFFSET>\n'
        for i in range(len(PHYSICAL))
        if offset is not None
    )
    quantity = f'<QUANTIFICATION_VALUE unit="none">{quantification}</QUANTIFICATION_VALUE>'
    if level == "L2A":
        group_q = "L1C_L2A_Quantification_Values_List" if pilot else "QUANTIFICATION_VALUES_LIST"
        others = ("AOT", "WVP")
        first = f"<L1C_TOA_{quantity[1:].replace('</', '</L1C_TOA_')}" if pilot else ""
        body = quantity.replace("<Q", f"<{prefix}BOA_Q").replace("</Q", f"</{prefix}BOA_Q")
        body += "".join(
            f'<{prefix}{other}_QUANTIFICATION_VALUE unit="none">1000.0</{prefix}{other}_QUANTIFICATION_VALUE>'
            for other in others
        )
        quantity = f"<{group_q}>{first}{body}</{group_q}>"
    spectra = "".join(
        f'<Spectral_Information bandId="{i}" physicalBand="{band}"><RESOLUTION>{RESOLUTIONS[band]}'
        '</RESOLUTION><Wavelength><CENTRAL unit="nm">500</CENTRAL></Wavelength></Spectral_Information>\n'
        for i, band in enumerate(PHYSICAL)
    )
    query = "<PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT>"
    if old:
        query = "".join(f"<BAND_NAME>{band}</BAND_NAME>" for band in PHYSICAL)
        query = f"<Band_List>{query}</Band_List><PRODUCT_FORMAT>SAFE</PRODUCT_FORMAT>"
    psd = psd or _psd(baseline)
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{kind}_User_Product xmlns:n1="https://psd-{psd}.sentinel2.eo.esa.int/PSD/User_Product_{kind}.xsd">
<n1:General_Info>
<{prefix}Product_Info>
<PRODUCT_START_TIME>{_time(sensed)}</PRODUCT_START_TIME>
<PRODUCT_STOP_TIME>{_time(sensed)}</PRODUCT_STOP_TIME>
{uris[ending]}
<PROCESSING_LEVEL>{kind}{p}</PROCESSING_LEVEL>
<PRODUCT_TYPE>S2MSI{level[1:]}{p}</PRODUCT_TYPE>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<GENERATION_TIME>{_time(MADE)}</GENERATION_TIME>
<Datatake datatakeIdentifier="G{satellite}_{sensed}_043210_N{baseline}">
<SPACECRAFT_NAME>Sentinel-{satellite[1:]}</SPACECRAFT_NAME>
<DATATAKE_SENSING_START>{_time(sensed)}</DATATAKE_SENSING_START>
</Datatake>
<Query_Options completeSingleTile="true">{query}</Query_Options>
<{prefix}Product_Organisation>{listed}</{prefix}Product_Organisation>
</{prefix}Product_Info>
<{prefix}Product_Image_Characteristics>
<Special_Values>
<SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>{NODATA}</SPECIAL_VALUE_INDEX>
</Special_Values>
<Special_Values>
<SPECIAL_VALUE_TEXT>SATURATED</SPECIAL_VALUE_TEXT><SPECIAL_VALUE_INDEX>{SATURATED}</SPECIAL_VALUE_INDEX>
</Special_Values>
{quantity}
{f"<{group}>{offsets}</{group}>" if offsets else ""}
<Spectral_Information_List>{spectra}</Spectral_Information_List>
</{prefix}Product_Image_Characteristics>
</n1:General_Info>
</n1:{kind}_User_Product>
"""


def tile_metadata(level: str, size: int, identifier: str, sensed: str, psd: int) -> str:
    """What MTD_TL.xml says."""
    kind = f"Level-{level[1:]}"
    sizes = "".join(
        f'<Size resolution="{r}"><NROWS>{size * 10 // r}</NROWS><NCOLS>{size * 10 // r}</NCOLS></Size>\n'
        for r in (10, 20, 60)
    )
    positions = "".join(
        f'<Geoposition resolution="{r}"><ULX>{WEST}</ULX><ULY>{NORTH}</ULY><XDIM>{r}</XDIM><YDIM>-{r}</YDIM>'
        "</Geoposition>\n"
        for r in (10, 20, 60)
    )
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:{kind}_Tile_ID xmlns:n1="https://psd-{psd}.sentinel2.eo.esa.int/PSD/S2_PDI_{kind}_Tile_Metadata.xsd">
<n1:General_Info>
<TILE_ID metadataLevel="Brief">{identifier}</TILE_ID>
<SENSING_TIME metadataLevel="Standard">{_time(sensed)}</SENSING_TIME>
</n1:General_Info>
<n1:Geometric_Info>
<Tile_Geocoding metadataLevel="Brief">
<HORIZONTAL_CS_NAME>WGS84 / UTM zone {EPSG % 100}N</HORIZONTAL_CS_NAME>
<HORIZONTAL_CS_CODE>EPSG:{EPSG}</HORIZONTAL_CS_CODE>
{sizes}{positions}</Tile_Geocoding>
</n1:Geometric_Info>
</n1:{kind}_Tile_ID>
"""


def write_manifest(root: Path, checksum: str = "SHA3-256") -> None:
    """List every file of a product with its checksum, in manifest.safe."""
    objects = []
    manifest = root / "manifest.safe"
    manifest.unlink(missing_ok=True)
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest = hashlib.new(checksum.lower().replace("-", "_"), path.read_bytes()).hexdigest()
        objects.append(
            f'<dataObject ID="{path.stem}_Data"><byteStream mimeType="application/octet-stream" '
            f'size="{path.stat().st_size}"><fileLocation href="./{path.relative_to(root).as_posix()}" '
            f'locatorType="URL"/><checksum checksumName="{checksum}">{digest}</checksum></byteStream>'
            "</dataObject>\n"
        )
    manifest.write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1">\n'
        f"<dataObjectSection>\n{''.join(objects)}</dataObjectSection></xfdu:XFDU>\n",
        encoding="utf-8",
    )


def zip_folder(root: Path, *, top: str | None = None, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """Make a zip of a product's folder, which goes; ``top`` is the folder in the zip, "" for none."""
    top = root.name if top is None else top
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as file:
        for member in sorted(member for member in root.rglob("*") if member.is_file()):
            file.write(member, Path(top, member.relative_to(root)))
    shutil.rmtree(root)
    return path
