"""The data cube that process graphs work on: openeo-driver's interface over a layer."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import shapely
import xarray as xr
from openeo_driver.datacube import DriverDataCube, DriverVectorCube
from openeo_driver.errors import FeatureUnsupportedException, ProcessParameterInvalidException
from openeo_driver.ProcessGraphDeserializer import convert_node
from openeo_driver.save_result import AggregatePolygonResult, JSONResult

from . import callback, output
from .chunking import RUNTIMES, Window, apply_neighborhood
from .errors import RequestError
from .layer import Bounds, Layer

if TYPE_CHECKING:
    from pathlib import Path

    from openeo.metadata import CubeMetadata
    from openeo_driver.utils import EvalEnv

COMMON_NAMES = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}


class Cube(DriverDataCube):
    """A layer with its metadata. Methods have the names and arguments that openeo-driver calls."""

    def __init__(self, layer: Layer, metadata: CubeMetadata) -> None:
        super().__init__(metadata=metadata)
        self.layer = layer

    def _with(self, pixels: xr.DataArray, metadata: CubeMetadata | None = None) -> Cube:
        return Cube(self.layer.with_pixels(pixels), metadata or self.metadata)

    @property
    def _pixels(self) -> xr.DataArray:
        return self.layer.pixels

    def _not_implemented(self) -> NoReturn:
        """What openeo-driver calls for the processes that are not below."""
        raise FeatureUnsupportedException(message=f"Not supported here: {inspect.stack()[1].function}.")

    # ---- filters

    def filter_temporal(self, start: str, end: str) -> Cube:
        times = self._pixels["t"].to_numpy()
        first, last = (np.datetime64(str(text).removesuffix("Z"), "ns") for text in (start, end))
        return self._with(self._pixels.isel(t=np.flatnonzero((times >= first) & (times < last))))

    def filter_bbox(
        self, west: float, south: float, east: float, north: float, crs: Any = None, **_: Any
    ) -> Cube:
        extent = {"west": west, "south": south, "east": east, "north": north, "crs": crs or 4326}
        bounds = Bounds.parse(extent, self.layer.grid.epsg)
        crop = bounds if self.layer.crop is None else bounds & self.layer.crop
        return Cube(Layer(self._pixels, self.layer.grid, crop), self.metadata)

    def filter_spatial(self, geometries: Any) -> Cube:
        shape = shapely.union_all(self._shapes(geometries))
        bounds = Bounds(*shape.bounds)
        crop = bounds if self.layer.crop is None else bounds & self.layer.crop
        pixels = self._pixels.where(xr.DataArray(self._inside(shape), dims=("y", "x")))
        return Cube(Layer(pixels, self.layer.grid, crop), self.metadata)

    def filter_bands(self, bands: list[str]) -> Cube:
        there = [str(band) for band in self._pixels["bands"].to_numpy()]
        if missing := [band for band in bands if band not in there]:
            reason = f"Unknown bands {missing}; the cube has {there}."
            raise ProcessParameterInvalidException(parameter="bands", process="filter_bands", reason=reason)
        chosen = self._pixels.isel(bands=[there.index(band) for band in bands])
        return self._with(chosen, self.metadata.filter_bands(bands))

    def mask(self, mask: Cube, replacement: float | None = None) -> Cube:
        layer = mask.layer.onto(self.layer.grid)
        where = layer.pixels.fillna(0).astype(bool)
        if "bands" in where.dims and where.sizes["bands"] == 1:
            where = where.isel(bands=0, drop=True)
        value = np.float32(np.nan if replacement is None else replacement)
        return self._with(self._pixels.where(~where, value).transpose(*self._pixels.dims).astype(np.float32))

    # ---- resolution

    def resample_spatial(
        self, resolution: Any, projection: Any = None, method: str = "near", align: str = "upper-left"
    ) -> Cube:
        if align != "upper-left" or str(projection or self.layer.grid.epsg).removeprefix("EPSG:") != str(
            self.layer.grid.epsg
        ):
            raise FeatureUnsupportedException(message="resample_spatial: only the own reference system.")
        steps = {float(step) for step in np.atleast_1d(resolution)}
        if len(steps) != 1:
            raise FeatureUnsupportedException(message="resample_spatial: only square pixels.")
        step = steps.pop() or self.layer.grid.step
        grid = self.layer.grid.resampled(step)
        return Cube(self.layer.onto(grid, method), self.metadata.resample_spatial(step))

    # ---- values

    def apply_neighborhood(
        self,
        process: dict,
        *,
        size: list[dict],
        overlap: list[dict] | None = None,
        context: dict | None = None,
        env: EvalEnv,
    ) -> Cube:
        node = next(iter(process.values()))
        if len(process) != 1 or node["process_id"] != "run_udf":
            raise FeatureUnsupportedException(message="apply_neighborhood: only a single run_udf.")
        inner = env.push_parameters({"context": context})
        arguments = {k: convert_node(v, inner) for k, v in node["arguments"].items() if k != "data"}
        udf = {key: arguments.get(key) for key in ("runtime", "context")}
        if udf["runtime"] not in RUNTIMES:
            raise RequestError(f"Unknown UDF runtime {udf['runtime']!r}; there are {', '.join(RUNTIMES)}.")
        udf = {**udf, "code": arguments["udf"], "context": udf["context"] or {}}
        backend = env.backend_implementation
        executor = env.get("executor") or backend.executor
        layer = apply_neighborhood(self.layer, Window.parse(size, overlap), udf, executor, backend.habits)
        return Cube(layer, self.metadata.resample_spatial(layer.grid.step))

    def apply(self, process: dict, *, context: dict | None = None, env: EvalEnv) -> Cube:  # noqa: ARG002
        return self._with(callback.evaluate(process, {"x": self._pixels, "context": context}))

    def reduce_dimension(
        self,
        reducer: dict,
        *,
        dimension: str,
        context: dict | None = None,
        env: EvalEnv,  # noqa: ARG002
    ) -> Cube:
        series = callback.Series(self._pixels, dimension)
        pixels = callback.evaluate(reducer, {"data": series, "context": context})
        return self._with(pixels, self.metadata.reduce_dimension(dimension))

    def ndvi(self, nir: str = "nir", red: str = "red", target_band: str | None = None) -> Cube:
        high, low = (self._pixels.sel(bands=COMMON_NAMES.get(name, name), drop=True) for name in (nir, red))
        index = (high - low) / (high + low)
        if target_band is None:
            return self._with(index, self.metadata.reduce_dimension("bands"))
        pixels = xr.concat([self._pixels, index.expand_dims(bands=[target_band])], dim="bands")
        metadata = self.metadata.append_band(_band(target_band))
        return self._with(pixels.transpose(*self._pixels.dims), metadata)

    def aggregate_temporal(
        self, intervals: list, reducer: dict, labels: list | None = None, **_: Any
    ) -> Cube:
        parts = []
        for (start, end), label in zip(intervals, labels or [i[0] for i in intervals], strict=True):
            part = self.filter_temporal(str(start), str(end))
            if part.layer.pixels.sizes["t"]:
                value = callback.evaluate(reducer, {"data": callback.Series(part.layer.pixels, "t")})
                parts.append(value.expand_dims(t=[np.datetime64(str(label).removesuffix("Z"), "ns")]))
        return self._with(xr.concat(parts, dim="t"))

    def merge_cubes(self, other: Cube, overlap_resolver: str | None = None) -> Cube:
        mine, theirs = ({str(b) for b in cube.layer.pixels["bands"].to_numpy()} for cube in (self, other))
        if overlap_resolver or mine & theirs:
            raise FeatureUnsupportedException(message="merge_cubes: only cubes without a band in common.")
        added = other.layer.onto(self.layer.grid).pixels
        metadata = self.metadata
        for band in added["bands"].to_numpy():
            metadata = metadata.append_band(_band(str(band)))
        return self._with(xr.concat([self._pixels, added], dim="bands"), metadata)

    # ---- results

    def aggregate_spatial(
        self, geometries: Any, reducer: dict, target_dimension: str | None = None
    ) -> AggregatePolygonResult | JSONResult:
        if target_dimension:
            raise FeatureUnsupportedException(message="aggregate_spatial: no target dimension.")
        rows = []
        for shape in self._shapes(geometries):
            inside = xr.DataArray(self._inside(shape), dims=("y", "x"))
            series = callback.Series(self._pixels.where(inside).stack(point=("y", "x")), "point")
            rows.append(callback.evaluate(reducer, {"data": series}))
        values = xr.concat(rows, dim="geometry")
        if "bands" not in values.dims:
            values = values.expand_dims("bands", -1)
        if "t" not in values.dims:
            return JSONResult(values.transpose("geometry", "bands").to_numpy().tolist())
        dates = [f"{str(date)[:19]}Z" for date in values["t"].to_numpy()]
        table = values.transpose("t", "geometry", "bands").to_numpy().tolist()
        return AggregatePolygonResult(dict(zip(dates, table, strict=True)), regions=geometries)

    def _shapes(self, geometries: Any) -> list[Any]:
        if not isinstance(geometries, DriverVectorCube):
            raise FeatureUnsupportedException(message="Only GeoJSON geometries are supported.")
        return [*geometries._geometries.geometry.to_crs(self.layer.grid.epsg)]

    def _inside(self, shape: Any) -> np.ndarray:
        """Pixels whose centre a geometry holds."""
        return shapely.contains_xy(shape, *np.meshgrid(self.layer.grid.x, self.layer.grid.y))

    def save_result(self, filename: str, format: str, format_options: dict | None = None) -> str:  # noqa: A002
        """One file, for a synchronous call."""
        return output.write_single(self.layer.cropped(), filename, format, format_options or {})

    def write_assets(self, filename: str | Path, format: str, format_options: dict | None = None) -> dict:  # noqa: A002
        """The files of a batch job, beside that name."""
        return output.write_assets(self.layer.cropped(), filename, format, format_options or {})


def _band(name: str) -> Any:
    from openeo.metadata import Band  # noqa: PLC0415

    return Band(name)
