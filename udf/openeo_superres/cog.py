"""Cloud Optimised GeoTIFFs of DN, written window by window, that appear whole or not at all."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import MemoryFile
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate

from .errors import OutputError
from .memory import gdal_cache
from .sensor import REFLECTANCE_SCALE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray
    from rasterio.crs import CRS

COLOURS = {"B04": ColorInterp.red, "B03": ColorInterp.green, "B02": ColorInterp.blue}
BLOCK = 512
CACHE = 64 << 20
"""Bytes of GDAL's block cache while a file is finished: all of it is read once, in order."""
TOGETHER = 4 * BLOCK
"""Columns of a finished file that are looked at together: several blocks, which threads unpack."""
LEVELS = {"ZSTD": 2, "DEFLATE": 6}
"""Of the result's compression: ZSTD at 9, GDAL's default, takes 2.5 times as long for 5 % less."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How DN become numbers in a file: ``stored = DN + shift``, rounded and clipped for integers."""

    dtype: str
    nodata: float
    shift: float = 0.0
    low: float = -np.inf
    high: float = np.inf

    @property
    def scale(self) -> float:
        """Tag: reflectance is ``scale * stored + offset``."""
        return 1 / REFLECTANCE_SCALE

    @property
    def offset(self) -> float:
        """See :attr:`scale`."""
        return 0.0 - self.shift / REFLECTANCE_SCALE

    def encode(self, dn: NDArray[np.float32]) -> NDArray[Any]:
        """Numbers to store for float32 DN of any shape; NaN becomes nodata. Rounded, then clipped."""
        if self.dtype == "float32":
            return dn
        stored = dn + np.float32(self.shift)
        np.rint(stored, out=stored)
        np.clip(stored, self.low, self.high, out=stored)
        np.copyto(stored, self.nodata, where=np.isnan(stored))
        return stored.astype(self.dtype)

    def valid(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Where stored numbers are not nodata."""
        valid: NDArray[np.bool_] = ~np.isnan(stored) if np.isnan(self.nodata) else stored != self.nodata
        return valid


ENCODINGS = {
    "int16": Encoding("int16", nodata=-32768, low=-32767, high=32767),
    "uint16": Encoding("uint16", nodata=0, shift=1000, low=1, high=65535),
    "float32": Encoding("float32", nodata=np.nan),
}
WIDTHS = ENCODINGS | {"uint16": Encoding("uint16", nodata=0, low=1, high=65535)}
"""The same for widths of intervals: differences of DN, which no offset applies to."""


class CogWriter:
    """One file in the making.

    Enter it, write every window once, :meth:`finish`, then :meth:`publish`. What it writes meanwhile lies in
    hidden files beside the destination, ``.<name>.<pid>.part*``; leaving it removes them.

    Args:
        destination: Of the result; the folder must exist.
        bands: Names, in the order of the pixels.
        encoding: One of ``ENCODINGS``.
        crs: Of the result.
        transform: Of the result.
        width: In pixels of the result.
        height: In pixels of the result.
        tags: Of the file, name to text.
        threads: That compress.

    Raises:
        OutputError: On entering, if no file can be made there; later, if it can't be written whole.
    """

    def __init__(
        self,
        destination: Path,
        *,
        bands: tuple[str, ...],
        encoding: Encoding,
        crs: CRS | None,
        transform: Affine,
        width: int,
        height: int,
        tags: Mapping[str, str],
        threads: int = 1,
    ) -> None:
        self.destination = destination
        self._bands, self._encoding, self._tags = bands, encoding, dict(tags)
        self._profile: dict[str, Any] = {
            "crs": crs,
            "transform": transform,
            "width": width,
            "height": height,
            "count": len(bands),
            "dtype": encoding.dtype,
            "nodata": encoding.nodata,
        }
        self._threads = str(threads)
        self._part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        self._tiles = self._part.with_name(f"{self._part.name}.tiles")
        self._statistics = [_Statistics() for _ in bands]

    def __enter__(self) -> Self:
        try:
            self._part.touch()
            self._guarded(self._create)
        except OSError as error:
            self.discard()
            raise OutputError(f"{self.destination} can't be written: {error.strerror or error}.") from error
        except BaseException:
            self.discard()
            raise
        return self

    def _create(self) -> None:
        self._dataset = rasterio.open(
            self._tiles,
            "w",
            driver="GTiff",
            tiled=True,
            blockxsize=BLOCK,
            blockysize=BLOCK,
            interleave="band",  # else GDAL builds overviews band by band, packing each block ten times
            bigtiff="IF_SAFER",
            sparse_ok=True,  # and not compressed: that would take a tenth of a run, for a fifth of the space
            num_threads=1,  # whatever the environment says: it is written behind the network
            **self._profile,
        )
        self._dataset.descriptions = self._bands
        self._dataset.scales = [self._encoding.scale] * len(self._bands)
        self._dataset.offsets = [self._encoding.offset] * len(self._bands)
        self._dataset.colorinterp = [COLOURS.get(band, ColorInterp.undefined) for band in self._bands]
        self._dataset.update_tags(**self._tags)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(RasterioError, CPLE_BaseError):
            self._dataset.close()
        self.discard()

    def discard(self) -> None:
        """Remove what was written and has no name yet."""
        for path in self.destination.parent.glob(f"{_escaped(self._part.name)}*"):
            path.unlink(missing_ok=True)

    def write(self, dn: NDArray[np.float32], col: int, row: int) -> None:
        """Write ``(bands, y, x)`` float32 DN, NaN for nodata, with its upper left corner at a pixel."""
        window = Window(col, row, dn.shape[2], dn.shape[1])
        # band by band: small arrays stay in the caches, and in memory that is not given back each time
        for index, (statistics, band) in enumerate(zip(self._statistics, dn, strict=True), 1):
            pixels = self._encoding.encode(band)
            statistics.add(pixels[self._encoding.valid(pixels)])
            self._guarded(self._dataset.write, pixels, index, window=window)

    def finish(self) -> None:
        """Make the Cloud Optimised GeoTIFF of what was written, and check it, still under its hidden name."""
        for index, statistics in enumerate(self._statistics, 1):
            self._dataset.update_tags(index, **statistics.tags())
        self._guarded(self._dataset.close)
        with gdal_cache(CACHE):
            self._guarded(self._build_overviews)
            self._interruptible(
                rasterio.shutil.copy,
                self._tiles,
                self._part,
                driver="COG",
                blocksize=BLOCK,
                compress=compression(),
                level=LEVELS[compression()],
                predictor="YES",
                bigtiff="IF_SAFER",
                num_threads=self._threads,
            )
            self._guarded(self._tiles.unlink)
            self._guarded(self._sync)
            self._guarded(self._validate)

    def _build_overviews(self) -> None:
        """Overviews of the tiles, which the COG driver takes over: its own pack a block once per band."""
        levels: list[int] = []
        while max(self._profile["width"], self._profile["height"]) > BLOCK << len(levels):
            levels.append(2 << len(levels))
        options = {"GDAL_NUM_THREADS": self._threads, "GDAL_TIFF_OVR_BLOCKSIZE": str(BLOCK)}
        environment = rasterio.Env(**options)  # type: ignore[no-untyped-call]
        with environment, rasterio.open(self._tiles, "r+", driver="GTiff") as dataset:
            dataset.build_overviews(levels, Resampling.average)

    def publish(self) -> None:
        """Give the finished file its name."""
        self._guarded(self._part.replace, self.destination)

    def _sync(self) -> None:
        with self._part.open("rb+") as file:
            os.fsync(file.fileno())

    def _validate(self) -> None:
        valid, errors, remarks = cog_validate(self._part, strict=True, quiet=True)
        if not valid:
            raise OutputError(f"{self.destination} was not written whole: {'; '.join(errors + remarks)}.")
        with rasterio.open(self._part, driver="GTiff", num_threads=self._threads) as dataset:
            for fact in ("crs", "transform", "width", "height", "count"):
                there, expected = getattr(dataset, fact), self._profile[fact]
                if there != expected and (fact != "crs" or expected):
                    raise OutputError(f"{self.destination} has {fact} {there}, expected {expected}.")
            # a full disk is not always an error for GDAL: count what is there, from every block
            there = np.zeros(dataset.count, np.int64)
            for row, col in product(range(0, dataset.height, BLOCK), range(0, dataset.width, TOGETHER)):
                window = Window(
                    col, row, min(TOGETHER, dataset.width - col), min(BLOCK, dataset.height - row)
                )
                there += self._encoding.valid(dataset.read(window=window)).sum(axis=(1, 2))
        expected = [statistics.count for statistics in self._statistics]
        if there.tolist() != expected:
            raise OutputError(
                f"{self.destination} was not written whole: {there.sum()} of {sum(expected)} pixels are "
                "there. Is the disk full?"
            )

    def _interruptible(self, call: Any, *args: Any, **options: Any) -> None:
        """Call into GDAL, which reads the tiles for minutes: Python hears no Ctrl-C where that happens."""
        with ThreadPoolExecutor(1) as pool:
            try:
                converted = pool.submit(self._guarded, call, *args, **options)
                while wait([converted], timeout=1).not_done:
                    pass  # a signal that comes right before a wait is heard when that ends
                converted.result()
            except KeyboardInterrupt:
                # GDAL ends at the first tile that it can't read
                with suppress(OSError):
                    os.truncate(self._tiles, 0)
                raise

    def _guarded(self, call: Any, *args: Any, **options: Any) -> Any:
        """Call into GDAL; its errors (a full disk, mostly) name the destination."""
        try:
            with rasterio.Env():  # type: ignore[no-untyped-call]
                return call(*args, **options)
        except (RasterioError, CPLE_BaseError, OSError, UnicodeError) as error:
            reason = str(error.__cause__ or error).rstrip(".")
            raise OutputError(f"{self.destination} can't be written: {reason}. Is the disk full?") from error


class _Statistics:
    """Statistics of a band as GDAL stores them, gathered while it is written."""

    def __init__(self) -> None:
        self.count, self.low, self.high, self.sum, self.squares = 0, np.inf, -np.inf, 0.0, 0.0

    def add(self, pixels: NDArray[Any]) -> None:
        if pixels.size:
            values = pixels.astype(np.float64)
            self.count += values.size
            self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
            self.sum += float(values.sum())
            values *= values  # no product of vectors: that would start threads of BLAS
            self.squares += float(values.sum())

    def tags(self) -> dict[str, str]:
        if not self.count:
            return {}
        mean = self.sum / self.count
        deviation = max(self.squares / self.count - mean**2, 0.0) ** 0.5
        return {
            "STATISTICS_MINIMUM": f"{self.low:.10g}",
            "STATISTICS_MAXIMUM": f"{self.high:.10g}",
            "STATISTICS_MEAN": f"{mean:.10g}",
            "STATISTICS_STDDEV": f"{deviation:.10g}",
        }


@cache
def compression() -> str:
    """ZSTD where GDAL has it, else DEFLATE."""
    profile = {"driver": "GTiff", "width": 1, "height": 1, "count": 1, "dtype": "uint8"}
    profile["transform"] = Affine.scale(2)  # without one, rasterio warns
    try:
        with MemoryFile() as file, file.open(**profile, compress="ZSTD"):  # type: ignore[no-untyped-call]
            return "ZSTD"
    except RasterioError:
        return "DEFLATE"


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)
