"""Files that a result consists of: their names, and whether they may be written."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import OutputError
from .output import check_target
from .udf import PIXEL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .card import ModelCard
    from .grid import Scene

SUFFIXES = (".tif", ".tiff")
CURE = (
    "remove it, choose another name, allow overwriting (--overwrite), or leave out what is complete "
    "(--skip-existing)"
)
"""Where a result exists."""
BESIDE = (".aux.xml", ".ovr", ".msk")
"""Ends of files in which GDAL and QGIS keep statistics, overviews and a mask beside a raster."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Paths of a result."""

    raster: Path
    compare: str | None = None
    """With what: a second raster, ``<stem>_<compare>.tif``."""
    sidecars: bool = False
    """Whether there is a STAC item beside the raster, and a style beside each of them."""
    uncertainty: bool = False
    """Whether there is a raster of half-widths, ``<stem>_uncertainty.tif``."""

    @property
    def rasters(self) -> list[Path]:
        """The result, what it is compared with, and how far it may be off."""
        ends = [*([self.compare] if self.compare else []), *(["uncertainty"] if self.uncertainty else [])]
        names = [f"{self.raster.stem}_{end}{self.raster.suffix}" for end in ends]
        return [self.raster, *(self.raster.with_name(name) for name in names)]

    @property
    def item(self) -> Path | None:
        """STAC item of the result."""
        return self.raster.with_suffix(".json") if self.sidecars else None

    @property
    def styles(self) -> list[Path]:
        """QGIS styles, one per raster."""
        return [raster.with_suffix(".qml") for raster in self.rasters] if self.sidecars else []

    @property
    def files(self) -> list[Path]:
        """All of them."""
        return [*self.rasters, *([self.item] if self.item else []), *self.styles]

    def check(self, inputs: Iterable[str | Path], *, overwrite: bool) -> None:
        """Refuse what could not be written, before any work.

        Args:
            inputs: Paths of what is read, which are never overwritten.
            overwrite: Whether existing files may be replaced.

        Raises:
            OutputError: If a file is there, or can't be.
        """
        if self.raster.suffix.lower() not in SUFFIXES:
            raise OutputError(
                f"{self.raster} has no name for a GeoTIFF; expected one that ends in .tif, or a folder that "
                "exists."
            )
        if not self.raster.parent.is_dir():
            raise OutputError(f"The folder {self.raster.parent} does not exist; make it first.")
        read = [*map(Path, inputs)]
        for target in self.files:
            check_target(target, read, overwrite=overwrite, cure=CURE)

    def remove_leftovers(self) -> None:
        """Remove hidden files of runs that were killed while they wrote one of these, where we may."""
        if os.name != "posix":  # elsewhere, asking whether a process lives may end it
            return
        names = "|".join(re.escape(target.name) for target in self.files)
        with suppress(OSError):
            for path in self.raster.parent.iterdir():
                match = re.fullmatch(rf"\.(?:{names})\.(\d+)\.part.*", path.name)
                if match and not _alive(int(match[1])):
                    path.unlink(missing_ok=True)

    def remove_earlier(self) -> None:
        """Remove what would describe an earlier raster, before the new one gets its name.

        Half-widths of an earlier raster are among it, where the new one has none.

        Raises:
            OutputError: If that can't be done.
        """
        beside = [raster.with_name(raster.name + end) for raster in self.rasters for end in BESIDE]
        if not self.uncertainty and self.raster.exists():
            stale = replace(self, uncertainty=True).rasters[-1]
            beside += [
                stale,
                stale.with_suffix(".qml"),
                *(stale.with_name(stale.name + end) for end in BESIDE),
            ]
        for path in (*([self.item] if self.item else []), *self.styles, *beside):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(f"{path} can't be removed: {error.strerror or error}.") from error


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def result_path(folder: Path, scene: Scene, card: ModelCard) -> Path:
    """What a result is called in a folder: ``<scene>_SR5M_<model>.tif``, 5 for the pixels' size."""
    return folder / f"{scene.name}_SR{PIXEL / card.scale:g}M_{card.name}.tif"
