"""Mutants of ONNX models, and what becomes of them on the ways by which a user brings a model.

As a program it tries mutants and prints a line of JSON for each: ``python mutants.py FOLDER WAY FIRST STOP``.
Whoever runs it learns of a dead process by the line that is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from openeo_superres.adopt import adopt
from openeo_superres.card import load_card
from openeo_superres.errors import SuperresError
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS, superresolve_chunk

WAYS = ("card", "adopt")
"""A card beside the mutant that pins its hash, or a description from which a card is made."""
MARGIN = 8 + FILL_RADIUS + ALIGNMENT
NUMBERS = (0, 1, 2, 3, 5, 64, 65536, -1, -2, 2**31 - 1, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63))
OPERATORS = ("DepthToSpace", "SpaceToDepth", "Conv", "ConvTranspose", "Resize", "Slice", "Gather", "Concat")
OPERATORS += ("Reshape", "Transpose", "Expand", "Tile", "Pad", "MaxPool", "LSTM", "Loop", "Identity", "Nope")
PER_MUTANT = 30
"""Seconds until a mutant counts as one that never ends."""
MEMORY = 6 << 30
"""Bytes of addresses that a process may use."""


def network(way: str) -> onnx.ModelProto:
    """A small network: in the contract, or as others have it."""
    rng, count = np.random.default_rng(0), len(BAND_NAMES)

    def weights(name, *shape):
        return numpy_helper.from_array((rng.normal(0, 0.05, shape)).astype(np.float32), name)

    constants = [weights("w0", 8, count, 3, 3), weights("w1", 8, 8, 3, 3), weights("w2", 4 * count, 8, 3, 3)]
    constants.append(numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales"))
    constants.append(numpy_helper.from_array(np.arange(count), "all"))
    for name, value in (("zeros", 0), ("ends", 2**62), ("ones", 1)):
        constants.append(numpy_helper.from_array(np.full(2, value), name))
    constants.append(numpy_helper.from_array(np.array([2, 3]), "axes"))
    nodes = [
        helper.make_node("Gather", ["input", "all"], ["g"], axis=1),
        helper.make_node("Slice", ["g", "zeros", "ends", "axes", "ones"], ["s"]),
        helper.make_node("Conv", ["s", "w0"], ["a"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("LeakyRelu", ["a"], ["b"], alpha=0.2),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1] * 4, strides=[1, 1]),
        helper.make_node("Concat", ["b", "c"], ["cc"], axis=1),
        helper.make_node("Split", ["cc"], ["d", "e"], axis=1),
        helper.make_node("Add", ["d", "e"], ["f"]),
        helper.make_node("Conv", ["f", "w2"], ["h"], pads=[1] * 4, group=1),
        helper.make_node("DepthToSpace", ["h"], ["i"], blocksize=2, mode="CRD"),
        helper.make_node("Resize", ["s", "", "scales"], ["r"], mode="cubic", cubic_coeff_a=-0.5),
        helper.make_node("Add", ["i", "r"], ["output"]),
    ]
    sizes = {"input": ["y", "x"], "output": ["fine_y", "fine_x"]}
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count, *size])
        for name, size in sizes.items()
    ]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    if way == "card":
        facts = {"name": "mutant", "scale": "2", "margin": str(MARGIN), "bands": ",".join(BAND_NAMES)}
        helper.set_model_props(model, facts | {"fill": ",".join(["1000"] * count)})
    return model


# ---- mutants


def mutant(way: str, number: int) -> bytes:
    """The mutant of that number, always the same: of bytes if it is even, else of structure."""
    rng = np.random.default_rng(number)
    model = network(way)
    if number % 2 == 0:
        return _mutate_bytes(model.SerializeToString(), rng)
    for _ in range(rng.integers(1, 3)):
        CHANGES[rng.integers(len(CHANGES))](model, rng)
    return model.SerializeToString()


def _mutate_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        # weights are most of a file, the graph is its beginning
        at = int(rng.integers(min(len(changed), 1200) if rng.random() < 0.7 else len(changed)))
        size = int(rng.integers(1, 64))
        kind = rng.integers(5)
        if kind < 2:
            changed[at] = rng.integers(256)
        elif kind == 2:
            del changed[at : at + size]
        elif kind == 3:
            changed[at:at] = changed[at : at + size]
        else:
            del changed[at:]
        if not changed:
            break
    return bytes(changed)


def _pick(values, rng):
    return values[int(rng.integers(len(values)))] if len(values) else None


def _attribute(model, rng):
    nodes = [node for node in model.graph.node if node.attribute]
    if (node := _pick(nodes, rng)) is None:
        return
    attribute = _pick(node.attribute, rng)
    number = int(_pick(NUMBERS, rng))
    kind = rng.integers(5)
    if kind == 0:
        node.attribute.remove(attribute)
    elif attribute.type == onnx.AttributeProto.INTS and len(attribute.ints):
        attribute.ints[int(rng.integers(len(attribute.ints)))] = number
        if kind == 1:
            attribute.ints.extend([number] * 3)
    elif attribute.type == onnx.AttributeProto.STRING:
        attribute.s = _pick((b"", b"nearest", b"\xff\xfe", b"DCR", b"x" * 500), rng)
    elif attribute.type == onnx.AttributeProto.FLOAT:
        attribute.f = float(_pick((0.0, np.nan, np.inf, -1e38), rng))
    else:
        attribute.i = number


def _blocks(model, rng):
    for node in model.graph.node:
        if node.op_type == "DepthToSpace":
            for attribute in node.attribute:
                if attribute.name == "blocksize":
                    attribute.i = int(_pick(NUMBERS, rng))


def _operator(model, rng):
    if node := _pick(model.graph.node, rng):
        node.op_type = _pick(OPERATORS, rng)


def _inputs(model, rng):
    if not (node := _pick(model.graph.node, rng)):
        return
    names = [name for other in model.graph.node for name in other.output]
    names += [tensor.name for tensor in model.graph.initializer] + ["input", "", "nowhere"]
    kind = rng.integers(4)
    if kind == 0 and node.input:
        del node.input[int(rng.integers(len(node.input)))]
    elif kind == 1:
        node.input.append(_pick(names, rng))
    elif kind == 2 and node.output:
        node.output[0] = _pick(names, rng)
    elif node.input:
        node.input[int(rng.integers(len(node.input)))] = _pick(names, rng)


def _nodes(model, rng):
    if not (node := _pick(model.graph.node, rng)):
        return
    if rng.random() < 0.5:
        model.graph.node.remove(node)
    else:
        model.graph.node.add().CopyFrom(node)


def _tensor(model, rng):
    if not (tensor := _pick(model.graph.initializer, rng)):
        return
    kind = rng.integers(6)
    if kind == 0 and tensor.dims:
        tensor.dims[int(rng.integers(len(tensor.dims)))] = int(_pick(NUMBERS, rng))
    elif kind == 1:
        tensor.data_type = int(rng.integers(0, 30))
    elif kind == 2:
        tensor.raw_data = tensor.raw_data[: int(rng.integers(len(tensor.raw_data) + 1))]
    elif kind == 3:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=_pick(("/etc/passwd", "../x", "x.bin"), rng))
    elif kind == 4 and tensor.data_type == TensorProto.INT64:
        values = numpy_helper.to_array(tensor).copy()
        values[int(rng.integers(values.size))] = int(_pick(NUMBERS, rng))
        tensor.raw_data = values.tobytes()
    elif tensor.data_type == TensorProto.FLOAT:
        values = numpy_helper.to_array(tensor).copy()
        values.flat[int(rng.integers(values.size))] = float(_pick((0, -3, 1e9, np.nan, np.inf), rng))
        tensor.raw_data = values.tobytes()


def _ends(model, rng):
    end = _pick((model.graph.input, model.graph.output), rng)
    if not len(end):
        return
    kind = rng.integers(5)
    if kind == 0:
        del end[:]
    elif kind == 1:
        end.add().CopyFrom(_pick((*model.graph.input, *model.graph.output), rng))
    elif kind == 2:
        end[0].type.tensor_type.elem_type = int(rng.integers(0, 25))
    elif kind == 3:
        end[0].name = _pick(("nowhere", "output", "input", "f", ""), rng)
    elif dims := end[0].type.tensor_type.shape.dim:
        dims[int(rng.integers(len(dims)))].dim_value = int(_pick(NUMBERS, rng))


def _versions(model, rng):
    kind = rng.integers(3)
    if kind == 0:
        model.ir_version = int(_pick(NUMBERS, rng))
    elif kind == 1 and model.opset_import:
        model.opset_import[0].version = int(_pick(NUMBERS, rng)) % 2**62
    elif model.opset_import:
        model.opset_import[0].domain = _pick(("", "ai.onnx", "ai.onnx.ml", "nobody"), rng)


def _facts(model, rng):
    if not (fact := _pick(model.metadata_props, rng)):
        model.graph.name = ""
        return
    values = ("", "0", "-1", "4", "1e9", "nan", "B02", ",".join(reversed(BAND_NAMES)), "9" * 30, "\x00")
    if rng.random() < 0.2:
        model.metadata_props.remove(fact)
    else:
        fact.value = _pick(values, rng)


CHANGES = (_attribute, _attribute, _blocks, _operator, _inputs, _nodes, _tensor, _tensor, _ends, _versions)
CHANGES += (_facts,)


# ---- what becomes of them


def _card(folder: Path, content: bytes) -> Path:
    """A card that pins a mutant's own hash, for what the model was before."""
    (folder / "mutant.onnx").write_bytes(content)
    item = {
        "id": "mutant",
        "properties": {
            "superres:scale": 2,
            "superres:margin": MARGIN,
            "mlm:total_parameters": 0,
            "mlm:input": [{"bands": [{"name": band} for band in BAND_NAMES]}],
        },
        "assets": {
            "model": {
                "href": "./mutant.onnx",
                "file:checksum": "1220" + hashlib.sha256(content).hexdigest(),
            }
        },
    }
    (folder / "mutant.json").write_text(json.dumps(item))
    return folder / "mutant.json"


