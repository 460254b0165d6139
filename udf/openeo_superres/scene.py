"""Scenes on disk: what a path holds is recognised, and read as harmonised DN through one interface.

Every reader ends in one :class:`BandFile` per band, from which :class:`Scene` reads any window. To read
one more kind of product, add a recogniser to ``RECOGNISERS``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from .bandfile import PIXEL, BandFile, Raster, band_name, inspect_raster, opened, radiometry, read_bands
from .errors import SceneError
from .sensor import BAND_NAMES, BANDS
from .udf import COARSE_BANDS, SuperresError, coarse_indices, refuse_reflectance, replication_phase

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from rasterio.crs import CRS

SUFFIXES = (".tif", ".tiff", ".jp2")
"""Of the files that are looked at in a folder."""
SAMPLES, SAMPLE_SIZE = 5, 256
"""Windows per axis, and their size in pixels, that tell the 20 m phase of replicated bands."""

Window = tuple[int, int, int, int]
"""``(col, row, width, height)`` in 10 m pixels of a scene."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Sentinel-2 bands on one 10 m grid, read by window."""

    kind: str
    path: Path
    crs: CRS | None
    transform: Affine
    """Of the 10 m grid."""
    width: int
    height: int
    files: tuple[BandFile, ...]
    """One per band, in the order of ``sensor.BANDS``."""
    phase: tuple[int, int]
    """Row and column, 0 or 1, of the first 20 m cell that starts inside the scene."""
    level: str | None = None
    """Processing level such as "L2A", where the name says it."""

    @property
    def name(self) -> str:
        """Stem for the names of products."""
        return self.path.name if self.path.is_dir() else self.path.stem

    @property
    def bands(self) -> tuple[str, ...]:
        """Band names in the order of :meth:`read`."""
        return tuple(file.band for file in self.files)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north in the scene's CRS."""
        west, north = self.transform.c, self.transform.f
        return west, north - PIXEL * self.height, west + PIXEL * self.width, north

    @property
    def nodata(self) -> float | None:
        """Nodata value of the files; NaN always is nodata too."""
        return self.files[0].nodata

    @property
    def dtype(self) -> str:
        """Data type of the files."""
        return self.files[0].dtype

    @property
    def offset(self) -> float:
        """What is added to the files' numbers to make DN of them."""
        return self.files[0].offset

    def read(self, window: Window) -> NDArray[np.float32]:
        """Read a window, which may reach beyond the scene.

        Args:
            window: ``(col, row, width, height)`` in 10 m pixels.

        Returns:
            ``(10, height, width)`` float32 DN on the 10 m grid, 20 m bands replicated 2 x 2, NaN for nodata
            and beyond the scene.

        Raises:
            SceneError: If a file can't be read or is damaged.
        """
        col, row, width, height = window
        result = np.full((len(self.files), height, width), np.nan, np.float32)
        left, right = max(col, 0), min(col + width, self.width)
        top, bottom = max(row, 0), min(row + height, self.height)
        if left >= right or top >= bottom:
            return result
        inner = result[:, top - row : bottom - row, left - col : right - col]
        for path in dict.fromkeys(file.path for file in self.files):
            # bands of one file are read together: it may be interleaved by pixel
            chosen = [i for i, file in enumerate(self.files) if file.path == path]
            with opened(path) as dataset:
                parts = read_bands([self.files[i] for i in chosen], dataset, (left, top, right, bottom))
                for i, part in zip(chosen, parts, strict=True):
                    inner[i] = part
        return result


def open_scene(source: str | Path, bands: Sequence[str] = BAND_NAMES) -> Scene:
    """Recognise a scene: a GeoTIFF with named bands, a pair of GeoTIFFs, or a folder of band files.

    Band names come from the band descriptions, or, in a folder with one file per band, from the file names.
    A pair is given as the path of either file, their names differing by ``10m`` and ``20m`` alone, or of a
    folder that holds these two. Numbers are DN, unless scale and offset tags say how they become reflectance.
    Nodata is what the file says, else 0 for unsigned integers, as in Sentinel-2 products.

    Args:
        source: Path of a file or a folder.
        bands: Those that are needed; the scene has no others.

    Raises:
        SceneError: If it is no such thing, lacks a band, or its bands don't lie on one grid.
    """
    path = Path(source)
    try:
        path = path.absolute()
        path.stat()
        for recognise in RECOGNISERS:
            if scene := recognise(path, bands):
                return scene
    except SuperresError:
        raise
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise SceneError(f"{path} can't be opened: {getattr(error, 'strerror', None) or error}.") from error
    raise SceneError(
        f"{path} is no scene that can be read. Expected a GeoTIFF whose band descriptions are "
        f"{', '.join(bands)}, two such GeoTIFFs named alike but for 10m and 20m, or a folder with one "
        "file per band (*_B02.tif and so on)."
    )


