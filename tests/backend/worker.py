"""A worker: a process that runs User Defined Functions on chunks, with nothing of the server in it.

The process executor starts this file as a script and talks to it in pickles over its standard streams;
Spark's workers import it. Messages are plain dictionaries: the two sides know this module by different names.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import logging
import os
import pickle
import re
import resource
import sys
import time
import traceback
from collections import Counter
from typing import Any

import xarray as xr
from openeo.metadata import CollectionMetadata
from openeo.udf import UdfData, XarrayDataCube, run_udf_code

STAMP = "2020-01-01"
"""The date of a result that lost its own."""

sessions: Counter[str] = Counter()
"""How many sessions of onnxruntime this process made."""


class _CountSessions(importlib.abc.MetaPathFinder):
    """Wraps onnxruntime's sessions when it is imported, wherever it comes from; the UDF is not touched."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name != "onnxruntime":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def counted(module: Any) -> None:
                execute(module)

                class InferenceSession(module.InferenceSession):
                    def __init__(self, *args: Any, **options: Any) -> None:
                        sessions["onnxruntime"] += 1
                        super().__init__(*args, **options)

                module.InferenceSession = InferenceSession

            spec.loader.exec_module = counted  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _CountSessions())


def run(udf: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
    """Run a UDF on one chunk.

    Args:
        udf: ``code``, ``runtime`` and ``context``.
        chunk: ``pixels``, ``dims`` and ``coords`` of an array; or ``metadata`` for ``apply_metadata``.

    Returns:
        What the chunk's kind gives, or ``error``; and always ``usage`` of this process.
    """
    start = time.perf_counter()
    try:
        result = _metadata(udf, chunk) if "metadata" in chunk else _pixels(udf, chunk)
    except Exception as error:
        # the real back-end shows the frames of the UDF and hides its own
        trace = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in trace if frame.filename in {"<string>", "<udf>"}]
        lines = [*traceback.format_list(frames), *traceback.format_exception_only(error)]
        result = {"error": "".join(lines)}
    return {**result, "usage": _usage(time.perf_counter() - start, is_chunk="metadata" not in chunk)}


def _usage(seconds: float, *, is_chunk: bool) -> dict[str, Any]:
    with open("/proc/self/status") as file:  # noqa: PTH123
        status = dict(line.split(":", 1) for line in file)
    resident, virtual = (int(status[key].split()[0]) / 1024 for key in ("VmHWM", "VmPeak"))
    return {
        "pid": os.getpid(),
        "chunks": int(is_chunk),
        "seconds": seconds,
        "model_loads": sessions["onnxruntime"],
        "resident_mib": resident,
        "virtual_mib": virtual,
    }


def _pixels(udf: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
    array = xr.DataArray(chunk["pixels"], chunk["coords"], chunk["dims"], name="openEODataChunk")
    data = UdfData(proj={"EPSG": 900913}, datacube_list=[XarrayDataCube(array)], user_context=udf["context"])
    if udf["runtime"] == "Python":
        # it keeps the module for as long as the process lives
        [cube] = run_udf_code(udf["code"], data).get_datacube_list()
        result = cube.get_array()
    else:
        namespace = _executed(udf["code"])
        result = namespace["apply_datacube"](data.get_datacube_list()[0], data.user_context).get_array()
        _check_jep(array, result, udf["code"])
    dates = [str(date) for date in result["t"].to_numpy().ravel()] if "t" in result.coords else [STAMP]
    return {"pixels": result.to_numpy(), "dims": result.dims, "dates": dates}


def _check_jep(array: Any, result: Any, code: str) -> None:
    if array.ndim == 4 and result.ndim != 4:
        raise ValueError(
            "UDF returned a datacube that does not have dimensions (#dates, #bands, #rows, #cols). "
            f"Actual dimensions: {result.shape}."
        )
    if result.dtype != "float32":
        raise ValueError("UDF returned a datacube that does not have dtype == np.float32.")
    if not has_metadata(code) and result.shape[-2:] != array.shape[-2:]:
        raise ValueError(
            "UDF returned a datacube that does not have the same rows and columns as the input cube. "
            f"Actual spatial dimensions: {result.shape[-2:]}. Expected: {array.shape[-2:]}."
        )


def _metadata(udf: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
    metadata = CollectionMetadata({"cube:dimensions": chunk["metadata"]})
    result = _executed(udf["code"])["apply_metadata"](metadata, udf["context"])
    steps = {dimension.name: float(dimension.step) for dimension in result.spatial_dimensions}
    return {"step": (steps["x"], steps["y"])}


def has_metadata(code: str) -> bool:
    """Whether the Jep runtime would find ``apply_metadata``."""
    return re.search(r"^def apply_metadata\(", code, re.MULTILINE) is not None


def _executed(code: str) -> dict[str, Any]:
    """Jep executes the code anew for every tile, after imports of its own."""
    namespace: dict[str, Any] = {}
    exec(
        "import collections, datetime\nimport numpy as np\nimport xarray as xr\nimport openeo.metadata\n"
        "from openeo.udf import UdfData\nfrom openeo.udf.xarraydatacube import XarrayDataCube\n",
        namespace,
    )
    exec(compile(code, "<udf>", "exec"), namespace)
    return namespace


def main() -> None:
    """Answer pickled pairs of UDF and chunk until the other side goes away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, help="bytes of virtual memory")
    memory = parser.parse_args().memory
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers = os.fdopen(os.dup(1), "wb")
    # what a UDF prints must not get among the answers
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    udf: dict[str, Any] = {}
    while True:
        try:
            message = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        except MemoryError:
            # what is left of the message can't be read as another
            sys.exit("MemoryError: a chunk does not fit into the worker's memory.")
        udf = message.get("udf", udf)
        try:
            answer = run(udf, message["chunk"])
        except MemoryError as error:
            answer = {"error": f"MemoryError: {error}"}
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
