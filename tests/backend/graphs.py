"""Process graphs and UDFs that the tests of the back-end share."""

from __future__ import annotations

import json
from typing import Any

import openeo

from .conftest import CLEAR, DAILY, extent, pixels

HEAD = """
import numpy as np, xarray, json
from openeo.udf import XarrayDataCube
from openeo.metadata import CubeMetadata

def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:
    array = cube.get_array()
"""
IDENTITY = f"{HEAD}    return XarrayDataCube(array)\n"
TWICE = f"""{HEAD}
    values = array.values.repeat(2, axis=-2).repeat(2, axis=-1)
    coords = {{"bands": array["bands"].values}}
    return XarrayDataCube(xarray.DataArray(values, coords, array.dims))
"""
METADATA = """
def apply_metadata(metadata: CubeMetadata, context: dict) -> CubeMetadata:
    steps = [dimension.step / 2 for dimension in metadata.spatial_dimensions]
    return metadata.resample_spatial(resolution=steps)
"""
RECORD = f"""{HEAD}
    record = {{"dims": array.dims, "shape": array.shape, "nan": int(np.isnan(array.values).sum())}}
    record["kind"] = str(array.dtype) + " " + str(array.x.dtype)
    record["x"] = array.x.values[:2].tolist() + array.x.values[-1:].tolist()
    record["y"] = array.y.values[:2].tolist()
    record["bands"] = array["bands"].values.tolist()
    print("RECORD", json.dumps(record))
    return XarrayDataCube(array)
"""


def load(
    connection: openeo.Connection,
    spatial: dict[str, Any] | None = None,
    temporal: tuple[str, str] = CLEAR,
    bands: tuple[str, ...] = ("B02", "B8A"),
    **options: Any,
) -> openeo.DataCube:
    return connection.load_collection(
        "SENTINEL2_L2A",
        spatial_extent=extent() if spatial is None else spatial,
        temporal_extent=list(temporal),
        bands=list(bands),
        **options,
    )


def run(
    cube: openeo.DataCube,
    code: str,
    *,
    size: int = 32,
    overlap: int = 4,
    runtime: str = "Python",
    time: bool = False,
    context: dict | None = None,
) -> openeo.DataCube:
    udf = openeo.UDF(code, runtime=runtime, context=context or {})
    sizes = pixels(size) if time else pixels(size) + DAILY
    return cube.apply_neighborhood(udf, size=sizes, overlap=pixels(overlap))


def records(job: openeo.BatchJob) -> list[dict[str, Any]]:
    lines = [entry["message"] for entry in job.logs()]
    return [json.loads(line.removeprefix("RECORD")) for line in lines if line.startswith("RECORD")]