# ---- recognisers: from a path to a scene, or None where another one may know


def _stack(path: Path, bands: Sequence[str]) -> Scene | None:
    if path.is_dir():
        return None
    raster = inspect_raster(path)
    if not raster.bands or ({*bands} - raster.bands.keys() and _sibling(path)):
        return None
    return _assemble("stack", path, [raster], bands)


def _pair(path: Path, bands: Sequence[str]) -> Scene | None:
    # of other rasters in a folder, results among them, none is asked
    files = _raster_files(path) if path.is_dir() else [path]
    pairs = {
        frozenset((file, other)) for file in files if not band_name(file.stem) and (other := _sibling(file))
    }
    if not pairs:
        return None
    if len(pairs) > 1:
        listed = ", ".join(sorted(min(pair).name for pair in pairs))
        raise SceneError(f"{path} holds several pairs ({listed}); give the path of one file.")
    return _assemble("pair", path, [inspect_raster(file) for file in sorted(*pairs)], bands)


def _band_folder(path: Path, bands: Sequence[str]) -> Scene | None:
    if not path.is_dir():
        return None
    named = [(file, name) for file in _raster_files(path) if (name := band_name(file.stem)) in bands]
    # a product's own name may hold several: of sensing, of processing
    dates = {tuple(re.findall(r"(?<!\d)20\d{6}(?!\d)", file.stem)) for file, _ in named}
    if len(dates) > 1:
        listed = " and ".join(sorted(", ".join(found) or "no date" for found in dates))
        raise SceneError(f"{path} holds bands of several dates ({listed}); expected one scene in a folder.")
    rasters = [replace(inspect_raster(file), bands={name: 0}) for file, name in named if name]
    return _assemble("band folder", path, rasters, bands) if rasters else None


RECOGNISERS: tuple[Callable[[Path, Sequence[str]], Scene | None], ...] = (_stack, _pair, _band_folder)


def _raster_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _sibling(path: Path) -> Path | None:
    """The other file of a pair: its name has 20m for 10m, or the other way round."""
    name = re.sub(r"(?i)(?<!\d)[12](?=0m(?![a-z]))", lambda match: "21"[match[0] == "2"], path.name)
    sibling = path.with_name(name)
    return sibling if sibling != path and sibling.is_file() else None


# ---- from files to a scene


def _assemble(kind: str, path: Path, rasters: Sequence[Raster], bands: Sequence[str]) -> Scene:
    """Choose a file for each band, check that all lie on one grid, and find the 20 m phase."""
    there = {name for raster in rasters for name in raster.bands}
    if missing := [name for name in bands if name not in there & {*BAND_NAMES}]:
        raise SceneError(
            f"{path} lacks band {', '.join(missing)}. The bands {', '.join(bands)} are needed; "
            f"found {', '.join(sorted(there)) or 'none with a name'}."
        )
    chosen = {band.name: _choose(band.name, band.resolution, rasters) for band in BANDS if band.name in bands}
    grid = next(iter(chosen.values()))
    if grid.step == 2:
        # there are 20 m bands alone
        finer = Affine(PIXEL, 0, grid.transform.c, 0, -PIXEL, grid.transform.f)
        grid = replace(grid, transform=finer, width=2 * grid.width, height=2 * grid.height)
    files = tuple(_place(name, raster, grid) for name, raster in chosen.items())
    if len({(file.gain, file.offset) for file in files}) > 1:
        listed = ", ".join(f"{file.band} {file.gain:g} * raw {file.offset:+g}" for file in files)
        raise SceneError(
            f"{path} has bands with different scales or offsets ({listed}); expected one for all."
        )
    level = re.search(r"(?<![A-Z0-9])(?:MSI)?(L1C|L2A|L3A)(?![A-Z0-9])", path.name.upper())
    scene = Scene(
        kind,
        path,
        grid.crs,
        grid.transform,
        grid.width,
        grid.height,
        files,
        phase=(0, 0),
        level=level[1] if level else None,
    )
    phase = _native_phase(scene)
    untold = any(np.dtype(file.dtype).kind == "f" and file.gain == 1 for file in files)
    if phase is None or untold:
        samples = _samples(scene)
        try:
            if untold:
                refuse_reflectance(samples)
            if phase is None:
                phase = _replicated_phase(scene, samples)
        except SuperresError as error:
            raise SceneError(f"{path}: {error}") from error
    return replace(scene, phase=phase)


