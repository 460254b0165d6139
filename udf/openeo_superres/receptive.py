"""How far an ONNX network looks, from its graph: the margin that makes tiles equal the whole.

Shapes, pads and sizes that the graph computes itself are taken from runs on two sizes of images: where they
differ, what comes out depends on the size of the image, and no margin helps against that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .errors import ModelError
from .operators import GLOBAL, RULES, Refused, Span, Spans
from .udf import _import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterable
    from fractions import Fraction

    from numpy.typing import NDArray

SIZES = ((1, 38, 54), (2, 42, 34))
"""Images, rows and columns of the two runs: even, as every input is, no multiples of 4, and not alike in what
is left of a division by 8."""
SIZING = frozenset({"Shape", "Size"})
"""Operators that ask for the size of an image, not for its pixels."""


class ReceptiveField(NamedTuple):
    """What an output pixel depends on."""

    scale: Fraction
    """How many times finer the output's pixels are."""
    reach: int
    """One-sided, in pixels of the input, from the input pixel that an output pixel lies in."""
    period: int
    """The network is the same from every so many pixels on: 2 if it works on cells of 2 x 2."""


def receptive_field(model: onnx.ModelProto) -> ReceptiveField:
    """Follow the pixels of a network from ``(n, bands, y, x)`` to ``(n, bands, scale y, scale x)``.

    Args:
        model: Opset 17, with dynamic axes. It is run, so it must have been checked.

    Raises:
        ModelError: If an operator is not known or looks at the whole image, if something depends on the
            image's size, or if the network can't take images of any even size.
    """
    graph = _Graph(model)
    source, target = model.graph.input[0].name, model.graph.output[0].name
    for node in graph.nodes:
        graph.follow(node)
    spans = graph.spans[target]
    if [span and span.axis for span in spans] != [None, None, 2, 3]:
        raise ModelError("The network's output is no image with the axes of its input.")
    y, x = (span for span in spans if span)
    before, after = graph.shapes[source], graph.shapes[target]
    expected = [(*shape[:2], *(n / y.rate for n in shape[2:])) for shape in before]
    if y.rate != x.rate or after != expected:
        raise ModelError(
            f"The network makes {_listed(after)} of {_listed(before)} (number, bands, rows, columns); "
            "expected as many bands, one factor for all sizes, and no border lost."
        )
    period = math.lcm(*(span.rate.numerator for spans in graph.spans.values() for span in spans if span))
    return ReceptiveField(1 / y.rate, max(_reach(y), _reach(x)), period)


def _reach(span: Span) -> int:
    """Output pixel i lies in input pixel ``floor(rate * i)``; the farthest that one depends on."""
    return max(0, math.floor(-span.low), math.floor(span.high + 1 - span.rate))


def _listed(shapes: Iterable[tuple[int, ...]]) -> str:
    return " and ".join(" x ".join(map(str, shape)) for shape in shapes)


class _Graph:
    """A graph's nodes that pixels come through, what was seen in two runs, and the spans found so far."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.spans: dict[str, Spans] = {model.graph.input[0].name: (None, None, Span(2), Span(3))}
        self.nodes, self._needed = _pixels_way(model.graph)
        _check_operators(self.nodes)
        self.shapes: dict[str, list[tuple[int, ...]]] = {}
        self._values: dict[str, list[NDArray[Any]]] = {}
        self._observe(model)

    def _observe(self, model: onnx.ModelProto) -> None:
        """Run on two sizes: shapes of all that comes from pixels, values of what nodes need beside it."""
        source = model.graph.input[0]
        stored = {tensor.name: tensor for tensor in model.graph.initializer}
        followed = [source.name, *(name for node in self.nodes for name in node.output if name)]
        computed = sorted(self._needed - stored.keys())
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        names = [f"shape of {i}" for i in range(len(followed))]
        probe.graph.node.extend(
            helper.make_node("Shape", [tensor], [name]) for tensor, name in zip(followed, names, strict=True)
        )
        del probe.graph.output[:]
        probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in (*names, *computed))
        onnxruntime = _import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        bands = source.type.tensor_type.shape.dim[1].dim_value
        images = [np.full((count, bands, *size), 1000, np.float32) for count, *size in SIZES]
        try:
            session = onnxruntime.InferenceSession(
                probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
            runs: list[Any] = [session.run(None, {source.name: image}) for image in images]
        except Exception as error:  # onnxruntime's own exceptions share no base class of their own
            raise ModelError(
                f"The network can't take {bands} bands in images of {_listed(SIZES)} (number, rows, "
                f"columns); expected as many bands, and dynamic axes with no size fixed inside. {error}"
            ) from error
        for i, name in enumerate(followed):
            self.shapes[name] = [tuple(map(int, run[i])) for run in runs]
        for i, name in enumerate(computed, len(followed)):
            self._values[name] = [run[i] for run in runs]
        for name in self._needed & stored.keys():
            self._values[name] = [numpy_helper.to_array(stored[name])] * 2

    def constant(self, name: str) -> NDArray[Any]:
        """A value that comes from no pixels, and is the same for both sizes."""
        if name not in self._values:
            raise Refused("has weights or sizes that come from the pixels")
        first, second = self._values[name]
        if not np.array_equal(first, second):
            raise Refused("depends on the size of the image")
        return first

    def follow(self, node: onnx.NodeProto) -> None:
        """Find the spans of a node's outputs."""
        try:
            spans = RULES[node.op_type](self, node)
        except Refused as reason:
            raise ModelError(
                f"The network's operator {node.op_type} ({node.name or node.output[0]}) {reason}; no safe "
                "margin can be computed."
            ) from reason
        # of what follows, outputs for training are not asked
        self.spans |= dict(zip(node.output, spans, strict=False))


def _pixels_way(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], set[str]]:
    """The nodes that pixels come through, in order, and the names of what else these take."""
    nodes, pixels, needed = [], {graph.input[0].name}, set()
    for node in graph.node:
        inputs = {name for name in node.input if name}
        inner = any(attribute.g.node or attribute.graphs for attribute in node.attribute)
        if inner or (inputs & pixels and node.op_type not in SIZING):
            nodes.append(node)
            pixels |= {*node.output}
            needed |= inputs
    if graph.output[0].name not in pixels:
        raise ModelError("The network's output does not depend on its input.")
    return nodes, needed - pixels


def _check_operators(nodes: list[onnx.NodeProto]) -> None:
    """Refuse what there is no rule for, all at once and before anything runs."""
    operators = {node.op_type for node in nodes}
    if whole := sorted(operators.intersection(GLOBAL)):
        raise ModelError(
            f"The network has operators that look at the whole image ({', '.join(whole)}): no margin makes "
            "its tiles equal the whole."
        )
    if unknown := sorted(operators - RULES.keys()):
        raise ModelError(
            f"The network has operators that are not known here ({', '.join(unknown)}): no safe margin can "
            "be computed."
        )
