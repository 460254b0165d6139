"""The ONNX contract of this package around a network of somebody else.

``input`` ``(n, bands, 2h, 2w)`` holds DN on the 10 m grid, 20 m bands replicated 2 x 2; ``output`` ``(n,
bands, scale 2h, scale 2w)``. What a network needs beside its own nodes is put into its graph: decimation of
20 m bands, cubic upsampling where it takes them at 10 m, and the consistency layer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, inliner, numpy_helper, version_converter

from .errors import ModelError
from .sensor import bands_named, coarse_response, cubic_taps, psf, ridge_inverse
from .udf import coarse_indices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
STANDARD = frozenset({"", "ai.onnx"})
"""Names of the domain of ONNX's own operators."""
GDAL_COEFFICIENT = -0.5
"""Of GDAL's cubic resampling, with which the networks of EVOLAND got their 20 m bands at 10 m."""
TAPS, RIDGE = 13, 1e-3
"""Of the layer's short inverse: more exact than in shipped models, for these networks leave more to mend."""
PREFIX = "adopted/"


def read_network(content: bytes) -> onnx.ModelProto:
    """Parse and check an ONNX file, and bring it to the opset that back-ends read.

    Raises:
        ModelError: If it is no ONNX file, is not complete in itself, or can't be brought there.
    """
    try:
        model = onnx.load_from_string(content)
        _check_complete(model)
        _check_sizes(model)
        onnx.checker.check_model(model, full_check=True)
        if model.functions:
            model = inliner.inline_local_functions(model)
        model.ir_version = IR_VERSION
        stored = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in stored]
        _replace(model.graph.input, inputs)
        loosen(model)
        if opset_of(model) < OPSET:
            model = version_converter.convert_version(model, OPSET)
        for opset in model.opset_import:
            # of newer ones the checker refuses what older ones don't have
            opset.version = OPSET if opset.domain in STANDARD else opset.version
        onnx.checker.check_model(model, full_check=True)
    except ModelError:
        raise
    except Exception as error:  # protobuf, the checker and the converter raise what they like
        raise ModelError(
            f"It can't be read as an ONNX network, or not be brought to opset {OPSET}, which back-ends read: "
            f"{error}"
        ) from error
    if others := sorted({f"{node.domain}.{node.op_type}" for node in model.graph.node if node.domain}):
        raise ModelError(f"It has operators of its own ({', '.join(others)}), which back-ends don't know.")
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """Version of ONNX's own operators in a model; those of others may be listed before it."""
    return next((it.version for it in model.opset_import if it.domain in STANDARD), OPSET)


def loosen(model: onnx.ModelProto) -> onnx.ModelProto:
    """Forget the sizes that an exporter's example left in a graph's declarations, in place."""
    _replace(model.graph.value_info, [])
    for value in (*model.graph.input, *model.graph.output):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if axis != 1:
                dim.dim_param = f"{value.name}_{axis}"
    return model


def _check_complete(model: onnx.ModelProto) -> None:
    tensors = [*model.graph.initializer]
    tensors += [attribute.t for node in model.graph.node for attribute in node.attribute]
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in tensors):
        raise ModelError("Its weights lie in other files (external data); export them into one file.")


def _check_sizes(model: onnx.ModelProto) -> None:
    """Refuse negative sizes, at which ONNX's checker ends the process."""
    graph = model.graph
    values = (*graph.input, *graph.output, *graph.value_info)
    sizes = [dim.dim_value for value in values for dim in value.type.tensor_type.shape.dim]
    sizes += [size for tensor in graph.initializer for size in tensor.dims]
    if min(sizes, default=0) < 0:
        raise ModelError(f"It declares a negative size ({min(sizes)}).")


def _replace(field: Any, values: Sequence[Any]) -> None:
    """Replace what a repeated protobuf field holds."""
    del field[:]
    field.extend(values)


def check_axes(model: onnx.ModelProto, bands: tuple[str, ...]) -> None:
    """Refuse a network that does not take the bands, as far as its declared input and output tell.

    Raises:
        ModelError: Then.
    """
    if len(model.graph.input) != 1 or not model.graph.output:
        names = ", ".join(value.name for value in model.graph.input) or "none"
        raise ModelError(f"It has the inputs {names}; expected one, of all bands.")
    for kind, value in (("input", model.graph.input[0]), ("output", model.graph.output[0])):
        tensor = value.type.tensor_type
        shape = [dim.dim_value or dim.dim_param or "?" for dim in tensor.shape.dim]
        if tensor.elem_type != TensorProto.FLOAT:
            there = TensorProto.DataType.Name(tensor.elem_type)
            raise ModelError(f"Its {kind} {value.name} has type {there}; expected FLOAT.")
        if kind == "input" and len(shape) != 4:
            raise ModelError(f"Its input {value.name} has shape {shape}; expected (n, bands, y, x).")
        if len(shape) == 4 and isinstance(shape[1], int) and shape[1] != len(bands):
            raise ModelError(
                f"Its {kind} {value.name} has {shape[1]} channels, but the description has {len(bands)} "
                f"bands ({', '.join(bands)})."
            )


