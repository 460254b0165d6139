"""What ``probe_backend.py`` runs on a back-end: a User Defined Function that writes versions into pixels.

Python, glibc, numpy, xarray and onnxruntime take two bands each: the major version, and 100 x minor + patch.
"""

import platform
import re
import sys

import numpy as np
import xarray
from openeo.udf import XarrayDataCube

ODD = {-1: "missing", -2: "not importable", -3: "too old for this numpy"}
"""What stands for onnxruntime's major version where it is of no use."""


def numbers(version: str) -> list[int]:
    """Two numbers that hold a version."""
    major, minor, patch = ([int(part) for part in re.findall(r"\d+", version)] + [0, 0, 0])[:3]
    return [major, 100 * minor + patch]


def versions(pixel: list[int]) -> dict[str, str]:
    """What the numbers in a pixel's ten bands say."""
    names = ("Python", "glibc", "numpy", "xarray", "onnxruntime")
    pairs = zip(names, pixel[0::2], pixel[1::2], strict=True)
    return {name: ODD.get(major, f"{major}.{rest // 100}.{rest % 100}") for name, major, rest in pairs}


def onnxruntime_version() -> list[int]:
    """Of the one in the image or in the folder of a job's archive."""
    sys.path.append("onnx_deps")
    try:
        import onnxruntime  # noqa: PLC0415
    except (ImportError, AttributeError) as error:
        return [-1 if getattr(error, "name", None) == "onnxruntime" else -2, 0]
    found = numbers(onnxruntime.__version__)
    # these can be imported, and crash when they run
    return [-3, 0] if found < [1, 1900] and numbers(np.__version__) >= [2, 0] else found


def apply_datacube(cube: XarrayDataCube, context: dict) -> XarrayDataCube:  # noqa: ARG001
    """Ten bands come, any dimensions after them: ten numbers go back in their places."""
    array = cube.get_array()
    there = [platform.python_version(), platform.libc_ver()[1], np.__version__, xarray.__version__]
    found = [number for version in there for number in numbers(version)] + onnxruntime_version()
    shape = [array.sizes[dim] if dim == "bands" else 1 for dim in array.dims]
    values = np.zeros(array.shape, "float32") + np.reshape(found, shape).astype("float32")
    return XarrayDataCube(xarray.DataArray(values, array.coords, array.dims))
