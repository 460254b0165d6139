"""Callbacks of processes, such as reducers, over arrays: what band arithmetic and composites need."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from openeo_driver.errors import FeatureUnsupportedException

from .errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Series:
    """Arrays along a dimension, which a process sees as the list ``data``."""

    array: xr.DataArray
    dimension: str

    def element(self, index: int | None = None, label: str | None = None) -> xr.DataArray:
        """One of them, by its position or its name."""
        if index is None:
            labels = [str(value) for value in self.array[self.dimension].to_numpy()]
            if label not in labels:
                raise RequestError(f"array_element: no label {label!r}; there are {labels}.")
            index = labels.index(label)
        return self.array.isel({self.dimension: index}, drop=True)

    @classmethod
    def of(cls, data: Series | list) -> Series:
        """Also from a list of arrays or numbers."""
        if isinstance(data, Series):
            return data
        return cls(xr.concat(xr.broadcast(*map(xr.DataArray, data)), dim="elements"), "elements")


def evaluate(graph: dict, parameters: dict[str, Any]) -> Any:
    """The value of a callback's result node."""
    result = next((name for name, node in graph.items() if node.get("result")), None)
    if result is None:
        raise RequestError("A callback has no result node.")
    return _Evaluation(graph, parameters).node(result)


class _Evaluation:
    def __init__(self, graph: dict, parameters: dict[str, Any]) -> None:
        self._graph = graph
        self._parameters = parameters
        self._known: dict[str, Any] = {}

    def node(self, name: str) -> Any:
        if name not in self._known:
            if name not in self._graph:
                raise RequestError(f"A callback has no node {name!r}.")
            node = self._graph[name]
            function = PROCESSES.get(node["process_id"])
            if function is None:
                message = f"Process {node['process_id']!r} is not supported in a callback."
                raise FeatureUnsupportedException(message=message)
            arguments = {key: self._value(value) for key, value in node["arguments"].items()}
            self._known[name] = function(**{k: v for k, v in arguments.items() if v is not None})
        return self._known[name]

    def _value(self, value: Any) -> Any:
        if isinstance(value, dict) and "from_node" in value:
            return self.node(value["from_node"])
        if isinstance(value, dict) and "from_parameter" in value:
            return self._parameters.get(value["from_parameter"])
        return [self._value(item) for item in value] if isinstance(value, list) else value


def _pair(function: Callable[[Any, Any], Any], x: Any, y: Any, **_: Any) -> Any:
    return function(x, y)


def _statistic(name: str, data: Series | list, ignore_nodata: bool = True, **_: Any) -> xr.DataArray:  # noqa: FBT001, FBT002
    series = Series.of(data)
    reduced = getattr(series.array, name)(series.dimension, skipna=ignore_nodata)
    return reduced.astype(np.float32)


def _normalized_difference(x: Any, y: Any) -> Any:
    return (x - y) / (x + y)


PROCESSES: dict[str, Callable[..., Any]] = {
    "add": partial(_pair, operator.add),
    "subtract": partial(_pair, operator.sub),
    "multiply": partial(_pair, operator.mul),
    "divide": partial(_pair, operator.truediv),
    "eq": partial(_pair, operator.eq),
    "neq": partial(_pair, operator.ne),
    "gt": partial(_pair, operator.gt),
    "gte": partial(_pair, operator.ge),
    "lt": partial(_pair, operator.lt),
    "lte": partial(_pair, operator.le),
    "and": partial(_pair, operator.and_),
    "or": partial(_pair, operator.or_),
    "not": np.logical_not,
    "normalized_difference": _normalized_difference,
    "mean": partial(_statistic, "mean"),
    "median": partial(_statistic, "median"),
    "min": partial(_statistic, "min"),
    "max": partial(_statistic, "max"),
    "sum": partial(_statistic, "sum"),
    "array_element": lambda data, index=None, label=None, **_: Series.of(data).element(index, label),
    "first": lambda data, **_: Series.of(data).element(0),
    "last": lambda data, **_: Series.of(data).element(-1),
}
"""By name; comparisons of NaN are false."""
