"""Scenes: what a path or an address holds is recognised, and read as harmonised DN through one interface.

To read one more kind of product, add a recogniser to ``RECOGNISERS``: it finds the files, says what their
numbers mean, and hands them to :func:`openeo_superres.grid.assemble`.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import SceneError, UnknownSceneError
from .grid import Scene, Window
from .readers.asset import REMOTE
from .readers.geotiff import read_band_folder, read_pair, read_stack
from .readers.netcdf import read_netcdf
from .readers.safe import read_safe
from .readers.stac import read_stac
from .readers.theia import read_theia
from .sensor import BAND_NAMES
from .udf import SuperresError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RECOGNISERS", "Scene", "Window", "open_scene", "open_scenes"]

RECOGNISERS: tuple[Callable[[Path, Sequence[str]], list[Scene]], ...] = (
    read_safe,
    read_netcdf,
    read_theia,
    read_stac,
    read_stack,
    read_pair,
    read_band_folder,
)
"""From a path and the bands that are needed to scenes, one per date; to none where another may know."""


def open_scenes(source: str | Path, bands: Sequence[str] = BAND_NAMES) -> list[Scene]:
    """Recognise scenes: a product of ESA or Theia, a NetCDF, a GeoTIFF, a pair of them, or a folder of bands.

    A product is L1C or L2A of ESA (SAFE) or L2A or L3A of Theia, as a folder or a zip; its metadata say what
    its numbers mean. For SAFE also what holds one, its XML or manifest, or one of its granules will do. So
    does the JSON, or its http(s) address, of a STAC item of L1C or L2A, whose files may be anywhere.

    Band names come from the band descriptions, or, in a folder with one file per band, from the file names.
    A pair is given as the path of either file, their names differing by ``10m`` and ``20m`` alone, or of a
    folder that holds these two. Numbers are DN, unless scale and offset tags say how they become reflectance.
    Nodata is what the file says, else 0 for unsigned integers, as in Sentinel-2 products. A NetCDF is a cube
    as openEO back-ends and xarray write it: a variable per band, or a dimension of bands; for its nodata see
    :func:`openeo_superres.readers.netcdf.read_netcdf`.

    Args:
        source: Path of a file or a folder, or the address of a STAC item.
        bands: Those that are needed; the scenes have no others.

    Returns:
        One scene per date, at least one.

    Raises:
        SceneError: If it is no such thing, lacks a band, or its bands don't lie on one grid.
    """
    if str(source).startswith(REMOTE):
        return read_stac(str(source), bands)
    path = Path(source)
    try:
        path = path.absolute()
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            # reading a pipe may never end
            raise SceneError(f"{path} is neither a file nor a folder; expected one of them.")
        for recognise in RECOGNISERS:
            if scenes := recognise(path, bands):
                return scenes
    except SuperresError:
        raise
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise SceneError(f"{path} can't be opened: {getattr(error, 'strerror', None) or error}.") from error
    raise UnknownSceneError(
        f"{path} is no scene that can be read. Expected a product of ESA (a folder *.SAFE or a zip of it) or "
        f"of Theia, a STAC item, a NetCDF cube, a GeoTIFF whose band descriptions are {', '.join(bands)}, "
        "two such GeoTIFFs named alike but for 10m and 20m, or a folder with one file per band (*_B02.tif)."
    )


def open_scene(
    source: str | Path | Scene, bands: Sequence[str] = BAND_NAMES, *, date: str | None = None
) -> Scene:
    """Recognise one scene: see :func:`open_scenes`.

    Args:
        source: Path of a file or a folder. A scene that is open stays as it is.
        bands: Those that are needed; the scene has no others.
        date: Which one of several, as the beginning of an ISO 8601 date ("2026-06-01").

    Raises:
        SceneError: See :func:`open_scenes`; and if there are several dates, or none of that date.
    """
    if isinstance(source, Scene):
        return source
    scenes = open_scenes(source, bands)
    chosen = [scene for scene in scenes if date is None or (scene.date or "").startswith(date)]
    if len(chosen) == 1:
        return chosen[0]
    listed = ", ".join(scene.date or "not known" for scene in scenes)
    if chosen:
        raise SceneError(f"{source} holds several dates ({listed}); choose one of them (--date).")
    raise SceneError(f"{source} has nothing of {date}; its dates: {listed}.")
