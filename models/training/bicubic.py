"""Bicubic upsampling of the ten bands as an ONNX model, to be timed as every other model is."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from openeo_superres.sensor import BAND_NAMES, BANDS_10M, BANDS_20M, cubic_taps
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS

MARGIN = 4 + FILL_RADIUS + ALIGNMENT
"""In 10 m pixels: two taps on the 20 m grid, and what every model's has."""


def bicubic_onnx() -> bytes:
    """The model's file; beyond the edge of its input there is zero.

    The same operators as in the networks: convolutions with the phases as output channels, then a shuffle;
    ONNX ``Resize`` gives the same pixels, much slower.
    """
    split, count = len(BANDS_10M), len(BAND_NAMES)
    constants = {
        "starts10": [0, 0, 0],
        "ends10": [split, 2**31, 2**31],
        "starts20": [split, 0, 0],
        "ends20": [count, 2**31, 2**31],
        "axes": [1, 2, 3],
        "steps10": [1, 1, 1],
        "steps20": [1, 2, 2],
    }
    tensors = [numpy_helper.from_array(np.array(v, np.int64), name) for name, v in constants.items()]
    nodes = []
    for native, bands, factor in (("10", len(BANDS_10M), 2), ("20", len(BANDS_20M), 4)):
        taps = np.tile(cubic_taps(factor), (bands, 1)).astype(np.float32)
        # each phase along y has all phases along x
        along_y, along_x = taps[:, None, :, None], np.tile(taps, (factor, 1))[:, None, None, :]
        tensors += [
            numpy_helper.from_array(along_y, f"along_y{native}"),
            numpy_helper.from_array(along_x, f"along_x{native}"),
        ]
        slicing = [f"{name}{native}" for name in ("starts", "ends")] + ["axes", f"steps{native}"]
        nodes += [
            helper.make_node("Slice", ["input", *slicing], [f"x{native}"]),
            helper.make_node(
                "Conv", [f"x{native}", f"along_y{native}"], [f"rows{native}"], group=bands, pads=[2, 0, 2, 0]
            ),
            helper.make_node(
                "Conv",
                [f"rows{native}", f"along_x{native}"],
                [f"both{native}"],
                group=bands * factor,
                pads=[0, 2, 0, 2],
            ),
            helper.make_node("DepthToSpace", [f"both{native}"], [f"y{native}"], blocksize=factor, mode="CRD"),
        ]
    nodes.append(helper.make_node("Concat", ["y10", "y20"], ["output"], axis=1))
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", count, "y", "x"])
    result = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", count, "fine_y", "fine_x"])
    graph = helper.make_graph(nodes, "bicubic", [image], [result], tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    facts = {"name": "bicubic", "scale": "2", "margin": str(MARGIN), "bands": ",".join(BAND_NAMES)}
    helper.set_model_props(model, {**facts, "fill": ",".join(["0"] * count)})
    return model.SerializeToString(deterministic=True)
