"""What the operators of ONNX do to the positions that pixels come from.

Pixel ``i`` along an axis of a tensor depends on the input's pixels from ``rate * i + low`` to ``rate * i +
high``. Every operator known here changes these three numbers, which are exact fractions, or is refused.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from onnx import helper

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx
    from numpy.typing import NDArray

POINTWISE = """
    Abs Add And Cast Ceil Celu Clip Cos Div Dropout Elu Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid
    HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mul Neg Not Or PRelu Pow
    Reciprocal Relu Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh ThresholdedRelu Where
""".split()  # noqa: SIM905
"""Operators whose output has, at a pixel, only what their inputs have there."""
ROUNDING = 1e-6
"""Of factors in single precision, relative."""
TO_THE_END = 2**31 - 1
"""Slices that exporters mean to leave the rest of an image end here or later."""
GLOBAL = """
    Attention Einsum Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool InstanceNormalization MatMul
    MeanVarianceNormalization
""".split()  # noqa: SIM905
"""Operators that may look at the whole image."""


class Span(NamedTuple):
    """What pixel i along an axis of a tensor depends on: ``rate * i + low`` to ``rate * i + high``."""

    axis: int
    """Of the input, 2 or 3."""
    rate: Fraction = Fraction(1)
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)

    def step(self, stride: Fraction | int, first: Fraction | int, last: Fraction | int) -> Span:
        """The next tensor's, whose pixel i is made of this one's from stride * i + first to ... + last."""
        low, high = self.low + self.rate * first, self.high + self.rate * last
        return Span(self.axis, self.rate * stride, low, high)


Spans = tuple[Span | None, ...]
"""One per dimension of a tensor; None for channels and the like."""


class Tensors(Protocol):
    """What a rule may ask of a graph."""

    spans: dict[str, Spans]
    """Of the tensors that come from pixels."""
    shapes: dict[str, list[tuple[int, ...]]]
    """The same tensors' shapes, for two sizes of the image."""

    def constant(self, name: str) -> NDArray[Any]:
        """A value that comes from no pixels, and is the same for both sizes."""


class Refused(Exception):  # noqa: N818  (no error of its own: who asks adds which operator it is)
    """Why an operator can't be followed."""


