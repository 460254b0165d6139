"""Scenes in NetCDF files, as openEO back-ends and xarray write cubes: one per date."""

from __future__ import annotations

import re
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from affine import Affine

from openeo_superres.bandfile import Raster, band_name, level_name, reading
from openeo_superres.errors import SceneError
from openeo_superres.grid import Scene, assemble, shared_phase

from .cdf import is_netcdf, opened_variables
from .cf import LARGEST_AXIS, TIME_AXES, Numbers, crs_of, dates_of, edge_of, texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from rasterio.crs import CRS

    from .cdf import Variable

BAND_AXES = ("bands", "band")
DRIVER = "netCDF"
"""Of such files in a scene: GDAL's name of the format, though it is not GDAL that reads them."""

Rows = tuple[tuple[int, int], tuple[int, int]]
"""Of a window: (first row, last + 1), (first column, last + 1)."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One band of all dates."""

    name: str | None
    variable: str
    index: int | None
    """Along the dimension of bands, if there is one."""


@dataclass(frozen=True, slots=True)
class Cube:
    """An open file, read by band and date as a dataset of rasterio is read by band."""

    variables: Mapping[str, Variable]
    planes: tuple[Plane, ...]
    dates: tuple[str | None, ...]
    """ISO 8601, one at least."""
    crs: CRS | None
    transform: Affine
    width: int
    height: int
    ascending: bool
    """Whether rows are stored from south to north."""

    def read(self, indexes: Sequence[int], window: Rows) -> list[NDArray[Any]]:
        """Read a window of some bands.

        Args:
            indexes: From 1: of the plane, plus the number of planes for each date before.
            window: Rows and columns of the north-up grid.

        Returns:
            ``(rows, columns)`` numbers for each index.

        Raises:
            OSError: If they can't be read.
        """
        wanted = [divmod(index - 1, len(self.planes)) for index in indexes]
        images: dict[tuple[int, int], NDArray[Any]] = {}
        groups: dict[tuple[int, str], list[int]] = {}
        for date, plane in wanted:
            groups.setdefault((date, self.planes[plane].variable), []).append(plane)
        for (date, name), planes in groups.items():
            stack = self._stack(self.variables[name], date, planes, window)
            for plane, image in zip(planes, stack, strict=True):
                images[date, plane] = image
        return [images[key] for key in wanted]

    def _stack(
        self, variable: Variable, date: int, planes: Sequence[int], window: Rows
    ) -> Iterator[NDArray[Any]]:
        """The window of planes of one variable, which are read at once: a chunk may hold several."""
        (top, bottom), (left, right) = window
        if self.ascending:
            top, bottom = self.height - bottom, self.height - top
        bands = [self.planes[plane].index or 0 for plane in planes]
        parts = {"y": slice(top, bottom), "x": slice(left, right)}
        parts |= dict.fromkeys(TIME_AXES, slice(date, date + 1))
        parts |= dict.fromkeys(BAND_AXES, slice(min(bands), max(bands) + 1))
        numbers = variable.read(tuple(parts.get(dim, slice(0, 1)) for dim in variable.dims))
        order = sorted(range(numbers.ndim), key=lambda axis: "yx".find(variable.dims[axis]))
        stack = numbers.transpose(order).reshape(-1, bottom - top, right - left)
        meaning = Numbers.of(variable)
        for band in bands:
            image = meaning.read(np.ascontiguousarray(stack[band - min(bands)]))
            yield image[::-1] if self.ascending else image


@contextmanager
def opened_cube(path: str) -> Iterator[Cube]:
    """Open a NetCDF file.

    Raises:
        SceneError: If it can't be read, or holds no bands on a grid.
    """
    with ExitStack() as stack:
        with reading(path):
            cube = _cube(path, stack.enter_context(opened_variables(path)))
        yield cube


def read_netcdf(path: Path, bands: Sequence[str]) -> list[Scene]:
    """A NetCDF file, with a variable per band or a dimension of bands.

    Numbers are decoded once, by the attributes of the CF conventions. Where none says what is nodata it is
    NetCDF's own fill value (65535 of 16 bits without a sign), and NaN; 0 is a number.
    See :data:`openeo_superres.scene.RECOGNISERS`.
    """
    if not path.is_file() or not is_netcdf(path):
        return []
    with opened_cube(str(path)) as cube:
        names = [plane.name for plane in cube.planes]
        if repeated := sorted({name for name in names if name and names.count(name) > 1}):
            raise SceneError(f"{path} has several bands named {', '.join(repeated)}; expected one of each.")
        raster, dates = _raster(str(path), cube), cube.dates
        told = " ".join([path.name, *(plane.variable for plane in cube.planes)])
    scene = assemble(
        "NetCDF", str(path), [raster], bands, name=path.stem, level=level_name(told), date=dates[0]
    )
    if len(dates) == 1:
        return [scene]
    scenes = [
        replace(
            scene,
            name=f"{path.stem}_{re.sub(r'[-:]', '', date or str(i))}",
            date=date,
            files=tuple(replace(file, index=file.index + i * len(names)) for file in scene.files),
        )
        for i, date in enumerate(dates)
    ]
    phase = shared_phase(scenes)
    return [replace(scene, phase=phase) for scene in scenes]


