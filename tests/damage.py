"""Files that were cut short or have a byte flipped, and what a reader makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py
import numpy as np
import rasterio
import rasterio.shutil
import xarray as xr
from affine import Affine
from products import write_safe, zip_folder

from openeo_superres.errors import SceneError
from openeo_superres.readers.manifest import verify
from openeo_superres.scene import open_scene
from openeo_superres.sensor import BAND_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHARES = (0.999, 0.99, 0.9, 0.75, 0.5, 0.25, 0.1, 0.01)
"""Of a file that are left of it."""
SIZE = 48


@dataclass(frozen=True)
class Victim:
    """A source, and the file of it that is damaged."""

    source: Path
    file: Path
    has_checksum: bool = False
    """In the manifest of the product."""


def _image() -> np.ndarray:
    rng = np.random.default_rng(0)
    image = rng.integers(1, 5000, (10, SIZE, SIZE)).astype(np.uint16)
    image[4:] = image[4:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
    return image


def jp2(folder: Path) -> Victim:
    """An image of a product."""
    safe = write_safe(folder, size=SIZE)
    return Victim(safe, next(safe.rglob("*_B03.jp2")), has_checksum=True)


def xml(folder: Path) -> Victim:
    """The metadata of a product."""
    safe = write_safe(folder, size=12)
    return Victim(safe, safe / "MTD_MSIL1C.xml", has_checksum=True)


def zipped(folder: Path) -> Victim:
    """A product in a zip."""
    path = zip_folder(write_safe(folder, size=12))
    return Victim(path, path, has_checksum=True)


def safe_tiff(folder: Path) -> Victim:
    """An image of a product with GeoTIFFs."""
    safe = write_safe(folder, size=SIZE, image_format="GeoTIFF")
    return Victim(safe, next(safe.rglob("*_B03.tif")), has_checksum=True)


def _stack(path: Path, **options: object) -> Victim:
    profile = {"width": SIZE, "height": SIZE, "count": 10, "dtype": "uint16", "crs": "EPSG:32618"}
    profile["transform"] = Affine(10, 0, 435740, 0, -10, 4165120)
    with rasterio.open(path, "w", driver="GTiff", **profile, **options) as file:
        file.write(_image())
        file.descriptions = BAND_NAMES
    return Victim(path, path)


def tiff(folder: Path) -> Victim:
    """A GeoTIFF in strips, not packed."""
    return _stack(folder / "a.tif")


def packed_tiff(folder: Path) -> Victim:
    """A GeoTIFF in packed tiles."""
    return _stack(folder / "a.tif", compress="deflate", predictor=2, tiled=True, blockxsize=16, blockysize=16)


def cog(folder: Path) -> Victim:
    """A Cloud Optimised GeoTIFF, whose directory comes first."""
    plain = _stack(folder / "plain.tif").file
    rasterio.shutil.copy(plain, folder / "a.tif", driver="COG", compress="ZSTD", blocksize=128)
    plain.unlink()
    return Victim(folder / "a.tif", folder / "a.tif")


def netcdf(folder: Path) -> Victim:
    """A NetCDF whose chunks have checksums."""
    coords = {
        "bands": list(BAND_NAMES),
        "y": 4165115 - 10.0 * np.arange(SIZE),
        "x": 435745 + 10.0 * np.arange(SIZE),
    }
    cube = xr.DataArray(_image(), coords, ("bands", "y", "x"), "cube")
    packed = {"compression": "gzip", "fletcher32": True, "chunksizes": (10, 16, 16)}
    cube.to_netcdf(folder / "a.nc", engine="h5netcdf", encoding={"cube": packed})
    return Victim(folder / "a.nc", folder / "a.nc")


VICTIMS: dict[str, Callable[[Path], Victim]] = {
    function.__name__: function for function in (jp2, tiff, packed_tiff, cog, safe_tiff, zipped, xml, netcdf)
}
FLIPPED = ("jp2", "safe_tiff", "zipped", "xml", "netcdf")
"""Where a checksum exists."""


def _read(victim: Victim, *, check: bool) -> np.ndarray:
    if check and victim.has_checksum:
        verify(victim.source)
    scene = open_scene(victim.source)
    return scene.read((0, 0, scene.width, scene.height))


def _outcome(victim: Victim, right: np.ndarray, *, check: bool) -> str:
    try:
        read = _read(victim, check=check)
    except SceneError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except Exception as error:  # noqa: BLE001  (what a user would see)
        return f"escaped: {type(error).__name__}: {error}"
    return "same" if np.array_equal(read, right, equal_nan=True) else "wrong"


def truncations(kind: str, folder: Path) -> list[str]:
    """What becomes of a file that is cut short, at each of ``SHARES``, without a checksum."""
    victim = VICTIMS[kind](folder)
    content, right, found = victim.file.read_bytes(), _read(victim, check=True), []
    for share in SHARES:
        victim.file.write_bytes(content[: int(share * len(content))])
        found.append(_outcome(victim, right, check=False))
    return found


def _places(victim: Victim, kind: str) -> np.ndarray:
    """Bytes that a checksum is for: all, but of HDF5 those in chunks."""
    if kind != "netcdf":
        return np.arange(victim.file.stat().st_size)
    with h5py.File(victim.file) as file:
        of = file["cube"].id
        chunks = [of.get_chunk_info(i) for i in range(of.get_num_chunks())]
    return np.concatenate([np.arange(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks])


def flips(kind: str, folder: Path, count: int) -> list[str]:
    """What becomes of a file with one byte changed, where a checksum is asked."""
    victim = VICTIMS[kind](folder)
    content, right, found = victim.file.read_bytes(), _read(victim, check=True), []
    rng, places = np.random.default_rng(0), _places(victim, kind)
    for _ in range(count):
        changed = bytearray(content)
        changed[int(rng.choice(places))] ^= int(rng.integers(1, 256))
        victim.file.write_bytes(changed)
        found.append(_outcome(victim, right, check=True))
    victim.file.write_bytes(content)
    return found
