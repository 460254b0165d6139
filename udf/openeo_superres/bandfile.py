"""Raster files of a scene: opening them safely, what they say of themselves, and their numbers as DN."""

from __future__ import annotations

import re
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, cast

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from .errors import SceneError
from .sensor import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from affine import Affine
    from numpy.typing import NDArray
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

JPEG_2000 = (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
"""First bytes of a JPEG 2000 file, and of a bare codestream."""
OVER_NETWORK = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "GDAL_HTTP_MAX_RETRY": "2",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
"""For GDAL: a server may be busy or silent, but not for ever; nothing but the named file is asked for."""
MOST_BANDS = 4096
"""Of a file."""
PIXEL = 10
"""Size in metres of a scene's pixels."""


@dataclass(frozen=True, slots=True)
class Raster:
    """What a file says of itself; the tuples have one value per band."""

    path: str
    """As GDAL takes it: of a file, of a member of a zip (``/vsizip/``), or an address (``/vsicurl/``)."""
    driver: str
    """GDAL's name of the format."""
    bands: dict[str, int]
    """Index from 0 by name, of the bands that have one."""
    crs: CRS | None
    transform: Affine
    width: int
    height: int
    dtypes: tuple[str, ...]
    nodata: tuple[float | None, ...]
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    """Reflectance is ``scale * raw + offset``."""
    block_rows: int = 1
    """Rows of pixels that are decoded at once."""

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """The path without its last part."""
        return self.path[: -len(self.name) - 1]

    @property
    def step(self) -> int:
        """Pixel size in 10 m pixels."""
        return round(self.transform.a / PIXEL)


@dataclass(frozen=True, slots=True)
class BandFile:
    """Where a band's pixels are, and how its numbers become DN."""

    band: str
    path: str
    """See :class:`Raster`."""
    driver: str
    index: int
    """Of the band in the file, from 0."""
    step: int
    """Pixel size in 10 m pixels: 1, or 2 for a band at 20 m."""
    col: int
    row: int
    """Upper left corner in 10 m pixels of the scene."""
    width: int
    height: int
    """In pixels of the file."""
    dtype: str
    nodata: float | None
    gain: float
    offset: float
    """``DN = gain * raw + offset``."""
    block_rows: int = 1
    """Rows of pixels that are decoded at once."""

    @property
    def name(self) -> str:
        """Last part of the path."""
        return PurePosixPath(self.path).name

    @property
    def phase(self) -> tuple[int, int]:
        """Row and column, 0 or 1, of a 20 m band's first pixel that starts inside the scene."""
        return self.row % 2, self.col % 2

    def to_dn(self, raw: NDArray[np.generic]) -> NDArray[np.float32]:
        """The file's numbers as float32 DN, NaN for nodata."""
        if (self.gain, self.offset) == (1.0, 0.0):
            dn = raw.astype(np.float32)
        else:
            dn = (raw.astype(np.float64) * self.gain + self.offset).astype(np.float32)
        dn[~np.isfinite(dn)] = np.nan
        if self.nodata is not None:
            dn[raw == self.nodata] = np.nan
        return dn


def band_name(text: str | None) -> str | None:
    """The one band that a description or file name says: "s2_B8A_20m" is B8A, "B2" is B02."""
    tokens = re.split(r"[^A-Z0-9]+", (text or "").upper())
    numbers = {match[1] for token in tokens if (match := re.fullmatch(r"B0?(8A|[1-9]|1[0-2])", token))}
    return f"B{numbers.pop().zfill(2)}" if len(numbers) == 1 else None


def level_name(text: str) -> str | None:
    """The processing level that a name says: "S2A_MSIL2A_2026" is L2A."""
    match = re.search(r"(?<![A-Z0-9])(?:MSI)?(L1C|L2A|L3A)(?![A-Z0-9])", text.upper())
    return match[1] if match else None


@contextmanager
def reading(path: str) -> Iterator[None]:
    """What GDAL has to say about a file while it is read becomes an error that names it."""
    network = OVER_NETWORK if path.startswith(("/vsicurl/", "/vsis3/")) else {}
    try:
        # with threads, GDAL reads a truncated JPEG 2000 file without raising: pixels would be silently wrong
        with rasterio.Env(GDAL_NUM_THREADS="1", **network):  # type: ignore[no-untyped-call]
            yield
    except (RasterioError, CPLE_BaseError, OSError, UnicodeError) as error:
        raise SceneError(
            f"{path} can't be read; expected a complete GeoTIFF, JPEG 2000 or NetCDF file "
            f"({error.__cause__ or error})."
        ) from error


@contextmanager
def opened(path: str, driver: str) -> Iterator[DatasetReader]:
    """Open a raster; read it within :func:`reading`, in whichever thread.

    The driver is said, whatever the extension: a VRT named .tif could read any file or address.
    """
    if driver == "netCDF":
        from .readers.netcdf import opened_cube  # noqa: PLC0415  (it imports this module)

        with opened_cube(path) as cube:
            yield cast("DatasetReader", cube)  # read alike
        return
    with reading(path), warnings.catch_warnings():
        # of a product its metadata may say where a file lies; a grid checks
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path, driver=driver)
    with dataset:
        yield dataset


