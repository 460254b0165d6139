"""Write a trained network as ONNX with its card, and prove that both give the same pixels."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors import SafetensorError

from openeo_superres.card import model_facts, model_item
from openeo_superres.evaluate import Image, wald_pair
from openeo_superres.output import replacing
from openeo_superres.sensor import BAND_NAMES, BANDS, REFLECTANCE_SCALE
from openeo_superres.udf import load_model

from .checkpoint import read_checkpoint, read_state
from .layers import SCALE
from .networks import SuperResolver, build

OPSET = 17
IR_VERSION = 8
PRETRAINING = "Wald pairs x2 and x4 of real Sentinel-2 images, L1 through the layer"
LICENCE = "Apache-2.0"
PARITY = 0.1
"""Largest difference between torch and ONNX that is let pass, in DN."""


def load_average(name: str, checkpoint: Path | None) -> SuperResolver:
    """Build a network with the averaged weights of a checkpoint, rounded to float16 as they are stored.

    Args:
        name: Of the network.
        checkpoint: Written by ``training.train``; None for a network that learns nothing.

    Raises:
        ValueError: If the checkpoint is of another network, or missing where there is something to learn.
    """
    model = build(name).eval()
    if checkpoint is not None:
        weights = read_checkpoint(checkpoint)[0].get("average", {})
        learnt = learnt_names(model)
        try:
            model.load_state_dict({k: v.half().float() if k in learnt else v for k, v in weights.items()})
        except RuntimeError as error:
            raise ValueError(f"{checkpoint} does not hold the weights of {name}: {error}") from error
    elif model.parameter_count:
        raise ValueError(f"{name} has {model.parameter_count} parameters to learn: give --checkpoint.")
    return model


def learnt_names(model: SuperResolver) -> set[str]:
    """Names of the parameters that training changes."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def to_onnx(model: SuperResolver, name: str, path: Path) -> None:
    """Export to opset 17, IR 8: float16 storage of what was learnt, float32 everywhere else."""
    sample = torch.rand(1, len(BANDS), 32, 48) * REFLECTANCE_SCALE
    with warnings.catch_warnings():
        # torch announces its other exporter, which writes a newer opset than back-ends read
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (sample,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "n", 2: "y", 3: "x"}, "output": {0: "n", 2: "fine_y", 3: "fine_x"}},
        )
    proto = onnx.load(path)
    _store_float16(proto.graph, learnt_names(model))
    helper.set_model_props(proto, facts_of(model, name))
    proto.ir_version = IR_VERSION
    proto.doc_string = f"openeo-superres {name}: Sentinel-2, ten bands, to 5 m"
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _store_float16(graph: onnx.GraphProto, learnt: set[str]) -> None:
    """Replace learnt initializers by float16 ones and a cast; the session folds it when it opens."""
    casts = []
    for tensor in graph.initializer:
        if tensor.name not in learnt:
            continue
        name = tensor.name
        half = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}.float16")
        tensor.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
        learnt = learnt - {name}
    if learnt:
        raise ValueError(f"The exporter renamed these weights: {sorted(learnt)}.")
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def provenance(checkpoint: Path) -> dict[str, object]:
    """How weights came to be, for their card: method, recipe, steps done, sources and their weights.

    Of a fine-tuned network also the same of its ``base``, and how this checkpoint was chosen (``choice``).
    """
    state = read_state(checkpoint)
    keys = ("method", "recipe", "step", "sources", "sen2venus", "choice", "base")
    return {"method": PRETRAINING, **{key: state[key] for key in keys if key in state}}


def parity(model: SuperResolver, path: Path, image: Image) -> float:
    """Largest absolute difference in DN between torch and ONNX over ``image`` ``(10, y, x)``."""
    content = path.read_bytes()
    exported = load_model(content, hashlib.sha256(content).hexdigest(), provider="cpu")
    with torch.no_grad():
        expected = model(torch.from_numpy(image)[None]).numpy()
    return float(np.abs(exported.run(image[None]) - expected).max())


def facts_of(model: SuperResolver, name: str) -> dict[str, str]:
    """Metadata of the ONNX file of a model."""
    return model_facts(name=name, scale=SCALE, margin=model.margin, bands=BAND_NAMES, licence=LICENCE)


def card(model: SuperResolver, name: str, path: Path, training: dict[str, object]) -> dict[str, object]:
    """The model's card: see :func:`openeo_superres.card.model_item`."""
    facts = facts_of(model, name)
    return model_item(
        path.read_bytes(), path.name, facts, parameters=model.parameter_count, training=training
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.export", description=__doc__)
    parser.add_argument("name", help="network, such as edsr_4x32 or cubic_mtf")
    parser.add_argument("--checkpoint", type=Path, help="written by training.train (none for cubic_mtf)")
    parser.add_argument("--output", type=Path, default=Path(), help="where .onnx and .json go")
    parser.add_argument("--as", dest="model", metavar="MODEL", help="name of the model, such as NAME_gan")
    arguments = parser.parse_args()
    name = arguments.model or arguments.name
    if not re.fullmatch(rf"{re.escape(arguments.name)}(_\w+)?", name, re.ASCII):
        parser.error(f"--as: a model of {arguments.name} is called so, or {arguments.name}_..., not {name}")
    try:
        model = load_average(arguments.name, arguments.checkpoint)
        arguments.output.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError, SafetensorError) as error:
        parser.error(" ".join(str(error).split()))
    training: dict[str, object] = {"method": "none: bicubic upsampling and the consistency layer"}
    if arguments.checkpoint is not None:
        training = provenance(arguments.checkpoint)
    part = arguments.output / f".{name}.onnx.part"
    to_onnx(model, name, part)
    rng = np.random.default_rng(0)
    noise = [rng.uniform(0, 6000, (bands, n, n)).astype(np.float32) for bands, n in ((4, 256), (6, 128))]
    difference = parity(model, part, wald_pair(*noise).input)
    if not difference <= PARITY:
        part.unlink()
        raise SystemExit(f"torch and ONNX differ by {difference:.3f} DN (at most {PARITY} is accepted).")
    path = arguments.output / f"{name}.onnx"
    part.replace(path)
    text = json.dumps(card(model, name, path, training), indent=2)
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(text + "\n", encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes, margin {model.margin}, parity {difference:.4f} DN")


if __name__ == "__main__":
    main()