class Nodes:
    """Nodes and constants in the making; a tensor is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[Any]) -> str:
        """A constant, as ONNX stores it; gives its name."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node of one output; gives the output's name."""
        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [name], name=name, **attributes))
        return name

    def channels(self, image: str, indices: Sequence[int]) -> str:
        """Some of the channels, in that order."""
        return self.add("Gather", image, self.constant(np.array(indices, np.int64)), axis=1)

    def decimated(self, image: str) -> str:
        """The 20 m samples of replicated bands."""
        starts, ends = np.zeros(2, np.int64), np.full(2, np.iinfo(np.int64).max)
        given = (starts, ends, np.array([2, 3]), np.full(2, 2))
        return self.add("Slice", image, *(self.constant(values.astype(np.int64)) for values in given))

    def filtered(self, image: str, taps: NDArray[np.float64], stride: int = 1) -> str:
        """Filter each band along y, then along x; beyond the edge there is zero.

        Args:
            image: ``(n, bands, y, x)``.
            taps: ``(bands, phases, taps)``; several phases make the result ``phases`` times finer.
            stride: Decimation.
        """
        bands, phases, length = taps.shape
        pad = (length - stride) // 2
        kernel = taps.astype(np.float32)
        along_y = self.constant(kernel.reshape(-1, 1, length, 1))
        along_x = self.constant(kernel.repeat(phases, axis=0).reshape(-1, 1, 1, length))
        rows = self.add(
            "Conv",
            image,
            along_y,
            kernel_shape=[length, 1],
            strides=[stride, 1],
            pads=[pad, 0, pad, 0],
            group=bands,
        )
        both = self.add(
            "Conv",
            rows,
            along_x,
            kernel_shape=[1, length],
            strides=[1, stride],
            pads=[0, pad, 0, pad],
            group=bands * phases,
        )
        return both if phases == 1 else self.add("DepthToSpace", both, blocksize=phases, mode="CRD")

    def joined(self, parts: Sequence[tuple[str, list[int]]]) -> str:
        """Images of some channels each as one image of all of them, in order."""
        order = [index for _, indices in parts for index in indices]
        image = parts[0][0] if len(parts) == 1 else self.add("Concat", *(name for name, _ in parts), axis=1)
        return image if order == sorted(order) else self.channels(image, [*np.argsort(order)])

    def model(self, result: str, bands: int) -> onnx.ModelProto:
        """A model in the contract that makes ``result`` of "input"."""
        self.add("Identity", result, output="output")
        axes = {"input": ["y", "x"], "output": ["fine_y", "fine_x"]}
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", bands, *size])
            for name, size in axes.items()
        ]
        graph = helper.make_graph(self.nodes, "superres", ends[:1], ends[1:], self.constants)
        return helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])


def wrap(
    network: onnx.ModelProto, bands: tuple[str, ...], *, scale: int, consistency: bool = False
) -> onnx.ModelProto:
    """Put a network into the contract.

    Args:
        network: From :func:`read_network`. It takes its bands at 10 m if one of them is a 10 m band, else at
            20 m.
        bands: In the order of its channels.
        scale: Of the result, relative to 10 m.
        consistency: Whether the result is made to give the input back when the sensor sees it again.

    Raises:
        ModelError: If the consistency layer is asked for a factor that it does not have.
    """
    coarse = coarse_indices(bands)
    fine = [index for index in range(len(bands)) if index not in coarse]
    graph = Nodes()
    natives = {1: (graph.channels("input", fine), fine)} if fine else {}
    if coarse:
        natives[2] = (graph.decimated(graph.channels("input", coarse)), coarse)
    if fine and coarse:
        scales = graph.constant(np.array([1, 1, 2, 2], np.float32))
        upsampled = graph.add(
            "Resize", natives[2][0], "", scales, mode="cubic", cubic_coeff_a=GDAL_COEFFICIENT
        )
        source = graph.joined([natives[1], (upsampled, coarse)])
    else:
        source = graph.joined([*natives.values()])
    result = _inserted(graph, network, source)
    if consistency:
        parts = [
            (
                _consistent(
                    graph,
                    graph.channels(result, indices),
                    image,
                    tuple(bands[i] for i in indices),
                    cell * scale,
                ),
                indices,
            )
            for cell, (image, indices) in natives.items()
        ]
        result = graph.joined(parts)
    return graph.model(result, len(bands))


def _inserted(graph: Nodes, network: onnx.ModelProto, source: str) -> str:
    """Add the network's nodes, which take ``source`` as their input; gives the name of its output."""
    theirs = compose.add_prefix(network, PREFIX).graph
    for node in theirs.node:
        _replace(node.input, [source if name == theirs.input[0].name else name for name in node.input])
    graph.nodes += theirs.node
    graph.constants += theirs.initializer
    return str(theirs.output[0].name)


def _consistent(graph: Nodes, result: str, image: str, bands: tuple[str, ...], factor: int) -> str:
    """``y = s + U(x - D s)`` for bands of one resolution, ``factor`` times coarser in the image x than in s.

    D is the sensor (PSF and decimation); U is bicubic upsampling of what a short inverse of D after bicubic
    makes of the difference: see :func:`openeo_superres.sensor.ridge_inverse`.
    """
    if factor % 2:
        raise ModelError(f"The consistency layer has even factors only, not {factor}.")
    members = bands_named(bands)
    down = np.stack([psf(band.mtf, factor) for band in members])[:, None]
    inverse = np.stack([ridge_inverse(coarse_response(band, factor), TAPS, RIDGE) for band in members])[
        :, None
    ]
    up = np.repeat(cubic_taps(factor)[None], len(members), axis=0)
    missing = graph.add("Sub", image, graph.filtered(result, down, stride=factor))
    return graph.add("Add", result, graph.filtered(graph.filtered(missing, inverse), up))