def _driver_of(path: str) -> str:
    with reading(path), Path(path).open("rb") as file:
        return "JP2OpenJPEG" if file.read(12).startswith(JPEG_2000) else "GTiff"


def inspect_raster(path: str | Path, driver: str | None = None) -> Raster:
    """Read what a file says of itself, no pixels.

    Args:
        path: See :class:`Raster`.
        driver: GDAL's name of the format, where it is known; else the first bytes of the file tell.

    Raises:
        SceneError: If it is no GeoTIFF or JPEG 2000 file, or two of its bands have one name.
    """
    path = str(path)
    driver = driver or _driver_of(path)
    with warnings.catch_warnings(), opened(path, driver) as dataset, reading(path):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        if dataset.count > MOST_BANDS:
            raise SceneError(f"{path} has {dataset.count} bands; expected at most {MOST_BANDS}.")
        names = [band_name(description) for description in dataset.descriptions]
        if repeated := sorted({name for name in names if name and names.count(name) > 1}):
            raise SceneError(f"{path} has several bands named {', '.join(repeated)}; expected one of each.")
        if unusable := [dtype for dtype in dataset.dtypes if dtype.startswith("complex")]:
            raise SceneError(f"{path} holds {unusable[0]} numbers; expected integers or floats.")
        return Raster(
            path,
            driver,
            {name: index for index, name in enumerate(names) if name},
            dataset.crs,
            dataset.transform,
            dataset.width,
            dataset.height,
            dataset.dtypes,
            # Sentinel-2 products mean 0 without saying so
            tuple(
                0.0 if nodata is None and dtype.startswith("uint") else nodata
                for nodata, dtype in zip(dataset.nodatavals, dataset.dtypes, strict=True)
            ),
            dataset.scales,
            dataset.offsets,
            max(rows for rows, _ in dataset.block_shapes),
        )


def radiometry(raster: Raster, index: int) -> tuple[float, float]:
    """Gain and offset to DN of a band: its tags make reflectance of its numbers; without tags they are DN.

    Raises:
        SceneError: If the scale makes no reflectance of Sentinel-2 numbers.
    """
    scale, offset = raster.scales[index], raster.offsets[index]
    if (scale, offset) == (1.0, 0.0):
        return 1.0, 0.0
    if not 0 < scale < 0.1:
        raise SceneError(
            f"{raster.path} has scale {scale:g} and offset {offset:g}; expected tags that turn its numbers "
            "into reflectance (scale 0.0001), or none for digital numbers."
        )
    # the tags are decimal fractions: 0.0001 means exactly 1 DN, -0.1 exactly -1000
    return round(scale * REFLECTANCE_SCALE, 9), round(offset * REFLECTANCE_SCALE, 6)


def read_bands(
    files: Sequence[BandFile], dataset: DatasetReader, box: tuple[int, int, int, int]
) -> Iterator[NDArray[np.float32]]:
    """Read bands of one file over a part of the scene.

    Args:
        files: Bands of the same file.
        dataset: That file, opened.
        box: Left, top, right and bottom in 10 m pixels of the scene.

    Yields:
        Per band ``(bottom - top, right - left)`` float32 DN, NaN for nodata and where the file has no pixels.
    """
    left, top, right, bottom = box
    first = files[0]
    step = first.step
    start_col, start_row = max((left - first.col) // step, 0), max((top - first.row) // step, 0)
    stop_col = min(-((first.col - right) // step), first.width)
    stop_row = min(-((first.row - bottom) // step), first.height)
    empty = start_col >= stop_col or start_row >= stop_row
    indexes, window = [file.index + 1 for file in files], ((start_row, stop_row), (start_col, stop_col))
    with reading(first.path):
        raws = None if empty else dataset.read(indexes, window=window)
    # upper left corner of what was read, from that of the box
    col, row = first.col + start_col * step - left, first.row + start_row * step - top
    for i, file in enumerate(files):
        result = np.full((bottom - top, right - left), np.nan, np.float32)
        if raws is not None:
            pixels = file.to_dn(raws[i]).repeat(step, axis=0).repeat(step, axis=1)
            part = pixels[max(-row, 0) : bottom - top - row, max(-col, 0) : right - left - col]
            result[max(row, 0) :, max(col, 0) :][: part.shape[0], : part.shape[1]] = part
        yield result