def _raster(path: str, cube: Cube) -> Raster:
    """What the file says of the first date."""
    meanings = [Numbers.of(cube.variables[plane.variable]) for plane in cube.planes]
    return Raster(
        path,
        DRIVER,
        {plane.name: index for index, plane in enumerate(cube.planes) if plane.name},
        cube.crs,
        cube.transform,
        cube.width,
        cube.height,
        tuple("float32" if it.unpacked else it.dtype.name for it in meanings),
        tuple(None if it.unpacked else it.nodata for it in meanings),
        tuple(1.0 if it.unpacked else it.scale for it in meanings),
        tuple(0.0 if it.unpacked else it.offset for it in meanings),
    )


# ---- what a file holds


def _cube(path: str, variables: Mapping[str, Variable]) -> Cube:
    holders: dict[str, Variable] = {}
    planes: list[Plane] = []
    for name, variable in variables.items():
        if {"y", "x"} <= {*variable.dims} and variable.dtype.kind in "iuf":
            if not all(0 < size <= LARGEST_AXIS for size in variable.shape):
                raise SceneError(
                    f"{path} declares {name} with {' x '.join(map(str, variable.shape))} numbers; expected "
                    f"no more than {LARGEST_AXIS} in a dimension, and at least one."
                )
            found = _planes(name, variable, variables)
            if any(plane.name for plane in found):
                holders[name] = variable
                planes += found
    if not holders:
        listed = ", ".join(f"{name} ({', '.join(it.dims)})" for name, it in variables.items()) or "none"
        raise SceneError(
            f"{path} has no bands on a grid. Expected variables B02, B03 and so on with dimensions "
            f"(t, y, x), or one with a dimension of bands whose labels are these; it has {listed}."
        )
    first = next(iter(holders))
    sizes = dict(zip(holders[first].dims, holders[first].shape, strict=True))
    for name, variable in holders.items():
        there = dict(zip(variable.dims, variable.shape, strict=True))
        grid = {dim: size for dim, size in there.items() if dim not in BAND_AXES}
        if grid != {dim: size for dim, size in sizes.items() if dim not in BAND_AXES}:
            raise SceneError(f"{path} has {name} of {there}, but {first} of {sizes}; expected one grid.")
        others = [dim for dim in there if dim not in {"y", "x", *BAND_AXES, *TIME_AXES}]
        if further := [dim for dim in others if there[dim] > 1]:
            raise SceneError(
                f"{path} has {name} with a dimension {further[0]} of {there[further[0]]}; expected t, bands, "
                "y and x alone: choose one of it first."
            )
    axis = next((dim for dim in TIME_AXES if dim in sizes), None)
    (west, across), (north, down) = (edge_of(path, dim, variables.get(dim), sizes[dim]) for dim in ("x", "y"))
    ascending = down > 0
    if ascending:
        north += down * sizes["y"]
    return Cube(
        variables,
        tuple(planes),
        dates_of(path, variables, axis, sizes.get(axis or "", 1)),
        crs_of(path, holders[first], variables),
        Affine(across, 0, west, 0, -abs(down), north),
        sizes["x"],
        sizes["y"],
        ascending,
    )


def _planes(name: str, variable: Variable, variables: Mapping[str, Variable]) -> list[Plane]:
    """Bands of a variable: of its labels, of the names that rioxarray keeps, or its own."""
    axis = next((dim for dim in BAND_AXES if dim in variable.dims), None)
    titles = variable.attrs.get("long_name", "")
    if axis is None:
        return [Plane(band_name(name) or band_name(titles if isinstance(titles, str) else ""), name, None)]
    count = variable.shape[variable.dims.index(axis)]
    labels = texts(variables[axis]) if axis in variables else []
    if not any(map(band_name, labels)):
        labels = [str(title) for title in np.atleast_1d(titles)]
    if len(labels) != count:
        return []
    return [Plane(band_name(label), name, index) for index, label in enumerate(labels)]