def _choose(name: str, resolution: int, rasters: Sequence[Raster]) -> Raster:
    """The file that holds a band at its own resolution, else (20 m bands) replicated on the 10 m grid."""
    holders = [raster for raster in rasters if name in raster.bands]
    for raster in holders:
        a, b, _, d, e, _ = raster.transform[:6]
        if b or d or e >= 0 or abs(a + e) > 1e-6 * abs(a):
            raise SceneError(
                f"{raster.path} has no georeference, or is rotated, flipped or not square; expected a "
                "north-up grid with square pixels."
            )
    for size in sorted({resolution, PIXEL}, reverse=True):
        matching = [raster for raster in holders if abs(raster.transform.a - size) < 1e-6 * size]
        if len(matching) > 1:
            listed = ", ".join(raster.path.name for raster in matching)
            raise SceneError(
                f"Band {name} is in several files of {matching[0].path.parent} ({listed}); expected one: "
                "put each scene into a folder of its own."
            )
        if matching:
            return matching[0]
    raise SceneError(
        f"{holders[0].path} has pixels of {holders[0].transform.a:g} in the units of {holders[0].crs}; "
        f"expected {resolution} m for {name}, on the grid of the Sentinel-2 product."
    )


def _place(name: str, raster: Raster, grid: Raster) -> BandFile:
    """Put a band on the grid of the scene's first band."""
    if raster.crs != grid.crs:
        raise SceneError(
            f"{raster.path} is in {raster.crs}, but {grid.path} is in {grid.crs}; expected one for all bands."
        )
    col, row = (
        (raster.transform.c - grid.transform.c) / PIXEL,
        (grid.transform.f - raster.transform.f) / PIXEL,
    )
    if max(abs(col - round(col)), abs(row - round(row))) > 0.01:
        raise SceneError(
            f"{raster.path} starts {col:g} columns and {row:g} rows of 10 m from {grid.path}; "
            "expected whole ones."
        )
    index = raster.bands[name]
    gain, offset = radiometry(raster, index)
    file = BandFile(
        band=name,
        path=raster.path,
        index=index,
        step=raster.step,
        col=round(col),
        row=round(row),
        width=raster.width,
        height=raster.height,
        dtype=raster.dtypes[index],
        nodata=raster.nodata[index],
        gain=gain,
        offset=offset,
    )
    if file.step == 1 and (file.col, file.row, file.width, file.height) != (0, 0, grid.width, grid.height):
        raise SceneError(f"{file.path} covers another area than {grid.path}; expected the same 10 m grid.")
    right, bottom = file.col + file.step * file.width, file.row + file.step * file.height
    if file.col >= grid.width or file.row >= grid.height or right <= 0 or bottom <= 0:
        raise SceneError(f"{file.path} does not overlap {grid.path}; expected bands of one scene.")
    return file


def _native_phase(scene: Scene) -> tuple[int, int] | None:
    """Phase of the 20 m cells on a grid of their own; None where they are replicated on the 10 m grid."""
    coarse = [file for file in scene.files if file.band in COARSE_BANDS]
    if not coarse:
        return _phase_of_tiles(scene)
    first = coarse[0]
    for file in coarse:
        if file.step != first.step or (file.step == 2 and file.phase != first.phase):
            raise SceneError(f"{file.path} lies on another grid than {first.path}; expected one 20 m grid.")
    return first.phase if first.step == 2 else None


def _phase_of_tiles(scene: Scene) -> tuple[int, int]:
    """The 20 m grid of a Sentinel-2 tile starts on a multiple of 20 m."""
    return round(scene.transform.f / PIXEL) % 2, round(scene.transform.c / PIXEL) % 2


def _replicated_phase(scene: Scene, samples: NDArray[np.float32]) -> tuple[int, int]:
    """Phase of 20 m cells that are replicated on the 10 m grid, from samples of the scene."""
    return replication_phase(samples[:, coarse_indices(scene.bands)], default=_phase_of_tiles(scene))


def _samples(scene: Scene) -> NDArray[np.float32]:
    """Windows spread over the scene, from even pixels: ``(n, bands, y, x)`` as :meth:`Scene.read`."""
    rows, cols = (
        sorted({int(start) // 2 * 2 for start in np.linspace(0, max(size - SAMPLE_SIZE, 0), SAMPLES)})
        for size in (scene.height, scene.width)
    )
    return np.stack([scene.read((col, row, SAMPLE_SIZE, SAMPLE_SIZE)) for row, col in product(rows, cols)])
