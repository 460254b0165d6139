"""Networks of others in our contract: small ones of the structure that the public models have."""

import hashlib
import importlib
import json
import shutil
import sys
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import onnx
import pytest
import rasterio
import xarray as xr
from click.testing import CliRunner
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from openeo_superres import (
    __main__,
    build_process,
    contract,
    load_card,
    superresolve_local,
    superresolve_scene,
)
from openeo_superres.adopt import adopt, summary
from openeo_superres.bundle import bundle
from openeo_superres.cli import main
from openeo_superres.demo import demonstrate
from openeo_superres.errors import ModelError
from openeo_superres.evaluate import consistency
from openeo_superres.picture import COMPOSITES, comparison
from openeo_superres.receptive import receptive_field
from openeo_superres.sensor import BAND_NAMES, BANDS, INVERSE_RIDGE, INVERSE_TAPS, cubic_taps, upsample_cubic
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, Context, superresolve_chunk, superresolve_cube

FINE, RED = BAND_NAMES[:4], ("B05", "B06", "B07", "B8A")
CASES = {
    "ten": (BAND_NAMES, 2, 2),
    "fine": (FINE, 2, 2),
    "fine4": (FINE, 4, 4),
    "red4": (RED, 4, 2),
    "red": (RED, 2, 1),
    "mixed": (("B8A", "B04", "B11", "B02"), 2, 2),
}
"""Name -> bands, factor of the description, scale relative to 10 m."""


