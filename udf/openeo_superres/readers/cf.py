"""The CF conventions of NetCDF: what numbers mean, and coordinates, labels, dates and the CRS of a grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from rasterio.crs import CRS
from rasterio.errors import CRSError

from openeo_superres.bandfile import PIXEL
from openeo_superres.errors import SceneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from .cdf import Variable

TIME_AXES = ("t", "time")
GRID_MAPPINGS = ("crs", "spatial_ref")
"""Variables that hold the CRS where no band says which does."""
CRS_FACTS = ("crs_wkt", "spatial_ref", "epsg_code", "proj4")
LARGEST_AXIS = 1_000_000
"""Of any dimension; a Sentinel-2 tile has 10 980 pixels a side."""
DEFAULT_FILL = {"i2": -32767, "u2": 65535, "i4": -2147483647, "u4": 4294967295, "f4": 2.0**123 * 0.9375}
"""NetCDF's own nodata, by type, where a variable names none. A byte has none."""
DEFAULT_FILL["f8"] = DEFAULT_FILL["f4"]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a variable's numbers mean."""

    dtype: np.dtype[Any]
    nodata: float | None
    scale: float
    offset: float
    others: tuple[float, ...] = ()
    """More values that mean nodata."""
    unpacked: bool = False
    """Whether ``scale * raw + offset`` is DN already, and is what is read."""

    @classmethod
    def of(cls, variable: Variable) -> Numbers:
        """Read the CF attributes of a variable."""
        dtype, attrs = variable.dtype, variable.attrs
        if dtype.kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
            dtype = np.dtype(f"u{dtype.itemsize}")
        missing = [
            float(np.asarray(value).astype(variable.dtype).view(dtype))
            for name in ("_FillValue", "missing_value")
            for value in np.atleast_1d(attrs.get(name, []))
        ]
        default = DEFAULT_FILL.get(f"{dtype.kind}{dtype.itemsize}")
        nodata = missing[0] if missing else default
        scale, offset = (_decimal(attrs.get(*fact)) for fact in (("scale_factor", 1), ("add_offset", 0)))
        # a small scale makes reflectance, as in files of other formats; else it is DN that were packed
        unpacked = (scale, offset) != (1, 0) and not 0 < scale < 0.1
        return cls(dtype, nodata, scale, offset, tuple({*missing[1:]} - {nodata}), unpacked)

    def read(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Numbers as :class:`openeo_superres.bandfile.BandFile` takes them."""
        numbers = raw.view(self.dtype) if self.dtype.kind == "u" else raw
        for value in self.others:
            numbers = np.where(numbers == value, numbers.dtype.type(self.nodata), numbers)
        if not self.unpacked:
            return numbers
        dn = (numbers.astype(np.float64) * self.scale + self.offset).astype(np.float32)
        return np.where(numbers == self.nodata, np.float32(np.nan), dn)


def _decimal(value: Any) -> float:
    """An attribute that was written as a decimal fraction, maybe in single precision."""
    number = np.atleast_1d(value)[0]
    return float(str(number)) if isinstance(number, np.floating) else float(number)


def texts(variable: Variable) -> list[str]:
    """Text of a coordinate, which may be stored as characters along one more dimension."""
    if variable.dtype.kind not in "OSU" or math.prod(variable.shape) > LARGEST_AXIS:
        return []
    values = variable.whole()
    if values.dtype.kind == "S" and values.ndim == 2:
        values = np.array([b"".join(row) for row in values])
    return [it.decode("utf-8", "replace") if isinstance(it, bytes) else str(it) for it in values.reshape(-1)]


def edge_of(path: str, axis: str, variable: Variable | None, size: int) -> tuple[float, float]:
    """Where a dimension's first pixel starts, and the signed size of pixels, from their centres."""
    if variable is None or variable.shape != (size,) or variable.dtype.kind not in "iuf":
        raise SceneError(f"{path} has no coordinates of {axis}; expected the centres of its {size} pixels.")
    centres = variable.whole().astype(np.float64)
    step = (centres[-1] - centres[0]) / (size - 1) if size > 1 else (PIXEL if axis == "x" else -PIXEL)
    # single precision keeps metres alone: a step that no pixel's centre contradicts is a whole one
    if abs(step) >= 1 and abs(round(step) - step) * (size - 1) <= 1:
        step = round(step)
    even = centres[0] + step * np.arange(size)
    if not np.isfinite(step) or not step or not np.abs(centres - even).max() <= abs(step) / 10:
        raise SceneError(f"{path} has uneven {axis} coordinates; expected pixels of one size.")
    return centres[0] - step / 2, step


def dates_of(
    path: str, variables: Mapping[str, Variable], axis: str | None, size: int
) -> tuple[str | None, ...]:
    """Dates as ISO 8601, without the time where it is midnight on all of them."""
    variable = next((variables[name] for name in (axis or "", *TIME_AXES) if name in variables), None)
    if variable is None and size == 1:
        return (None,)
    if variable is None or variable.shape not in {(size,), () if axis is None else (size,)}:
        raise SceneError(f"{path} has {size} dates, but no coordinates of {axis} that say which.")
    if variable.dtype.kind in "OSU":
        return tuple(texts(variable))
    try:
        coded = xr.Dataset({"t": (("t",), variable.whole().reshape(-1), variable.attrs)})
        decoded = xr.decode_cf(coded, decode_timedelta=False)["t"].to_numpy()
        dates = decoded.astype("datetime64[s]")
    except (ValueError, TypeError, KeyError, ImportError, OverflowError) as error:
        raise SceneError(f"{path} has dates that can't be read: {error}") from error
    if decoded.dtype.kind != "M" or np.isnat(dates).any():
        raise SceneError(f"{path} has dates without units; expected such as 'days since 1990-01-01'.")
    days = dates.astype("datetime64[D]")
    return tuple(str(date) for date in (days if (days == dates).all() else dates))


def crs_of(path: str, variable: Variable, variables: Mapping[str, Variable]) -> CRS | None:
    """The CRS that a band's grid mapping says."""
    named = str(variable.attrs.get("grid_mapping", "")).split(":")[0].strip()
    holder = next((variables[name] for name in (named, *GRID_MAPPINGS) if name in variables), None)
    attrs = {**variable.attrs, **(holder.attrs if holder else {})}
    said = next((attrs[fact] for fact in (*CRS_FACTS, "crs") if attrs.get(fact)), None)
    if said is None:
        return None
    try:
        crs = CRS.from_user_input(said if isinstance(said, str) else int(said))
        code = crs.to_epsg()
    except (CRSError, TypeError, ValueError) as error:
        raise SceneError(f"{path} has a CRS that can't be read: {error}.") from error
    return CRS.from_epsg(code) if code else crs
