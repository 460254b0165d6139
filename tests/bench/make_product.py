"""Make a Sentinel-2 product of any size in the layout of ESA's SAFE, to time readers and whole runs on.

    python tests/bench/make_product.py bench/products                       # 10980 x 10980, L1C: 0.5 GB
    python tests/bench/make_product.py bench/products --level L2A --size 2040

The pixels are the sample's, mirrored over and over so that no seam shows. They are stored as since baseline
04.00: 1000 is added to each digital number, the metadata say -1000, and 0 is nodata. A wedge of nodata lies
along the eastern side, as where a tile reaches beyond the swath, a few pixels apart in each band. JPEG 2000
as ESA's: reversible 5/3 wavelet, six resolutions, tiles of 1024 pixels at 10 m, 640 at 20 m, 192 at 60 m.

There are the ten bands, and at 60 m B01, B09 and B10 (L1C) or B01 and B09 (L2A); no coarser copies of bands,
no previews, masks or quality reports. Memory is bounded by a row of tiles. The folder appears whole.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import bench
import numpy as np
import products
import rasterio
import rasterio.shutil
from affine import Affine

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

SAMPLE = bench.ROOT / "examples" / "data"
FULL = 10980
"""Edge of a tile of Sentinel-2 in 10 m pixels."""
OFFSET = -1000
NODATA_SHARE, SLOPE = 0.15, 0.2
"""Of the tile's pixels; tangent of the angle between the swath's edge and north."""
BANDS = [*map(products.padded, products.PHYSICAL)]
TILES = {10: 1024, 20: 640, 60: 192}
TILE, EPSG, WEST, NORTH = "T33UUB", 32633, 300000, 6200040
SENSED, MADE, BASELINE = "20260601T100029", "20260601T120000", "05.11"


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
            apart = 3 * BANDS.index(self.name) * 10 / self.resolution
            last = edge * (1 - nodata + SLOPE / 2) - SLOPE * np.arange(start, stop) - apart
            image[np.arange(edge) > last[:, None]] = 0
        return image


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
        transform=Affine(layer.resolution, 0, WEST, 0, -layer.resolution, NORTH),
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


def _tile_text(level: str, size: int, identifier: str) -> str:
    """Metadata of the tile, at this place instead of the sample's."""
    text = products.tile_metadata(level, size, identifier, SENSED, 15)
    places = {products.EPSG: EPSG, products.WEST: WEST, products.NORTH: NORTH, "zone 18N": "zone 33N"}
    for there, here in places.items():
        text = text.replace(str(there), str(here))
    return text


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
    name = f"S2B_MSI{level}_{SENSED}_N{BASELINE.replace('.', '')}_R122_{TILE}_{MADE}.SAFE"
    product, part = folder / name, folder / f"{name}.part"
    if product.exists():
        return product
    shutil.rmtree(part, ignore_errors=True)
    identifier = f"S2B_OPER_MSI_{level}_TL_2BPS_{MADE}_A043210_{TILE}_N{BASELINE}"
    granule = f"{level}_{TILE}_A043210_{SENSED}"
    images = []
    for layer in layers(level):
        image = f"GRANULE/{granule}/IMG_DATA/{TILE}_{SENSED}_{layer.name}"
        if level == "L2A":
            place = f"IMG_DATA/R{layer.resolution}m"
            image = f"GRANULE/{granule}/{place}/{TILE}_{SENSED}_{layer.name}_{layer.resolution}m"
        path = part / f"{image}.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        write_layer(layer, path, size, nodata)
        seconds = time.perf_counter() - started
        print(f"{layer.name}: {path.stat().st_size / 1e6:.1f} MB, {seconds:.1f} s", file=sys.stderr)
        images.append(image)
    text = products.product_metadata(
        name.removesuffix(".SAFE"),
        level,
        BASELINE,
        "S2B",
        {identifier: images},
        SENSED,
        OFFSET,
        10_000,
        "JPEG2000",
        psd=None,
    )
    (part / f"MTD_MSI{level}.xml").write_text(text, encoding="utf-8")
    text = _tile_text(level, size, identifier)
    (part / "GRANULE" / granule / "MTD_TL.xml").write_text(text, encoding="utf-8")
    products.write_manifest(part)
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
