"""Scenes in plain raster files: a GeoTIFF with named bands, a pair of them, a folder with one per band."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from openeo_superres.bandfile import band_name, inspect_raster, level_name
from openeo_superres.errors import SceneError
from openeo_superres.grid import Scene, assemble

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from openeo_superres.bandfile import Raster

SUFFIXES = (".tif", ".tiff", ".jp2")
"""Of the files that are looked at in a folder."""


def read_stack(path: Path, bands: Sequence[str]) -> list[Scene]:
    """A GeoTIFF whose band descriptions name the bands: see :data:`openeo_superres.scene.RECOGNISERS`."""
    if path.is_dir():
        return []
    raster = inspect_raster(path)
    if not raster.bands or ({*bands} - raster.bands.keys() and _sibling(path)):
        return []
    return [_plain("stack", path, [raster], bands)]


def read_pair(path: Path, bands: Sequence[str]) -> list[Scene]:
    """Two GeoTIFFs named alike but for 10m and 20m, by either of them or by their folder."""
    # of other rasters in a folder, results among them, none is asked
    files = _raster_files(path) if path.is_dir() else [path]
    pairs = {
        frozenset((file, other)) for file in files if not band_name(file.stem) and (other := _sibling(file))
    }
    if not pairs:
        return []
    if len(pairs) > 1:
        listed = ", ".join(sorted(min(pair).name for pair in pairs))
        raise SceneError(f"{path} holds several pairs ({listed}); give the path of one file.")
    return [_plain("pair", path, [inspect_raster(file) for file in sorted(*pairs)], bands)]


def read_band_folder(path: Path, bands: Sequence[str]) -> list[Scene]:
    """A folder with one file per band, whose name says which (``*_B02.tif`` and so on)."""
    if not path.is_dir():
        return []
    named = [(file, name) for file in _raster_files(path) if (name := band_name(file.stem)) in bands]
    # a product's own name may hold several: of sensing, of processing
    dates = {tuple(re.findall(r"(?<!\d)20\d{6}(?!\d)", file.stem)) for file, _ in named}
    if len(dates) > 1:
        listed = " and ".join(sorted(", ".join(found) or "no date" for found in dates))
        raise SceneError(f"{path} holds bands of several dates ({listed}); expected one scene in a folder.")
    rasters = [replace(inspect_raster(file), bands={name: 0}) for file, name in named if name]
    return [_plain("band folder", path, rasters, bands)] if rasters else []


def _plain(kind: str, path: Path, rasters: Sequence[Raster], bands: Sequence[str]) -> Scene:
    """A scene of files that say nothing of themselves but their tags."""
    name = path.name if path.is_dir() else path.stem
    scene = assemble(kind, str(path), rasters, bands, name=name, level=level_name(path.name))
    if len({(file.gain, file.offset) for file in scene.files}) > 1:
        listed = ", ".join(f"{file.band} {file.gain:g} * raw {file.offset:+g}" for file in scene.files)
        raise SceneError(
            f"{path} has bands with different scales or offsets ({listed}); expected one for all."
        )
    return scene


def _raster_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES and file.is_file())


def _sibling(path: Path) -> Path | None:
    """The other file of a pair: its name has 20m for 10m, or the other way round."""
    name = re.sub(r"(?i)(?<!\d)[12](?=0m(?![a-z]))", lambda match: "21"[match[0] == "2"], path.name)
    sibling = path.with_name(name)
    return sibling if sibling != path and sibling.is_file() else None