def _union(spans: Sequence[Span | None]) -> Span | None:
    there = [span for span in spans if span]
    if not there:
        return None
    if len(there) < len(spans):
        raise Refused("joins pixels with values that depend on the position")
    if len({span[:2] for span in there}) > 1:
        raise Refused("joins pixels of different sizes")
    return there[0]._replace(low=min(span.low for span in there), high=max(span.high for span in there))


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _pointwise(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    """Operands are joined pixel by pixel, with numpy's broadcasting."""
    names = [name for name in node.input if name]
    shapes = {
        name: graph.shapes[name][0] if name in graph.spans else graph.constant(name).shape for name in names
    }
    merged = []
    for axis in range(-max(map(len, shapes.values())), 0):
        there = [name for name in names if len(shapes[name]) >= -axis and shapes[name][axis] != 1]
        merged.append(_union([graph.spans[name][axis] if name in graph.spans else None for name in there]))
    return [tuple(merged)]


def _only(graph: Tensors, node: onnx.NodeProto) -> Spans:
    """Spans of a node's first input, which must be the only one from pixels."""
    if node.input[0] not in graph.spans or any(name in graph.spans for name in node.input[1:]):
        raise Refused("has weights or sizes that come from the pixels")
    return graph.spans[node.input[0]]


def _each(spans: Spans, change: Callable[[Span, int], Span]) -> Spans:
    """Change each span, by its number among those of the tensor."""
    numbers = iter(range(len(spans)))
    return tuple(span and change(span, next(numbers)) for span in spans)


def _window(node: onnx.NodeProto, kernel: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Kernel, stride, dilation and pad before, per spatial axis."""
    given = attributes(node)
    if len(kernel) != 2:
        raise Refused("is not two-dimensional")
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    pads = given.get("pads", [0] * 4)[:2]
    if (same := given.get("auto_pad", b"NOTSET")) not in {b"NOTSET", b"VALID"}:
        if strides != [1, 1]:
            raise Refused("has pads that depend on the size of the image")
        needed = [(k - 1) * d for k, d in zip(kernel, dilations, strict=True)]
        pads = [(n + (same == b"SAME_LOWER")) // 2 for n in needed]
    return list(zip(kernel, strides, dilations, pads, strict=True))


def _convolution(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = _image(_only(graph, node))
    windows = _window(node, graph.constant(node.input[1]).shape[2:])
    return [_slid(spans, windows)]


def _pooling(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    return [_slid(_image(_only(graph, node)), _window(node, attributes(node)["kernel_shape"]))]


def _slid(spans: Spans, windows: list[tuple[int, int, int, int]]) -> Spans:
    def slide(span: Span, number: int) -> Span:
        kernel, stride, dilation, pad = windows[number]
        return span.step(stride, -pad, (kernel - 1) * dilation - pad)

    return _each(spans, slide)


def _transposed_convolution(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    if {"output_shape", "auto_pad"} & attributes(node).keys():
        raise Refused("has pads that depend on the size of the image")
    windows = _window(node, graph.constant(node.input[1]).shape[2:])

    def slide(span: Span, number: int) -> Span:
        kernel, stride, dilation, pad = windows[number]
        first, last = Fraction(pad - (kernel - 1) * dilation, stride), Fraction(pad, stride)
        return span.step(Fraction(1, stride), first, last)

    return [_each(_image(_only(graph, node)), slide)]


def _image(spans: Spans) -> Spans:
    """Require (n, channels, y, x)."""
    if [bool(span) for span in spans] != [False, False, True, True]:
        raise Refused("is not over the rows and columns of an image")
    return spans


def _pad(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = _only(graph, node)
    pads = [int(pad) for pad in graph.constant(node.input[1])]
    axes = range(len(spans))
    if len(node.input) > 3 and node.input[3]:
        axes = [int(axis) % len(spans) for axis in graph.constant(node.input[3])]  # type: ignore[assignment]
    before = dict(zip(axes, pads, strict=False))
    if attributes(node).get("mode", b"constant") == b"wrap":
        raise Refused("takes pixels from the other side of the image")
    return [
        tuple(span and span.step(1, -before.get(i, 0), -before.get(i, 0)) for i, span in enumerate(spans))
    ]


def _slice(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = list(_only(graph, node))
    starts, ends, *more = (graph.constant(name) if name else None for name in node.input[1:])
    count = len(starts)  # type: ignore[arg-type]
    axes = more[0] if more and more[0] is not None else range(count)
    steps = more[1] if len(more) > 1 and more[1] is not None else [1] * count
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):  # type: ignore[arg-type]
        span = spans[axis]
        if span is None:
            continue
        if start < 0 or step < 1:
            raise Refused("counts pixels from the far side of the image")
        # a negative one cuts a border: the result's size is checked at the end
        if 0 <= end < TO_THE_END:
            raise Refused(f"cuts the image at {end} pixels, whatever its size")
        spans[axis] = span.step(int(step), int(start), int(start))
    return [tuple(spans)]


def _resize(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    given = attributes(node)
    spans = _only(graph, node)
    way = given.get("coordinate_transformation_mode", b"half_pixel").decode()
    mode = given.get("mode", b"nearest").decode()
    if way not in {"half_pixel", "pytorch_half_pixel", "asymmetric"}:
        raise Refused(f"places pixels by {way}, which depends on the size of the image")
    before, after = graph.shapes[node.input[0]], graph.shapes[node.output[0]]
    asked = graph.constant(node.input[2]).tolist() if len(node.input) > 2 and node.input[2] else []
    result: list[Span | None] = []
    for axis, span in enumerate(spans):
        ratios = {Fraction(new[axis], old[axis]) for old, new in zip(before, after, strict=True)}
        if len(ratios) > 1:
            raise Refused("has another factor for another size of the image")
        ratio = ratios.pop()
        # sizes are rounded: a factor of 2.001 is 2 for small images only
        if asked and abs(asked[axis] / ratio - 1) > ROUNDING:
            raise Refused(f"has factor {asked[axis]:g}, which does not fit whole pixels")
        if span is None:
            if ratio != 1:
                raise Refused("changes the number of channels")
            result.append(None)
            continue
        centre = (1 - ratio) / (2 * ratio) if "half" in way else Fraction(0)
        ends = [
            _interpolated(i / ratio + centre, mode, given.get("nearest_mode", b"round_prefer_floor").decode())
            for i in range(ratio.numerator)
        ]
        first = min(low - i / ratio for i, (low, _) in enumerate(ends))
        last = max(high - i / ratio for i, (_, high) in enumerate(ends))
        result.append(span.step(1 / ratio, first, last))
    return [tuple(result)]


def _interpolated(position: Fraction, mode: str, nearest: str) -> tuple[int, int]:
    """First and last pixel that make up the value at a position."""
    below = math.floor(position)
    if mode == "nearest":
        if nearest == "floor":
            return below, below
        if nearest == "ceil":
            return math.ceil(position), math.ceil(position)
        # rounding: of two equally near ones either may be meant, or rounding error choose
        return math.ceil(position - Fraction(1, 2)), math.floor(position + Fraction(1, 2))
    return (below, below + 1) if mode == "linear" else (below - 1, below + 2)


def _depth_to_space(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    size = int(attributes(node)["blocksize"])
    return [_each(_image(_only(graph, node)), lambda span, _: _finer(span, size))]


def _space_to_depth(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    size = int(attributes(node)["blocksize"])
    return [_each(_image(_only(graph, node)), lambda span, _: span.step(size, 0, size - 1))]


def _finer(span: Span, size: int) -> Span:
    """Pixel i comes from pixel ``floor(i / size)``."""
    return span.step(Fraction(1, size), Fraction(1 - size, size), 0)


def _reshape(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    """Dimensions are split and joined in groups of equal product; pixel shuffles are made of these."""
    spans = _only(graph, node)
    results = [
        _regrouped(spans, old, new)
        for old, new in zip(graph.shapes[node.input[0]], graph.shapes[node.output[0]], strict=True)
    ]
    if results[0] != results[1]:
        raise Refused("depends on the size of the image")
    return [results[0]]


def _regrouped(spans: Spans, old: tuple[int, ...], new: tuple[int, ...]) -> Spans:
    result: list[Span | None] = []
    i = j = 0
    while i < len(old) or j < len(new):
        start, begin = i, j
        products = [1, 1]
        while i == start or j == begin or products[0] != products[1]:
            if (products[0] <= products[1] and i < len(old)) or j == len(new):
                products[0] *= old[i]
                i += 1
            else:
                products[1] *= new[j]
                j += 1
            if i == len(old) and j == len(new):
                break
        result += _group(spans[start:i], old[start:i], new[begin:j])
    return tuple(result)


def _group(spans: Spans, old: tuple[int, ...], new: tuple[int, ...]) -> list[Span | None]:
    there = [(k, span) for k, span in enumerate(spans) if span]
    if not there:
        return [None] * len(new)
    (k, span), *others = there
    if others or math.prod(old[:k]) != 1:
        raise Refused("joins rows with columns, or pixels with channels before them")
    finer = _finer(span, math.prod(old[k + 1 :])) if math.prod(old[k + 1 :]) > 1 else span
    if not new:
        raise Refused("takes the rows or columns away")
    at = next((m for m, n in enumerate(new) if n > 1), len(new) - 1)
    rest = math.prod(new[at + 1 :])
    coarser = finer.step(rest, 0, rest - 1)
    return [coarser if m == at else None for m in range(len(new))]


def _transpose(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = _only(graph, node)
    order = attributes(node).get("perm", range(len(spans) - 1, -1, -1))
    return [tuple(spans[axis] for axis in order)]


def _concat(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    tensors = [graph.spans.get(name) for name in node.input]
    if any(spans is None for spans in tensors):
        raise Refused("joins pixels with values that depend on the position")
    known = [spans for spans in tensors if spans is not None]
    if known[0][attributes(node)["axis"]]:
        raise Refused("puts images side by side")
    return [tuple(_union(axis) for axis in zip(*known, strict=True))]


def _split(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = _only(graph, node)
    if spans[attributes(node).get("axis", 0)]:
        raise Refused("cuts the image into parts")
    return [spans] * len(node.output)


def _gather(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    spans = _only(graph, node)
    axis = attributes(node).get("axis", 0) % len(spans)
    if spans[axis]:
        raise Refused("picks single rows or columns")
    return [(*spans[:axis], *(None for _ in graph.constant(node.input[1]).shape), *spans[axis + 1 :])]


def _normalisation(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    if attributes(node).get("training_mode"):
        raise Refused("is in training mode and looks at the whole image; export it in evaluation mode")
    return [_only(graph, node)]


def _over_axes(graph: Tensors, node: onnx.NodeProto) -> list[Spans]:
    """Sums and the like over channels; over rows and columns they look at the whole image."""
    spans, given = _only(graph, node), attributes(node)
    axes = given.get("axes")
    if node.op_type in {"Softmax", "LogSoftmax"}:
        axes = [given.get("axis", -1)]
    elif node.op_type == "LayerNormalization":
        axes = range(given.get("axis", -1) % len(spans), len(spans))
    elif axes is None and len(node.input) > 1 and node.input[1]:
        axes = graph.constant(node.input[1]).tolist()
    chosen = {axis % len(spans) for axis in (axes if axes is not None else range(len(spans)))}
    if any(spans[axis] for axis in chosen):
        raise Refused("looks at the whole image: no margin makes tiles equal the whole")
    if node.op_type.startswith("Reduce") and not given.get("keepdims", 1):
        return [tuple(span for axis, span in enumerate(spans) if axis not in chosen)]
    return [spans] * len(node.output)


RULES: dict[str, Callable[[Tensors, onnx.NodeProto], list[Spans]]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    "AveragePool": _pooling,
    "BatchNormalization": _normalisation,
    "Concat": _concat,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "DepthToSpace": _depth_to_space,
    "Flatten": _reshape,
    "Gather": _gather,
    "LayerNormalization": _over_axes,
    "LogSoftmax": _over_axes,
    "MaxPool": _pooling,
    "Pad": _pad,
    "ReduceL1": _over_axes,
    "ReduceL2": _over_axes,
    "ReduceMax": _over_axes,
    "ReduceMean": _over_axes,
    "ReduceMin": _over_axes,
    "ReduceSum": _over_axes,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _over_axes,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _reshape,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
"""Operator -> from a node to the spans of its outputs."""
