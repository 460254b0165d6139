"""Bands on one 10 m grid: a scene, put together from the rasters that a reader found, and read by window."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine

from .bandfile import PIXEL, BandFile, Raster, opened, radiometry, read_bands
from .errors import SceneError
from .sensor import BAND_NAMES, BANDS
from .udf import (
    COARSE_BANDS,
    SuperresError,
    coarse_indices,
    decide_phase,
    phase_votes,
    refuse_reflectance,
    replication_phase,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from rasterio.crs import CRS
    from rasterio.io import DatasetReader

SAMPLES, SAMPLE_SIZE = 5, 256
"""Windows per axis, and their size in pixels, that tell the 20 m phase of replicated bands."""
VOTERS = 16
"""Dates, spread over a cube, that are asked for the phase of replicated bands."""

Window = tuple[int, int, int, int]
"""``(col, row, width, height)`` in 10 m pixels of a scene."""


@dataclass(frozen=True, slots=True)
class Mask:
    """Pixels that a product's own mask takes for nodata."""

    file: BandFile
    values: frozenset[int] = frozenset()
    """Classes that are hidden."""
    bits: int = 0
    """Bits of which any hides a pixel."""
    resolution: int | None = None
    """Bands that it is for, by their resolution in metres; None: all."""

    def hides(self, numbers: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Where the mask's numbers, float32 of any shape and NaN outside, hide a pixel."""
        hidden = np.isin(numbers, list(self.values))
        if self.bits:
            hidden |= (np.nan_to_num(numbers).astype(np.int64) & self.bits) != 0
        return hidden


@dataclass(frozen=True, slots=True)
class Scene:
    """Sentinel-2 bands on one 10 m grid, read by window."""

    kind: str
    path: str
    """What was opened: a file, a folder, or an address."""
    name: str
    """Of the product, the stem for the names of results."""
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
    """Processing level such as "L2A", where it is known."""
    baseline: str | None = None
    """Processing baseline such as "05.09", where it is known."""
    date: str | None = None
    """Of sensing, in UTC as ISO 8601 ("2026-06-01T10:00:29" or "2026-06-01"), where it is known."""
    masks: Mapping[str, BandFile] = field(default_factory=dict)
    """The product's own masks by name, such as "SCL"."""
    hidden: tuple[Mask, ...] = ()
    """What takes pixels for nodata, beside the bands' own nodata value."""

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
    def offset(self) -> float | dict[str, float]:
        """What is added to the files' numbers to make DN of them; by band, where they differ."""
        offsets = {file.band: file.offset for file in self.files}
        return offsets if len({*offsets.values()}) > 1 else self.files[0].offset

    def read(self, window: Window) -> NDArray[np.float32]:
        """Read one window: see :meth:`opened`."""
        with self.opened() as read:
            return read(window)

    @contextmanager
    def opened(self, threads: int = 1) -> Iterator[Callable[[Window], NDArray[np.float32]]]:
        """Keep the files open to read many windows, from one thread at a time.

        Args:
            threads: That decode files at once.

        Yields:
            A function from a window ``(col, row, width, height)`` in 10 m pixels, which may reach beyond the
            scene, to ``(bands, height, width)`` float32 DN on the 10 m grid, 20 m bands replicated 2 x 2, NaN
            for nodata and beyond the scene. It raises SceneError if a file can't be read or is damaged.

        Raises:
            SceneError: If a file can't be opened.
        """
        wanted = [*self.files, *(mask.file for mask in self.hidden)]
        # bands of one file are read together: it may be interleaved by pixel
        groups = [
            [i for i, file in enumerate(wanted) if file.path == path]
            for path in dict.fromkeys(file.path for file in wanted)
        ]
        with ExitStack() as stack:
            datasets = [
                stack.enter_context(opened(wanted[group[0]].path, wanted[group[0]].driver))
                for group in groups
            ]
            pool = stack.enter_context(ThreadPoolExecutor(threads))

            def read(window: Window) -> NDArray[np.float32]:
                col, row, width, height = window
                result = np.full((len(self.files), height, width), np.nan, np.float32)
                left, right = max(col, 0), min(col + width, self.width)
                top, bottom = max(row, 0), min(row + height, self.height)
                if left >= right or top >= bottom:
                    return result
                inner = result[:, top - row : bottom - row, left - col : right - col]
                numbers: dict[int, NDArray[np.float32]] = {}

                def decode(group: list[int], dataset: DatasetReader) -> None:
                    parts = read_bands([wanted[i] for i in group], dataset, (left, top, right, bottom))
                    for i, part in zip(group, parts, strict=True):
                        if i < len(inner):
                            inner[i] = part
                        else:
                            numbers[i - len(inner)] = part

                list(pool.map(decode, groups, datasets))
                self._hide(inner, numbers)
                return result

            yield read

    def _hide(self, image: NDArray[np.float32], numbers: Mapping[int, NDArray[np.float32]]) -> None:
        """Make nodata of what the masks hide, given their numbers."""
        for i, mask in enumerate(self.hidden):
            hidden = mask.hides(numbers[i])
            if hidden.any():
                for band, pixels in zip(self.files, image, strict=True):
                    if mask.resolution in {None, _resolution(band.band)}:
                        pixels[hidden] = np.nan


def _resolution(name: str) -> int:
    return 20 if name in COARSE_BANDS else 10


# ---- from files to a scene


def assemble(
    kind: str,
    path: str,
    rasters: Sequence[Raster],
    bands: Sequence[str] = BAND_NAMES,
    *,
    name: str,
    masks: Mapping[str, Raster] | None = None,
    level: str | None = None,
    baseline: str | None = None,
    date: str | None = None,
) -> Scene:
    """Choose a file for each band, check that all lie on one grid, and find the 20 m phase.

    Args:
        kind: Of the source, for people.
        path: What was opened.
        rasters: The files, whose ``bands`` may have names that are not needed.
        bands: Those that are needed; the scene has no others.
        name: See :class:`Scene`, as are the following.
        masks: By name; the first band of each.
        level: See :class:`Scene`.
        baseline: See :class:`Scene`.
        date: See :class:`Scene`.

    Raises:
        SceneError: If a band is missing or in several files, or its bands don't lie on one grid.
    """
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
    scene = Scene(
        kind,
        path,
        name,
        grid.crs,
        grid.transform,
        grid.width,
        grid.height,
        tuple(_place(band, raster, raster.bands[band], grid) for band, raster in chosen.items()),
        phase=(0, 0),
        level=level,
        baseline=baseline,
        date=date,
        masks={name: _place(name, raster, 0, grid) for name, raster in (masks or {}).items()},
    )
    phase = _native_phase(scene)
    untold = _untold(scene)
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


def _untold(scene: Scene) -> bool:
    """Whether nothing tells reflectance from DN but the pixels."""
    return any(np.dtype(file.dtype).kind == "f" and file.gain == 1 for file in scene.files)


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
            listed = ", ".join(raster.name for raster in matching)
            raise SceneError(
                f"Band {name} is in several files of {matching[0].folder} ({listed}); expected one: "
                "put each scene into a folder of its own."
            )
        if matching:
            return matching[0]
    raise SceneError(
        f"{holders[0].path} has pixels of {holders[0].transform.a:g} in the units of {holders[0].crs}; "
        f"expected {resolution} m for {name}, on the grid of the Sentinel-2 product."
    )


def _place(name: str, raster: Raster, index: int, grid: Raster) -> BandFile:
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
    is_band = name in BAND_NAMES
    gain, offset = radiometry(raster, index) if is_band else (1.0, 0.0)
    file = BandFile(
        band=name,
        path=raster.path,
        driver=raster.driver,
        index=index,
        step=raster.step,
        col=round(col),
        row=round(row),
        width=raster.width,
        height=raster.height,
        dtype=raster.dtypes[index],
        nodata=raster.nodata[index] if is_band else None,
        gain=gain,
        offset=offset,
        block_rows=raster.block_rows,
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


def shared_phase(scenes: Sequence[Scene]) -> tuple[int, int]:
    """One phase for all dates of a cube: one that is flat, or hidden by clouds, does not tell it.

    Raises:
        SceneError: If the numbers are reflectance, or the 20 m bands were resampled smoothly.
    """
    first = scenes[0]
    native = _native_phase(first)
    votes = np.zeros((2, 2, 2), np.int64)
    try:
        for i in np.unique(np.linspace(0, len(scenes) - 1, VOTERS, dtype=int)):
            numbers = _samples(scenes[i])
            if _untold(first):
                refuse_reflectance(numbers)
            if native is None:
                votes += phase_votes(numbers[:, coarse_indices(first.bands)])
        return native or decide_phase(votes, _phase_of_tiles(first))
    except SceneError:
        raise
    except SuperresError as error:
        raise SceneError(f"{first.path}: {error}") from error


def _samples(scene: Scene) -> NDArray[np.float32]:
    """Windows spread over the scene, from even pixels: ``(n, bands, y, x)`` as :meth:`Scene.read`."""
    rows, cols = (
        sorted({int(start) // 2 * 2 for start in np.linspace(0, max(size - SAMPLE_SIZE, 0), SAMPLES)})
        for size in (scene.height, scene.width)
    )
    with scene.opened() as read:
        return np.stack([read((col, row, SAMPLE_SIZE, SAMPLE_SIZE)) for row, col in product(rows, cols)])
