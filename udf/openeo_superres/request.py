"""What no back-end could run as it was meant: refused before anything is sent."""

from __future__ import annotations

import json
import math
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import openeo

from .bundle import HOST_IT, REQUEST_LIMIT
from .errors import ProcessError
from .udf import PIXEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .card import ModelCard

Node = dict[str, Any]

REQUEST_RESERVE = 16 << 10
"""Bytes left for what a request says besides its graph: title, job options, what follows in the graph."""
LARGEST_SIZE = 2048
"""Of chunks, in 10 m pixels: at half of it a worker takes 2 GiB already."""
RESAMPLING = frozenset({"resample_spatial", "resample_cube_spatial", "aggregate_spatial_window"})
SOURCES = ("data", "cube1", "cube2")
"""Arguments that a result's pixels come from."""
UTM = frozenset({*range(32601, 32661), *range(32701, 32761)})
"""Codes of the reference systems of Sentinel-2's products."""


def whole(name: str, value: Any) -> int:
    """A whole number of Python's, from one of numpy's as well.

    Raises:
        ProcessError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ProcessError(f"Expected a whole number as {name}, got {value!r}.")
    return int(value)


def number(name: str, value: Any) -> float:
    """A finite number of Python's, from one of numpy's as well.

    Raises:
        ProcessError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ProcessError(f"Expected a finite number as {name}, got {value!r}.")
    return float(value)


def check_cube(cube: Any) -> None:
    """Refuse what is no cube of a back-end.

    Raises:
        ProcessError: Then.
    """
    if not isinstance(cube, openeo.DataCube):
        raise ProcessError(
            f"Expected an openeo.DataCube, got {type(cube).__name__}. For an xarray.DataArray there is "
            "superresolve_local."
        )


def check_chunks(card: ModelCard, size: int, overlap: int) -> None:
    """Refuse chunks whose results would depend on where their edges are, be shifted, or not fit.

    Raises:
        ProcessError: Then.
    """
    if overlap < card.margin:
        raise ProcessError(
            f"An overlap of {overlap} is below the margin of {card.name}, {card.margin} pixels of 10 m: "
            "pixels near the edges of chunks would depend on where the edges are. Leave it out, or give more."
        )
    if size < overlap:
        raise ProcessError(
            f"A size of {size} is below the overlap of {overlap}: back-ends then shift pixels silently. Give "
            f"a size of at least {overlap}; small sizes are slow, since the overlap is computed, too."
        )
    if size > LARGEST_SIZE:
        raise ProcessError(
            f"A size of {size} pixels of 10 m does not fit a back-end's workers: give at most "
            f"{LARGEST_SIZE}, better 256 to 768."
        )


def check_samples(cube: openeo.DataCube, card: ModelCard) -> None:
    """Refuse a cube whose samples were interpolated, or that is not at 10 m, as far as its graph tells.

    Raises:
        ProcessError: Then.
    """
    graph = cube.flat_graph()
    last = next(name for name, node in graph.items() if node.get("result"))
    for name, node in _upstream(graph, last):
        if _is_super_resolved(node):
            raise ProcessError(
                "The cube, or a part of it, is super-resolved already; expected the 10 m grid of Sentinel-2."
            )
        if node["process_id"] in RESAMPLING and _holds_bands(graph, name, card):
            _check_resampling(graph, node)


def _check_resampling(graph: dict[str, Node], node: Node) -> None:
    arguments = node["arguments"]
    method = arguments.get("method", "near" if "resample" in node["process_id"] else "average")
    if method != "near":
        raise ProcessError(
            f"The cube was resampled with method {method!r}: that hides what was measured, and 20 m bands "
            "are no longer replicated pixels. Use method 'near', or resample after superresolve."
        )
    target = arguments.get("target")
    if isinstance(target, dict) and target.get("from_node") in graph:
        arguments = graph[target["from_node"]]["arguments"]
    resolution, projection = arguments.get("resolution", 0), arguments.get("projection")
    steps = resolution if isinstance(resolution, list | tuple) else [resolution]
    if any(isinstance(step, int | float) and step not in {0, PIXEL} for step in steps):
        raise ProcessError(
            f"The cube was resampled to {resolution}; expected the 10 m grid of Sentinel-2. Leave that "
            "resampling out: superresolve does what is needed."
        )
    if projection is not None and not isinstance(projection, dict) and projection not in UTM:
        raise ProcessError(
            f"The cube was reprojected to {projection}; expected the UTM grid of Sentinel-2's products, on "
            "which 20 m bands are replicated pixels. Reproject after superresolve."
        )


def _is_super_resolved(node: Node) -> bool:
    """Whether it runs a UDF of ours."""
    process = node["arguments"].get("process")
    callback = process.get("process_graph", {}) if isinstance(process, dict) else {}
    contexts = (inner["arguments"].get("context") for inner in callback.values())
    return any(isinstance(context, dict) and {"sha256", "margin"} <= set(context) for context in contexts)


def _holds_bands(graph: dict[str, Node], name: str, card: ModelCard) -> bool:
    """Whether bands of the model come from there, not elevation or a mask alone."""
    loads = [
        node["arguments"].get("bands")
        for _, node in _upstream(graph, name)
        if node["process_id"].startswith("load_")
    ]
    return not loads or any(not isinstance(bands, list) or set(bands) & set(card.bands) for bands in loads)


def _upstream(graph: dict[str, Node], name: str) -> Iterator[tuple[str, Node]]:
    """Nodes that a node's pixels came through, itself first."""
    waiting, seen = [name], set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name, graph[name]
        inputs = (graph[name]["arguments"].get(source) for source in SOURCES)
        waiting += [
            data["from_node"] for data in inputs if isinstance(data, dict) and data.get("from_node") in graph
        ]


def check_request(graph: dict[str, Node], card: ModelCard) -> None:
    """Refuse a request that is too large.

    Raises:
        ProcessError: Then.
    """
    size = len(json.dumps(graph))
    if size > REQUEST_LIMIT - REQUEST_RESERVE:
        raise ProcessError(
            f"The process graph has {size / 2**20:.2f} MiB, with {card.name} in it; back-ends take requests "
            f"of at most {REQUEST_LIMIT / 2**20:.0f} MiB. {HOST_IT}"
        )