class Network:
    """An ONNX graph in the making; weights are drawn."""

    def __init__(self, bands, number=0):
        self.bands, self.nodes, self.constants = bands, [], []
        self.rng = np.random.default_rng(number)

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values), name))
        return name

    def add(self, operator, *inputs, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def conv(self, image, before, after, kernel=3, groups=1, **attributes):
        shape = (after, before // groups, kernel, kernel)
        spread = (before // groups * kernel**2) ** -0.5
        weights = self.constant(self.rng.normal(0, spread, shape).astype(np.float32))
        return self.add("Conv", image, weights, group=groups, **attributes)

    def resize(self, image, factor, **attributes):
        scales = self.constant(np.array([1, 1, factor, factor], np.float32))
        # up to opset 12 there must be a region, used or not
        return self.add("Resize", image, self.constant(np.zeros(0, np.float32)), scales, **attributes)

    def padded(self, image, pad=1, mode="reflect"):
        return self.add("Pad", image, self.constant([0, 0, pad, pad, 0, 0, pad, pad]), mode=mode)

    def proto(self, result, *, opset=17, size=("y", "x"), channels=None):
        shapes = {"image": ["n", channels or self.bands, *size], result: ["n", self.bands, None, None]}
        ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in shapes.items()]
        graph = helper.make_graph(self.nodes, "network", ends[:1], ends[1:], self.constants)
        # what ships with an opset may be newer than onnxruntime reads
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def carn(bands, factor=2, **options):
    """Reflect padding, groups, 1 x 1 convolutions and a pixel shuffle, in standardised values."""
    net = Network(bands)
    mean, std = (net.constant(np.full((1, bands, 1, 1), value, np.float32)) for value in (1500, 900))
    scaled = net.add("Div", net.add("Sub", "image", mean), std)
    x = entry = net.conv(net.padded(scaled), bands, 16)
    for groups in (4, 1):
        inner = net.conv(net.padded(x), 16, 16, groups=groups)
        inner = net.conv(net.add("LeakyRelu", inner, alpha=0.2), 16, 16, kernel=1)
        x = net.add("LeakyRelu", net.add("Add", x, inner), alpha=0.2)
    x = net.conv(net.padded(net.add("Concat", entry, x, axis=1)), 32, 8 * factor**2)
    x = net.conv(net.padded(net.add("DepthToSpace", x, blocksize=factor, mode="CRD")), 8, bands)
    x = net.add(
        "Add", net.add("Mul", x, net.constant(np.float32(0.05))), net.resize(scaled, factor, mode="cubic")
    )
    return net.proto(net.add("Add", net.add("Mul", x, std), mean), **options)


def esrgan(bands, factor=4, **options):
    """Dense blocks, zero padding, nearest upsampling, folded batch normalisation, a global skip."""
    net = Network(bands, 1)
    half = net.constant(np.float32(0.2))
    dense = [net.conv("image", bands, 8, pads=[1] * 4)]
    for _ in range(2):
        joined = net.add("Concat", *dense, axis=1)
        dense.append(net.add("LeakyRelu", net.conv(joined, 8 * len(dense), 8, pads=[1] * 4), alpha=0.2))
    x = net.add("Add", dense[0], net.add("Mul", dense[-1], half))
    factors = [net.constant(net.rng.uniform(0.5, 1.5, 8).astype(np.float32)) for _ in range(4)]
    x = net.add("BatchNormalization", x, *factors)
    for _ in range({2: 1, 4: 2}[factor]):
        x = net.resize(
            x, 2, mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
        )
        x = net.conv(x, 8, 8, pads=[2] * 4, dilations=[2, 2])
    skip = net.resize("image", factor, mode="linear", coordinate_transformation_mode="pytorch_half_pixel")
    detail = net.add("Mul", net.conv(x, 8, bands, pads=[1] * 4), net.constant(np.float32(0.01)))
    return net.proto(net.add("Add", skip, detail), **options)


def bicubic(bands, factor=2):
    net = Network(bands)
    return net.proto(net.resize("image", factor, mode="cubic", cubic_coeff_a=-0.75))


def describe(folder, name, proto, bands, times, **changes):
    """Write a public model; None leaves a key out."""
    (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    short = [band.replace("B0", "B") for band in bands]
    facts = {"model": f"{name}.onnx", "bands": short, "margin": 66, "factor": float(times)} | changes
    path = folder / f"{name}.yaml"
    # JSON with a trailing comma, as the public models have it, is YAML
    said = [f'"{key}": {json.dumps(value)},' for key, value in facts.items() if value is not None]
    path.write_text("\n".join(["{", *said, "}"]))
    return path


def network_of(case):
    bands, factor, _ = CASES[case]
    return (carn if case in {"ten", "mixed"} else esrgan)(len(bands), factor)


@pytest.fixture(scope="module")
def adopted(tmp_path_factory):
    """Case, and whether with the layer -> what adopting gave."""
    folder = tmp_path_factory.mktemp("public")
    made = {}
    for case, (bands, factor, _) in CASES.items():
        path = describe(folder, case, network_of(case), bands, factor)
        for layer in (False, True):
            made[case, layer] = adopt(path, folder / "ours", consistency=layer)
    return made


def part(cube, bands=BAND_NAMES, *, size=96, corner=(101, 61)):
    """A part of the sample, its 20 m cells across its edges, with a hole."""
    row, column = corner
    cut = cube.sel(bands=list(bands))[:, row : row + size, column : column + size].copy()
    cut[:, 30:37, 40:45] = np.nan
    return cut


# ---- what a graph depends on


def measured(proto, factor, size=40):
    """Farthest that an output pixel is changed from the input pixel it lies in, by brute force."""
    import onnxruntime  # noqa: PLC0415

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).uniform(0, 1, (1, 1, size, size)).astype(np.float32)
    plain = session.run(None, {"image": image})[0]
    reach = 0
    for pixel in range(size // 2 - 4, size // 2 + 4):
        changed = image.copy()
        changed[..., pixel, pixel + 3] = 100
        _, _, rows, columns = np.nonzero(np.abs(session.run(None, {"image": changed})[0] - plain) > 1e-9)
        inside = abs(rows * factor.denominator // factor.numerator - pixel)
        reach = max(reach, *inside, *abs(columns * factor.denominator // factor.numerator - pixel - 3))
    return reach


def chained(steps, number=0):
    """A network of these steps on one band; the output has the size it has."""
    net = Network(1, number)
    x = "image"
    for step in steps:
        x = step(net, x)
    return net.proto(x)


def same(kernel, **attributes):
    dilation = attributes.get("dilations", [1])[0]
    return lambda net, x: net.conv(x, 1, 1, kernel, pads=[(kernel - 1) * dilation // 2] * 4, **attributes)


def shuffled(net, x):
    """Pixel shuffle as reshapes and a transposition."""
    x = net.conv(x, 1, 4, pads=[1] * 4)
    shape = net.add("Shape", x)
    n, height, width = (net.add("Gather", shape, net.constant([axis])) for axis in (0, 2, 3))
    two, one = net.constant([2]), net.constant([1])
    split = net.add("Concat", n, one, two, two, height, width, axis=0)
    x = net.add("Transpose", net.add("Reshape", x, split), perm=[0, 1, 4, 2, 5, 3])
    doubled = [net.add("Mul", length, two) for length in (height, width)]
    return net.add("Reshape", x, net.add("Concat", n, one, *doubled, axis=0))


STEPS = {
    "3x3": same(3),
    "5x5 dilated": same(5, dilations=[2, 2]),
    "SAME_UPPER": lambda net, x: net.conv(x, 1, 1, 4, auto_pad="SAME_UPPER"),
    "reflect": lambda net, x: net.conv(net.padded(x, 2), 1, 1, 5),
    "pool": lambda net, x: net.add("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4),
    "shifted": lambda net, x: net.add(
        "Slice",
        net.padded(x, 3, "edge"),
        net.constant([5, 5]),
        net.constant([2**31, 2**31]),
        net.constant([2, 3]),
    ),
    "norm": lambda net, x: net.add("Softmax", net.add("Concat", x, same(3)(net, x), axis=1), axis=1),
    "skip": lambda net, x: net.add("Add", x, same(3)(net, same(3)(net, x))),
}
"""Steps that keep the size (but for one that shifts and cuts), and the band, but for one."""
FINER = {
    "nearest": lambda net, x: net.resize(x, 2, mode="nearest"),
    "linear": lambda net, x: net.resize(x, 2, mode="linear"),
    "cubic": lambda net, x: net.resize(x, 4, mode="cubic"),
    "cubic asymmetric": lambda net, x: net.resize(
        x, 2, mode="cubic", coordinate_transformation_mode="asymmetric"
    ),
    "shuffle": lambda net, x: net.add("DepthToSpace", net.conv(x, 1, 4, pads=[1] * 4), blocksize=2),
    "shuffle of reshapes": shuffled,
    "transposed": lambda net, x: net.add(
        "ConvTranspose",
        x,
        net.constant(net.rng.normal(size=(1, 1, 4, 4)).astype(np.float32)),
        strides=[2, 2],
        pads=[1] * 4,
    ),
}


def halved(net, x, before=1):
    """Down to cells and up again: SpaceToDepth, a convolution, DepthToSpace."""
    x = net.add("SpaceToDepth", x, blocksize=2)
    x = net.conv(x, 4, 4, before + 2, pads=[before, before, 1, 1])
    return net.add("DepthToSpace", x, blocksize=2)


def lopsided(pads):
    return lambda net, x: net.conv(x, 1, 1, max(pads) + 1, pads=pads)


def unshuffled(net, x, before=1):
    """The same cells, taken apart by reshapes and a transposition."""
    shape, two = net.add("Shape", x), net.constant([2])
    n = net.add("Gather", shape, net.constant([0]))
    height, width = (net.add("Div", net.add("Gather", shape, net.constant([axis])), two) for axis in (2, 3))
    split = net.add("Concat", n, net.constant([1]), height, two, width, two, axis=0)
    x = net.add("Transpose", net.add("Reshape", x, split), perm=[0, 1, 3, 5, 2, 4])
    x = net.add("Reshape", x, net.add("Concat", n, net.constant([4]), height, width, axis=0))
    return net.add("DepthToSpace", net.conv(x, 4, 4, before + 2, pads=[before, before, 1, 1]), blocksize=2)


def transposed(net, x):
    weights = net.constant(net.rng.normal(size=(1, 1, 3, 3)).astype(np.float32))
    return net.add("ConvTranspose", x, weights, strides=[2, 2], dilations=[2, 2], pads=[2, 2, 1, 1])


def same_lower(net, x):
    return net.conv(x, 1, 1, 4, auto_pad="SAME_LOWER")


def moved(net, x):
    """By two pixels, of the same size."""
    starts, ends, axes = (net.constant(values) for values in ([4, 4], [2**31, 2**31], [2, 3]))
    return net.add("Slice", net.padded(x, 2, "edge"), starts, ends, axes)


KNOWN = {
    "nothing": ([lambda net, x: net.add("Identity", x)], 1, 0, 1),
    "3x3": ([STEPS["3x3"]] * 3, 1, 3, 1),
    "dilated": ([STEPS["5x5 dilated"]], 1, 4, 1),
    "SAME_UPPER": ([STEPS["SAME_UPPER"]], 1, 2, 1),
    "SAME_UPPER, down": ([STEPS["SAME_UPPER"], lopsided([0, 0, 1, 1])], 1, 3, 1),
    "SAME_LOWER, down": ([same_lower, lopsided([0, 0, 1, 1])], 1, 2, 1),
    "moved": ([moved, lopsided([0, 0, 1, 1])], 1, 3, 1),
    "rows": ([lopsided([2, 1, 0, 1])], 1, 2, 1),
    "columns": ([lopsided([1, 2, 1, 0])], 1, 2, 1),
    "up, transposed": ([lopsided([2, 2, 0, 0]), transposed], 2, 3, 1),
    "reflect": ([STEPS["reflect"]], 1, 2, 1),
    "skip": ([STEPS["skip"]], 1, 2, 1),
    "cells": ([halved], 1, 3, 2),
    "cells, up": ([partial(halved, before=2)], 1, 5, 2),
    "cells, down": ([partial(halved, before=0)], 1, 3, 2),
    "cells of reshapes, up": ([partial(unshuffled, before=2)], 1, 5, 2),
    "cells of reshapes, down": ([partial(unshuffled, before=0)], 1, 3, 2),
    "nearest": ([FINER["nearest"], STEPS["3x3"]], 2, 1, 1),
    "cubic": ([FINER["cubic"]], 4, 2, 1),
    "shuffle": ([FINER["shuffle"], STEPS["3x3"], STEPS["3x3"]], 2, 2, 1),
}
"""Steps -> scale, reach, period."""


@pytest.mark.parametrize("name", KNOWN)
def test_known_reach(name):
    steps, *expected = KNOWN[name]
    assert list(receptive_field(chained(steps))) == expected


@pytest.mark.parametrize("pads", [[1, 1, 0, 0], [2, 2, 0, 0], [0, 0, 1, 1], [0, 0, 2, 2]], ids=str)
@pytest.mark.parametrize("name", FINER)
def test_reach_of_upsampling_is_measured(name, pads):
    """Each side for itself: what looks to one side only hides nothing of the other."""
    proto = chained([lopsided(pads), FINER[name], lopsided(pads)])
    field = receptive_field(proto)
    reach = measured(proto, field.scale, size=24)
    # some weights of these are zero
    assert reach <= field.reach <= reach + (name in {"transposed", "cubic asymmetric"})


@seed(0)
@settings(max_examples=10)
@given(
    before=st.lists(st.sampled_from(sorted({*STEPS} - {"shifted", "norm"})), max_size=3),
    finer=st.sampled_from(sorted(FINER)),
    after=st.lists(st.sampled_from(sorted({*STEPS} - {"shifted", "norm"})), max_size=3),
)
def test_reach_is_never_too_small(before, finer, after):
    proto = chained([*(STEPS[name] for name in before), FINER[finer], *(STEPS[name] for name in after)])
    field = receptive_field(proto)
    reach = measured(proto, field.scale, size=64)
    assert reach <= field.reach <= reach + 2


def with_if(net, x):
    inner = helper.make_graph(
        [helper.make_node("Identity", [x], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    return net.add("If", net.constant(np.array(True)), then_branch=inner, else_branch=inner)


def positions(net, x):
    """As encodings of the position do: numbers of the rows, added."""
    height = net.add("Squeeze", net.add("Gather", net.add("Shape", x), net.constant([2])))
    rows = net.add("Range", net.constant(0), height, net.constant(1))
    column = net.add("Cast", net.add("Reshape", rows, net.constant([1, 1, -1, 1])), to=TensorProto.FLOAT)
    return net.add("Add", x, column)


def same_size(net, x):
    """A share of the image's height, added: one more number that differs from tile to tile."""
    height = net.add("Cast", net.add("Gather", net.add("Shape", x), net.constant([2])), to=TensorProto.FLOAT)
    return net.add("Mul", x, height)


REFUSED = {
    "GlobalAveragePool": lambda net, x: net.add("Mul", x, net.add("GlobalAveragePool", x)),
    "ReduceMean": lambda net, x: net.add("Sub", x, net.add("ReduceMean", x, axes=[2, 3])),
    "MatMul": lambda net, x: net.add("MatMul", x, net.add("Transpose", x, perm=[0, 1, 3, 2])),
    "InstanceNormalization": lambda net, x: net.add(
        "InstanceNormalization", x, *[net.constant(np.ones(1, np.float32))] * 2
    ),
    "CumSum": lambda net, x: net.add("CumSum", x, net.constant(2)),
    "If": with_if,
    "Softmax": lambda net, x: net.add("Softmax", x, axis=3),
    "Slice": lambda net, x: net.add("Slice", x, *(net.constant([value]) for value in (-1, -(2**31), 2, -1))),
    "Resize": lambda net, x: net.resize(x, 2, mode="linear", coordinate_transformation_mode="align_corners"),
    "Add": positions,
    "Mul": same_size,
    "Concat": lambda net, x: net.add("Concat", x, x, axis=3),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_no_margin_is_safe_for_is_refused_by_name(operator):
    with pytest.raises(ModelError, match=rf"operators?.* \(?{operator}\b.*margin"):
        receptive_field(chained([STEPS["3x3"], REFUSED[operator]]))


def test_unused_operators_do_no_harm():
    """What computes sizes from no pixels may be anything."""
    net = Network(1)
    shape = net.add("Shape", "image")
    size = net.add("Mul", net.add("Slice", shape, net.constant([2]), net.constant([4])), net.constant([2, 2]))
    whole = net.add("Concat", net.add("Slice", shape, net.constant([0]), net.constant([2])), size, axis=0)
    proto = net.proto(net.add("Resize", "image", "", "", whole, mode="linear"))
    assert list(receptive_field(proto)) == [2, 1, 1]


# ---- the contract


@pytest.mark.parametrize("case", CASES)
def test_contract(adopted, case):
    bands, _, scale = CASES[case]
    card = adopted[case, False].card
    assert (card.bands, card.scale, card.consistent) == (bands, scale, False)
    proto = onnx.load(card.path)
    ours = onnx.load(load_card("cubic_mtf").path)
    assert (proto.opset_import[0].version, len(proto.opset_import)) == (17, 1)
    assert proto.ir_version <= 9
    props, expected = ({p.key: p.value for p in it.metadata_props} for it in (proto, ours))
    assert props.keys() == expected.keys()
    assert props["unit"] == expected["unit"]
    dims = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input]
    assert dims == [["n", len(bands), "y", "x"]]
    model = card.open(provider="cpu", threads=1)
    assert model.fill == tuple(
        pytest.approx(10_000 * next(b.mean for b in BANDS if b.name == band)) for band in bands
    )
    for count, height, width in ((1, 60, 74), (3, 62, 58)):
        image = np.full((count, len(bands), height, width), 1000, np.float32)
        output = model.run(image)
        assert output.shape == (count, len(bands), scale * height, scale * width)
        assert output.dtype == np.float32


def as_public(image, bands, *, coefficient=-0.5):
    """What the public tool gives its networks for ``(bands, y, x)`` of ours, even phase: one grid for all."""
    coarse = [band not in FINE for band in bands]
    if all(coarse):
        return image[:, ::2, ::2]
    taps, result = cubic_taps(2, coefficient), image.copy()
    for i in np.flatnonzero(coarse):
        padded = np.pad(image[i, ::2, ::2], 2, mode="edge")
        for row, column in np.ndindex(2, 2):
            views = np.lib.stride_tricks.sliding_window_view(padded, (5, 5))
            result[i, row::2, column::2] = np.einsum("yxij,i,j->yx", views, taps[row], taps[column])
    return result


@pytest.mark.parametrize("case", CASES)
def test_pixels_are_those_of_the_network(adopted, image, case):
    import onnxruntime  # noqa: PLC0415

    bands, _, scale = CASES[case]
    crop = image[[BAND_NAMES.index(band) for band in bands], 100:180, 60:150]
    session = onnxruntime.InferenceSession(network_of(case).SerializeToString())
    expected = session.run(None, {"image": as_public(crop, bands)[None].astype(np.float32)})[0]
    model = adopted[case, False].card.open(provider="cpu", threads=1)
    np.testing.assert_allclose(model.run(crop[None]), expected, atol=0.05)
    assert expected.shape[2] == scale * 80
    if case in {"ten", "mixed"}:
        other = as_public(crop, bands, coefficient=-0.75)[None].astype(np.float32)
        assert np.abs(session.run(None, {"image": other})[0] - expected).max() > 1


@pytest.mark.parametrize("layer", [False, True], ids=["published", "consistent"])
@pytest.mark.parametrize("case", CASES)
def test_margin(adopted, case, layer):
    """Nothing beyond the reach matters, not even NaN; a little less is too little."""
    made = adopted[case, layer]
    assert made.card.margin == made.reach + ALIGNMENT + FILL_RADIUS
    model = made.card.open(provider="cpu", threads=1)
    kept = made.reach + made.reach % 2
    cells = np.random.default_rng(0).uniform(0, 6000, (1, len(model.bands), kept + 5, kept + 5))
    image = cells.astype(np.float32).repeat(2, axis=2).repeat(2, axis=3)
    middle = kept + 4
    core = slice(middle * model.scale, (middle + 2) * model.scale)

    def beyond(distance):
        changed = np.full_like(image, np.nan)
        near = slice(middle - distance, middle + 2 + distance)
        changed[:, :, near, near] = image[:, :, near, near]
        return model.run(changed)[:, :, core, core]

    expected = model.run(image)[:, :, core, core]
    np.testing.assert_allclose(beyond(kept), expected, rtol=2e-6, atol=0.01)
    assert np.isnan(beyond(kept - 4)).any()


@pytest.mark.parametrize("layer", [False, True], ids=["published", "consistent"])
@pytest.mark.parametrize("case", CASES)
def test_tiled_equals_whole(adopted, cube, case, layer):
    card = adopted[case, layer].card
    cut = part(cube, card.bands)
    whole = superresolve_local(cut, card, size=512, threads=1)
    tiled = superresolve_local(cut, card, size=38, threads=1)
    np.testing.assert_allclose(tiled, whole, rtol=2e-6, atol=0.01)
    assert whole.sizes["x"] == card.scale * cut.sizes["x"]
    np.testing.assert_array_equal(
        np.isnan(whole), np.isnan(cut.to_numpy()).repeat(card.scale, axis=1).repeat(card.scale, axis=2)
    )


def test_a_smaller_margin_shows(adopted, image):
    """The bound of the test above can be missed."""
    model = adopted["ten", False].card.open(provider="cpu", threads=1)
    for margin in (model.margin, FILL_RADIUS + ALIGNMENT + 2):
        tried = replace(model, margin=margin)
        whole = superresolve_chunk(image[:, :120, :120], tried)[:, 80:160, 80:160]
        edges = slice(40 - margin, 80 + margin)
        phase = (margin % 2, margin % 2)
        tile = superresolve_chunk(image[:, edges, edges], tried, phase=phase, overlap=margin)
        assert (np.abs(tile - whole).max() < 0.01) == (margin == model.margin)


@pytest.mark.parametrize("case", CASES)
def test_consistency(adopted, cube, case):
    """Seen by the sensor again the output gives the input back, with the layer alone."""
    bands = [next(b for b in BANDS if b.name == name) for name in CASES[case][0]]
    cut = cube.sel(bands=[band.name for band in bands])[:, 100:228, 60:188]
    errors = {
        layer: consistency(
            superresolve_local(cut, adopted[case, layer].card, threads=1).to_numpy(), cut.to_numpy(), bands
        )
        for layer in (False, True)
    }
    assert errors[True].max() < 1
    assert errors[False].min() > 10


@pytest.mark.parametrize(("bands", "factor"), [(FINE, 2), (RED, 4)], ids=["fine", "red"])
def test_the_layer_is_that_of_shipped_models(tmp_path, cube, monkeypatch, bands, factor):
    """Around bicubic, with the same inverse, it is the shipped model without learning."""
    monkeypatch.setattr(contract, "TAPS", INVERSE_TAPS)
    monkeypatch.setattr(contract, "RIDGE", INVERSE_RIDGE)
    path = describe(tmp_path, "bicubic", bicubic(len(bands), factor), bands, factor)
    card = adopt(path, tmp_path / "ours", consistency=True).card
    cut = part(cube)
    result = superresolve_local(cut.sel(bands=list(bands)), card, threads=1)
    np.testing.assert_allclose(
        result, superresolve_local(cut, "cubic_mtf", threads=1).sel(bands=list(bands)), atol=0.02
    )


# ---- the card


def test_card(adopted):
    for (case, layer), made in adopted.items():
        item = json.loads(made.card.path.with_suffix(".json").read_text())
        assert made.card.name == item["id"] == case + "_consistent" * layer
        properties = item["properties"]
        assert properties["license"] == "other"
        training = properties["superres:training"]
        assert (training["method"], training["consistency"]) == ("adopted", layer)
        assert training["license"] == "unknown: see its source"
        assert training["description"]["margin"] == 66
        assert training["published_margin"] == 66 / made.card.scale == made.published
        source = made.card.path.parents[1]
        for suffix in (".yaml", ".onnx"):
            content = (source / f"{case}{suffix}").read_bytes()
            assert training["sources"][f"{case}{suffix}"] == hashlib.sha256(content).hexdigest()
    numbers = onnx.load(source / "fine.onnx").graph.initializer
    weights = sum(np.prod(t.dims, dtype=int) for t in numbers if t.data_type == TensorProto.FLOAT)
    assert adopted["fine", False].card.parameters == weights


def test_summary_says_where_the_published_margin_is_too_small(tmp_path):
    path = describe(tmp_path, "short", carn(4), FINE, 2, margin=6)
    made = adopt(path, tmp_path / "our models", licence="Apache-2.0")
    assert (made.reach, made.published) == (5, 3)
    said = summary(made)
    assert "reaches 5 pixels of 10 m (its description says 3, too little" in said
    assert "the margin is 13" in said
    assert f"--model '{tmp_path / 'our models' / 'short.json'}'" in said
    item = json.loads((tmp_path / "our models/short.json").read_text())
    assert item["properties"]["license"] == "Apache-2.0"


def test_a_description_says_what_json_can_not(tmp_path):
    path = describe(tmp_path, "m", bicubic(4), FINE, 2)
    more = "date: 2024-03-01\nbytes: !!binary aGk=\nnot: .nan\n"
    path.write_text(f"model: m.onnx\nbands: {[*FINE]}\nmargin: 66\nfactor: 2\n{more}")
    card = adopt(path, tmp_path / "our models").card
    text = card.path.with_suffix(".json").read_text()
    said = json.loads(text, parse_constant=pytest.fail)["properties"]["superres:training"]["description"]
    assert (said["date"], said["not"], said["factor"]) == ("2024-03-01", "NaN", 2)


def test_same_input_same_bytes(adopted, tmp_path):
    card = adopted["ten", True].card
    again = adopt(card.path.parents[1] / "ten.yaml", tmp_path, consistency=True).card
    assert again.path.read_bytes() == card.path.read_bytes()
    assert again.path.with_suffix(".json").read_text() == card.path.with_suffix(".json").read_text()


@pytest.mark.parametrize("opset", [11, 18])
def test_other_opsets_are_converted(tmp_path, cube, opset):
    """What has the same meaning in another opset gives the same pixels in ours."""
    expected = adopt(describe(tmp_path, "new", carn(4), FINE, 2), tmp_path / "ours").card
    card = adopt(describe(tmp_path, "other", carn(4, opset=opset), FINE, 2), tmp_path / "ours").card
    assert onnx.load(card.path).opset_import[0].version == 17
    results = [superresolve_local(part(cube, FINE), one, threads=1) for one in (expected, card)]
    np.testing.assert_allclose(*results, atol=0.01)


def test_conversion_is_checked_whatever_is_imported_first(tmp_path, monkeypatch):
    import openeo_superres.adopt as module  # noqa: PLC0415

    proto = carn(4, opset=11)
    proto.opset_import.insert(0, helper.make_opsetid("com.microsoft", 1))
    monkeypatch.setattr(module, "TOLERANCE", -1)
    with pytest.raises(ModelError, match="Brought to another opset"):
        adopt(describe(tmp_path, "m", proto, FINE, 2), tmp_path / "ours")


def test_declared_sizes_are_only_an_example(tmp_path):
    """Exporters that were not told leave the size of their example; inside, nothing keeps to it."""
    path = describe(tmp_path, "fixed", carn(4, size=(64, 64)), FINE, 2)
    model = adopt(path, tmp_path / "ours").card.open(provider="cpu", threads=1)
    assert model.run(np.ones((1, 4, 40, 50), np.float32)).shape == (1, 4, 80, 100)


# ---- everywhere


def test_command_line(adopted, tmp_path):
    source = adopted["fine4", False].card.path.parents[1] / "fine4.yaml"
    result = CliRunner().invoke(main, ["adopt", str(source), "-o", str(tmp_path), "--consistency"])
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("fine4_consistent: B02, B03, B04, B08 to 2.5 m, ")
    assert result.stdout.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"fine4_consistent.onnx", "fine4_consistent.json"}
    assert load_card(tmp_path / "fine4_consistent.json").consistent


SAMPLE = "examples/data"


def read(path):
    with rasterio.open(path) as dataset:
        return dataset.read()


@pytest.mark.parametrize("case", ["fine4", "red4", "red"])
def test_a_scene_needs_the_bands_of_the_model_alone(adopted, sample, tmp_path, case):
    """A GeoTIFF with these bands and no others; the same pixels as from the whole scene."""
    card = adopted[case, False].card
    resolution = 20 if card.coarse else 10
    source = f"{SAMPLE}/virginia_{resolution}m.tif"
    with rasterio.open(source) as dataset:
        indices = [dataset.descriptions.index(band) + 1 for band in card.bands]
        profile = {**dataset.profile, "count": len(indices)}
        with rasterio.open(tmp_path / "few.tif", "w", **profile) as few:
            few.write(dataset.read(indices))
            few.descriptions = card.bands
    arguments = ["inspect", str(tmp_path / "few.tif"), "--model", str(card.path.with_suffix(".json"))]
    facts = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert facts["bands"].keys() == {*card.bands}
    output = facts["output"]
    assert output["width"] == card.scale * facts["width"]
    assert output["uncompressed_bytes"]["float32"] == 4 * 4 * output["width"] * output["height"]
    assert f"pixels of {10 / card.scale:g} m;" in CliRunner().invoke(main, arguments).stdout
    window = (100, 200, 60, 50)
    results = [
        superresolve_scene(
            scene, tmp_path / name, card, window=window, compare="bicubic", dtype="float32", threads=1
        )
        for scene, name in ((SAMPLE, "whole.tif"), (tmp_path / "few.tif", "result.tif"))
    ]
    pixel = 10 / card.scale
    for path in (*results, tmp_path / "whole_bicubic.tif", tmp_path / "result_bicubic.tif"):
        with rasterio.open(path) as dataset:
            assert dataset.descriptions == card.bands
            assert dataset.res == (pixel, pixel)
            assert dataset.shape == (50 * card.scale, 60 * card.scale)
            assert (dataset.transform.c, dataset.transform.f) == (435_740 + 1000, 4_165_120 - 2000)
            assert dataset.tags()["MODEL"] == ("bicubic" if "bicubic" in path.name else card.name)
    whole, few = map(read, results)
    np.testing.assert_array_equal(whole, few)
    native = sample[1 if card.coarse else 0][[i - 1 for i in indices]]
    step = resolution // 10
    expected = upsample_cubic(native, step * card.scale)
    expected = expected[:, 200 * card.scale : 250 * card.scale, 100 * card.scale : 160 * card.scale]
    np.testing.assert_allclose(read(tmp_path / "result_bicubic.tif"), expected, rtol=1e-5, atol=0.01)


def test_other_files_of_a_scene_are_not_touched(adopted, tmp_path):
    shutil.copy(f"{SAMPLE}/virginia_10m.tif", tmp_path)
    (tmp_path / "virginia_20m.tif").write_text("damaged")
    card, window = adopted["fine", False].card, (0, 0, 20, 20)
    path = tmp_path / "result.tif"
    superresolve_scene(tmp_path / "virginia_10m.tif", path, card, window=window, threads=1)
    assert read(path).shape == (4, 40, 40)


def test_name_in_a_folder_says_the_pixels(adopted, tmp_path):
    card = adopted["fine4", False].card
    path = superresolve_scene(SAMPLE, tmp_path, card, window=(0, 0, 20, 20), threads=1)
    assert path.name == "data_SR2.5M_fine4.tif"


def test_a_model_named_bicubic_keeps_its_hash(adopted, tmp_path):
    card = replace(adopted["fine", False].card, name="bicubic")
    path = superresolve_scene(SAMPLE, tmp_path, card, window=(0, 0, 20, 20), threads=1)
    with rasterio.open(path) as dataset:
        assert dataset.tags()["MODEL_SHA256"] == card.sha256


@pytest.mark.parametrize("mode", ["grid", "upscale"])
def test_cells_of_10_m_bands_start_where_coordinates_say(tmp_path, cube, mode):
    """No 20 m band tells where cells start; two ways of computing must not choose two."""
    net = Network(4)
    x = net.add("AveragePool", "image", kernel_shape=[2, 2], strides=[2, 2])
    path = describe(tmp_path, "cells", net.proto(net.resize(x, 4, mode="nearest")), FINE, 2)
    card = adopt(path, tmp_path / "ours").card
    graph = build_process(card, mode=mode)["process_graph"]
    context = graph["applyneighborhood1"]["arguments"]["process"]["process_graph"]["runudf1"]["arguments"]
    context = Context.parse(context["context"] | {"overlap": 0, "size": 0})
    for corner in ((100, 61), (101, 60)):
        cut = part(cube, FINE, size=20, corner=corner)
        expected = superresolve_local(cut, card, threads=1)
        handed = cut
        if mode == "grid":
            handed = xr.DataArray(np.repeat(np.repeat(cut, 2, axis=1), 2, axis=2), expected.coords, cut.dims)
        np.testing.assert_array_equal(superresolve_cube(handed, context), expected)


@pytest.mark.parametrize("mode", ["grid", "upscale"])
@pytest.mark.parametrize("case", ["fine4", "red4", "red", "ten"])
def test_on_a_back_end(adopted, cube, case, mode):
    """The UDF as the process graph calls it gives the pixels of the local way."""
    card = adopted[case, False].card
    graph = build_process(card, mode=mode)["process_graph"]
    udf = next(node for node in graph.values() if node["process_id"] == "apply_neighborhood")
    context = udf["arguments"]["process"]["process_graph"]["runudf1"]["arguments"]["context"]
    cut = part(cube, card.bands, size=80)
    expected = superresolve_local(cut, card, threads=1)
    handed = cut
    if mode == "grid":
        pixels = cut.to_numpy().repeat(card.scale, axis=1).repeat(card.scale, axis=2)
        handed = xr.DataArray(pixels, expected.coords, expected.dims)
    # the chunk is all there is: nothing of it is cropped
    context = Context.parse(context | {"overlap": 0, "size": 0})
    np.testing.assert_allclose(superresolve_cube(handed, context), expected, rtol=2e-6, atol=0.01)
    loaded = graph["loadcollection1"]["arguments"]["bands"]
    assert loaded == [name for name in BAND_NAMES if name in card.bands or (card.coarse and name == "B02")]


def test_a_process_promises_consistency_only_where_it_is(adopted):
    for layer in (False, True):
        process = build_process(adopted["red4", layer].card)
        assert ("gives the input" in process["description"]) == layer
        assert "from 20 m to 5 m" in process["description"]
    process = build_process(replace(adopted["red4", False].card, name="my net-v1.2"))
    assert process["id"] == "sentinel2_superresolution_my_net_v1_2"


def test_bundle(adopted, tmp_path):
    import zipfile  # noqa: PLC0415

    wheel = tmp_path / "onnxruntime-1-cp311.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("onnxruntime/__init__.py", "")
        archive.writestr("onnxruntime/capi/x.so", "")
    made = bundle(tmp_path / "archives", adopted["red4", True].card, wheel=wheel)
    with zipfile.ZipFile(made.model.path) as archive:
        assert sorted(archive.namelist()) == ["red4_consistent.json", "red4_consistent.onnx"]


def test_demonstration_and_picture(adopted, tmp_path):
    made = demonstrate(tmp_path, SAMPLE, adopted["red4", True].card, threads=1)
    assert made.raster.name == "virginia_SR5M_red4_consistent.tif"
    assert np.isnan(made.model_error.fine)
    assert made.model_error.coarse < 2 < made.bicubic_error.coarse
    with Image.open(made.picture) as picture:
        # the red edge alone of the three composites
        assert 6 * 96 < picture.height < 2 * 6 * 96


@pytest.mark.parametrize(("bands", "rows"), [(FINE, 1), (("B8A", "B11"), 1), (BAND_NAMES, 3)])
def test_pictures_show_what_there_is(bands, rows):
    drawn = comparison({"any": np.zeros((len(bands), 8, 9), np.float32)}, bands=bands, zoom=1)
    assert (
        drawn.height
        == comparison({"any": np.zeros((10, 8, 9), np.float32)}, COMPOSITES[:rows], zoom=1).height
    )


# ---- what is refused


def no_such_file(folder):
    return folder / "none.yaml", ["none.yaml", "can't be read"]


def no_yaml(folder):
    (folder / "m.yaml").write_text("a: [")
    return folder / "m.yaml", ["m.yaml", "can't be read"]


def no_mapping(folder):
    (folder / "m.yaml").write_text("- a")
    return folder / "m.yaml", ["expected model, bands, margin, factor"]


def that_holds_itself(folder):
    (folder / "m.yaml").write_text("x: &x [*x]")
    return folder / "m.yaml", ["m.yaml", "can't be read"]


def a_tag_that_runs_code(folder):
    (folder / "m.yaml").write_text("!!python/object/apply:os.getcwd []")
    return folder / "m.yaml", ["can't be read"]


def missing_keys(folder):
    return describe(folder, "m", carn(4), FINE, 2, margin=None, factor=None), ["lacks margin, factor"]


def unknown_band(folder):
    return describe(folder, "m", carn(4), ("B02", "B03", "B04", "B09"), 2), ["unknown bands B09"]


def band_twice(folder):
    return describe(folder, "m", carn(4), ("B02", "B03", "B04", "B02"), 2), ["twice"]


def half_a_factor(folder):
    return describe(folder, "m", carn(4), FINE, 2.5), ["factor 2.5", "whole"]


def odd_factor_of_20_m_bands(folder):
    return describe(folder, "m", carn(4, 3), RED, 3), ["factor 3", "even"]


def no_network_beside(folder):
    return describe(folder, "m", carn(4), FINE, 2, model="other.onnx"), ["other.onnx", "not there"]


def other_factor(folder):
    return describe(folder, "m", carn(4, 2), FINE, 4), ["2 times finer", "factor 4"]


def other_channels(folder):
    return describe(folder, "m", carn(4), FINE[:3], 2), ["4 channels", "3 bands"]


def undeclared_channels(folder):
    return describe(folder, "m", carn(4, channels="c"), FINE[:3], 2), ["m.onnx", "3 bands"]


def garbage(folder):
    path = describe(folder, "m", carn(4), FINE, 2)
    (folder / "m.onnx").write_bytes(b"no network")
    return path, ["m.onnx", "can't be read as an ONNX network"]


def lethal(folder):
    """Without a check of the whole graph this ends the process by a signal."""
    net = Network(4)
    x = net.add("DepthToSpace", "image", blocksize=2**40)
    return describe(folder, "m", net.proto(x), FINE, 2), ["m.onnx"]


def external_data(folder):
    proto = carn(4)
    tensor = proto.graph.initializer[2]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    tensor.ClearField("raw_data")
    (folder / "weights.bin").write_bytes(b"0" * 10_000)
    return describe(folder, "m", proto, FINE, 2), ["external data"]


def cut_at_a_fixed_size(folder):
    """Images that are tried are smaller."""
    net = Network(4)
    x = net.add("Slice", "image", *(net.constant(values) for values in ([0, 0], [200, 200], [2, 3])))
    return describe(folder, "m", net.proto(net.resize(x, 2, mode="nearest")), FINE, 2), ["200 pixels"]


def nearly_whole_factor(folder):
    """So small a drift shows in large images only."""
    net = Network(4)
    return describe(folder, "m", net.proto(net.resize("image", 2.001, mode="nearest")), FINE, 2), [
        "factor 2.001"
    ]


def in_training(folder):
    net = Network(4)
    x = net.add("BatchNormalization", "image", *[net.constant(np.ones(4, np.float32))] * 4, training_mode=1)
    net.nodes[-1].output.extend(["mean", "variance"])
    return describe(folder, "m", net.proto(net.resize(x, 2, mode="nearest")), FINE, 2), ["training mode"]


def fixed_inside(folder):
    net = Network(4)
    x = net.add("Reshape", "image", net.constant([1, 4, 64, 64]))
    return describe(folder, "m", net.proto(net.resize(x, 2, mode="nearest")), FINE, 2), ["m.onnx", "64"]


def one_image_at_a_time(folder):
    net = Network(4)
    shape = net.add("Slice", net.add("Shape", "image"), net.constant([2]), net.constant([4]))
    x = net.add("Reshape", "image", net.add("Concat", net.constant([1, 4]), shape, axis=0))
    return describe(folder, "m", net.proto(net.resize(x, 2, mode="nearest")), FINE, 2), ["dynamic axes"]


def border_lost(folder):
    net = Network(4)
    x = net.resize(net.conv("image", 4, 4), 2, mode="nearest")
    return describe(folder, "m", net.proto(x), FINE, 2), ["no border lost"]


def cells_of_four(folder):
    """It fits the sizes that are tried; tiles start at every second pixel."""
    net = Network(4)
    x = net.resize(net.conv("image", 4, 4, 4, strides=[4, 4], pads=[0, 0, 2, 2]), 8, mode="nearest")
    x = net.add("Slice", x, *(net.constant([value] * 2) for value in (0, -4)), net.constant([2, 3]))
    return describe(folder, "m", net.proto(x), FINE, 2), ["cells of 4 x 4"]


def looks_everywhere(folder):
    net = Network(4)
    x = net.add("Mul", "image", net.add("GlobalAveragePool", "image"))
    return describe(folder, "m", net.proto(net.resize(x, 2, mode="nearest")), FINE, 2), [
        "whole image",
        "GlobalAveragePool",
    ]


def own_operators(folder):
    proto = carn(4)
    proto.graph.node[0].domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return describe(folder, "m", proto, FINE, 2), ["com.example.Sub"]


def half_precision(folder):
    proto = carn(4)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    return describe(folder, "m", proto, FINE, 2), ["m.onnx"]


def into_its_own_folder(folder):
    return describe(folder, "m", carn(4), FINE, 2), ["would be read"], folder, "--overwrite"


def over_its_description(folder):
    path = describe(folder, "m", carn(4), FINE, 2)
    (folder / "m.onnx").rename(folder / "weights.onnx")
    as_json = folder / "m.json"
    as_json.write_text(path.read_text().replace("m.onnx", "weights.onnx"))
    return as_json, ["m.json is what would be read"], folder, "--overwrite"


def over_another(folder):
    path = describe(folder, "m", carn(4), FINE, 2)
    (folder / "m").mkdir()
    (folder / "m/m.json").write_text("mine")
    return path, ["m.json", "--overwrite"], folder / "m"


def into_a_file(folder):
    (folder / "file").write_text("mine")
    return describe(folder, "m", carn(4), FINE, 2), ["file", "can't be written"], folder / "file"


def layer_of_an_odd_factor(folder):
    return describe(folder, "m", carn(4, 3), FINE, 3), ["even factors"], folder / "ours", "--consistency"


@pytest.mark.parametrize(
    "mistake",
    [
        no_such_file,
        no_yaml,
        no_mapping,
        that_holds_itself,
        a_tag_that_runs_code,
        missing_keys,
        unknown_band,
        band_twice,
        half_a_factor,
        odd_factor_of_20_m_bands,
        no_network_beside,
        other_factor,
        other_channels,
        undeclared_channels,
        garbage,
        lethal,
        external_data,
        cut_at_a_fixed_size,
        nearly_whole_factor,
        in_training,
        fixed_inside,
        one_image_at_a_time,
        border_lost,
        cells_of_four,
        looks_everywhere,
        own_operators,
        half_precision,
        into_its_own_folder,
        over_its_description,
        over_another,
        into_a_file,
        layer_of_an_odd_factor,
    ],
    ids=lambda mistake: mistake.__name__,
)
def test_a_mistake_gets_one_line_and_status_2(mistake, tmp_path):
    source, said, *more = mistake(tmp_path)
    output, options = more[0] if more else tmp_path / "ours", more[1:]
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    result = CliRunner().invoke(main, ["adopt", str(source), "-o", str(output), *options])
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_overwriting_is_asked_for(tmp_path):
    path = describe(tmp_path, "m", carn(4), FINE, 2)
    first = adopt(path, tmp_path / "ours").card
    describe(tmp_path, "m", bicubic(4), FINE, 2)
    second = adopt(path, tmp_path / "ours", overwrite=True).card
    assert first.sha256 != second.sha256
    second.open(provider="cpu", threads=1)


def test_a_graph_that_lies_is_found_out(tmp_path, monkeypatch):
    """The proof does not trust the margin that was computed."""
    import openeo_superres.adopt as module  # noqa: PLC0415

    true = module.receptive_field
    monkeypatch.setattr(module, "receptive_field", lambda model: true(model)._replace(reach=2))
    path = describe(tmp_path, "m", carn(4), FINE, 2)
    with pytest.raises(ModelError, match="what lies beyond changes a pixel"):
        adopt(path, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("package", ["onnx", "yaml"])
def test_a_missing_package_is_named_with_the_extra(tmp_path, monkeypatch, capfd, package):
    for name in [*sys.modules]:
        if name == package or name in {"openeo_superres.adopt", "openeo_superres.contract"}:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(sys, "argv", ["openeo-superres", "adopt", "m.yaml", "-o", str(tmp_path)])
    monkeypatch.setattr(__main__, "_silence_libraries", lambda: None)
    monkeypatch.setattr(__main__.signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        __main__.run()
    assert ended.value.code == 2
    assert capfd.readouterr().err == (
        f"Error: The command line needs {package}, which comes with the extra 'cli': "
        "pip install 'openeo-superres[cli]'.\n"
    )


# ---- networks as torch exports them


@pytest.fixture
def training(one_torch_thread):
    """The training code's modules, by name."""
    del one_torch_thread
    pytest.importorskip("torch", reason="the train extra is not installed: make train-setup")
    names = ("export", "networks", "layers")
    return {name: importlib.import_module(f"training.{name}") for name in names}


@pytest.mark.training
@pytest.mark.parametrize("name", ["cubic_mtf", "edsr_2x4", "edsr20_2x4", "carn_2x3x4g4", "esrgan_2x4x2"])
def test_reach_of_our_own_networks(training, tmp_path, name):
    """What is computed from the exported graph, and what the code says of itself, agree."""
    model = training["networks"].build(name).eval()
    training["export"].to_onnx(model, name, tmp_path / "m.onnx")
    said = model.margin - ALIGNMENT - FILL_RADIUS
    field = receptive_field(onnx.load(tmp_path / "m.onnx"))
    assert said <= field.reach <= said + 2
    assert (field.scale, field.period) == (2, 2)


@pytest.mark.training
@pytest.mark.parametrize("opset", [12, 17])
def test_carn_with_reflect_padding(training, tmp_path, cube, opset):
    """The public network's structure: CARN on ten bands at 10 m, which the tool has upsampled before."""
    import torch  # noqa: PLC0415

    torch.manual_seed(0)
    network = training["networks"].build("carn_1x3x4g4sw").network
    network.ten_metres = torch.nn.Identity()
    network.exit.reset_parameters()
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.padding_mode = "reflect"
            layer._reversed_padding_repeated_twice = [n for n in reversed(layer.padding) for _ in range(2)]

    class Public(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, x):
            skip = torch.nn.functional.interpolate(x, scale_factor=2, mode="bicubic")
            return skip + 100 * self.network((x - 1500) / 900)

    module = Public().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.rand(1, 10, 32, 48),),
            tmp_path / "carn.onnx",
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            dynamic_axes={"input": {0: "b", 2: "h", 3: "w"}},
        )
    path = describe(tmp_path, "carn", onnx.load(tmp_path / "carn.onnx"), BAND_NAMES, 2, margin=32)
    made = adopt(path, tmp_path / "ours")
    # entry, six convolutions in units, widening, half of the last, two cells of the upsampling
    assert 9 + 4 <= made.reach <= 9 + 4 + 1
    cut = part(cube)
    whole, tiled = (superresolve_local(cut, made.card, size=n, threads=1) for n in (512, 34))
    np.testing.assert_allclose(tiled, whole, rtol=2e-6, atol=0.01)
    crop = cube.to_numpy()[:, 100:160, 60:140]
    with torch.no_grad():
        expected = module(torch.from_numpy(as_public(crop, BAND_NAMES))[None]).numpy()
    output = made.card.open(provider="cpu", threads=1).run(crop[None])
    np.testing.assert_allclose(output, expected, atol=0.1)