def attempt(way: str, content: bytes, folder: Path) -> str:
    """Bring a model and run it: "refused", "right" (in shape and nodata), "wrong", or what escapes."""
    image = np.random.default_rng(1).uniform(1, 5000, (10, 12, 14)).astype(np.float32)
    image[:, 3, 4] = np.nan
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if way == "card":
                card = load_card(_card(folder, content))
            else:
                (folder / "theirs.onnx").write_bytes(content)
                lines = ["model: theirs.onnx", f"bands: [{', '.join(BAND_NAMES)}]", "factor: 2", "margin: 8"]
                (folder / "theirs.yaml").write_text("\n".join(lines))
                card = adopt(folder / "theirs.yaml", folder / "adopted", overwrite=True).card
            result = superresolve_chunk(image, card.open("cpu", threads=1))
    except SuperresError:
        return "refused"
    except Exception as error:  # noqa: BLE001  (what a user would see)
        return f"escaped: {type(error).__name__}: {error}"
    holes = np.isnan(image).repeat(2, axis=1).repeat(2, axis=2)
    right = result.shape == (10, 24, 28) and result.dtype == np.float32
    if not right:
        return f"wrong: {result.dtype} {result.shape}"
    return "right" if np.array_equal(np.isnan(result), holes) else "wrong: other nodata"


def main() -> None:
    """Try some mutants, a line for each."""
    folder, way, first, stop = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere:  # what libraries print
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(first, stop):
        signal.alarm(PER_MUTANT)
        lines.write(json.dumps([number, attempt(way, mutant(way, number), folder)]) + "\n")


def outcomes(folder: Path, way: str, first: int, stop: int) -> dict[int, str]:
    """What became of each mutant, tried in processes that are replaced when they die."""
    found: dict[int, str] = {}
    at = first
    while at < stop:
        command = [sys.executable, __file__, folder, way, at, stop]
        done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=False)
        found |= dict(map(json.loads, done.stdout.splitlines()))
        at = max(found, default=first - 1) + 1 if done.stdout else at
        if at < stop:
            found[at] = f"died: {done.returncode}"
            at += 1
    return found


if __name__ == "__main__":
    main()
