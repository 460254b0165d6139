"""Public EVOLAND models as models of this package: from YAML and ONNX to ONNX and card.

The YAML description says ``model`` (the file beside it), ``bands`` (in the order of the channels), ``factor``
(of the pixels) and ``margin`` (in pixels of the output). These networks take and give DN, all bands at 10 m
if one of them is a 10 m band (20 m bands are upsampled by GDAL's cubic then), else all at 20 m.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import yaml

from .bandfile import band_name
from .card import ModelCard, load_card, model_facts, model_item
from .contract import check_axes, loosen, opset_of, read_network, wrap
from .errors import ModelError, OutputError
from .output import replacing
from .receptive import receptive_field
from .sensor import BAND_NAMES
from .udf import ALIGNMENT, FILL_RADIUS, PIXEL, _import_onnxruntime, coarse_indices, load_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEYS = ("model", "bands", "margin", "factor")
LARGEST = 1 << 20
"""Bytes of a description; real ones have some hundreds."""
UNKNOWN_LICENCE = "unknown: see its source"
TOLERANCE = 0.1
"""What rounding may change in a pixel, in DN, when it is computed in another way."""
SURROUNDINGS = 8
"""How far beyond the margin the image reaches that proves it, in 10 m pixels."""


@dataclass(frozen=True, slots=True)
class Description:
    """What the YAML file of a public model says."""

    path: Path
    model: Path
    """Of the ONNX file."""
    bands: tuple[str, ...]
    factor: int
    """Of the network's own pixels."""
    margin: float
    """In pixels of the output."""
    facts: dict[str, Any]
    """All of it, as it stands there."""

    @property
    def pixel(self) -> int:
        """What the network takes, in 10 m pixels: 1, or 2 if it has 20 m bands alone."""
        return 2 if len(coarse_indices(self.bands)) == len(self.bands) else 1

    @property
    def scale(self) -> int:
        """Of the result, relative to 10 m."""
        return self.factor // self.pixel


@dataclass(frozen=True, slots=True)
class Adopted:
    """A model in our contract, and what was found of it."""

    card: ModelCard
    reach: int
    """What the network and the consistency layer depend on, one-sided, in 10 m pixels."""
    published: float
    """The margin of its description, in 10 m pixels."""


class _NoAliases(yaml.SafeLoader):  # type: ignore[misc]
    """Of aliases, a few lines can make a document that fits no memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias; else as it is."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases (*name), which no description needs")
        return super().compose_node(parent, index)


def _text(path: Path) -> str:
    """What a description says; reading a pipe may never end."""
    if path.exists() and (not path.is_file() or path.stat().st_size > LARGEST):
        raise OSError(f"expected a file of at most {LARGEST >> 20} MiB")
    return path.read_text(encoding="utf-8")


def read_description(path: Path) -> Description:
    """Read the YAML file of a public model.

    Raises:
        ModelError: If it can't be read, lacks a key, or has a value that can't be used.
    """
    try:
        loaded = yaml.load(_text(path), _NoAliases)  # noqa: S506  (a SafeLoader)
        # YAML has dates and bytes, and lists that hold themselves; the card is JSON
        facts = json.loads(json.dumps(loaded, default=str, skipkeys=True), parse_constant=str)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ModelError(f"{path} can't be read as the YAML description of a model: {error}") from error
    if not isinstance(facts, dict) or (missing := [key for key in KEYS if key not in facts]):
        lacks = "" if not isinstance(facts, dict) else f"; it lacks {', '.join(missing)}"
        raise ModelError(f"{path} is no description of a model: expected {', '.join(KEYS)}{lacks}.")
    model, listed, margin, factor = (facts[key] for key in KEYS)
    if not isinstance(model, str) or not isinstance(listed, list) or not listed:
        raise ModelError(
            f"{path} has model {model!r} and bands {listed!r}; expected a file and a list of names."
        )
    bands = tuple(band_name(str(band)) or str(band) for band in listed)
    if unknown := [band for band in bands if band not in BAND_NAMES]:
        raise ModelError(f"{path} has unknown bands {', '.join(unknown)}; known are {', '.join(BAND_NAMES)}.")
    if len({*bands}) < len(bands):
        raise ModelError(f"{path} has a band twice: {', '.join(bands)}.")
    if not isinstance(margin, int | float) or not 0 <= margin < 10_000:
        raise ModelError(f"{path} has margin {margin!r}; expected a number of pixels.")
    if not isinstance(factor, int | float) or factor not in range(2, 17):
        raise ModelError(f"{path} has factor {factor!r}; expected a whole number, mostly 2 or 4.")
    description = Description(path, path.parent / model, bands, int(factor), float(margin), facts)
    if description.factor % description.pixel:
        raise ModelError(
            f"{path} has factor {factor:g} for 20 m bands alone; expected an even one: results have pixels "
            "of 10 m, or of a whole part of it."
        )
    if not description.model.is_file():
        raise ModelError(f"{path} names {model}, but {description.model} is not there; put it beside.")
    return description


def adopt(
    source: str | Path,
    folder: str | Path,
    *,
    consistency: bool = False,
    licence: str | None = None,
    overwrite: bool = False,
) -> Adopted:
    """Wrap a public EVOLAND model into the contract of this package, with a card.

    The margin is computed from the graph, and proved on an image before anything is written.

    Args:
        source: The YAML description, with its ONNX file beside it.
        folder: Where ``<name>.onnx`` and ``<name>.json`` go; made if it is not there. The name is the
            description's, with ``_consistent`` after it if the layer is added.
        consistency: Whether the layer is added that makes the result give the input back when the sensor sees
            it again. Without it, pixels are those that the model's authors published.
        licence: SPDX identifier of the weights' licence, where it is known.
        overwrite: Whether files of an earlier run may be replaced.

    Returns:
        The card, and what was found.

    Raises:
        ModelError: If the description or the network can't be used, or no margin is safe for it.
        OutputError: If the files can't be written there.
    """
    description = read_description(Path(source))
    name = description.path.stem + ("_consistent" if consistency else "")
    paths = [Path(folder) / f"{name}{suffix}" for suffix in (".onnx", ".json")]
    _check_targets(paths, description, overwrite=overwrite)
    try:
        original = description.model.read_bytes()
        network = read_network(original)
        check_axes(network, description.bands)
        _check_conversion(original, network, len(description.bands))
        model = wrap(network, description.bands, scale=description.scale, consistency=consistency)
        reach = _reach(model, description)
        facts = model_facts(
            name=name,
            scale=description.scale,
            margin=reach + ALIGNMENT + FILL_RADIUS,
            bands=description.bands,
            licence=licence or UNKNOWN_LICENCE,
        )
        onnx.helper.set_model_props(model, facts)
        model.doc_string = f"{description.path.stem}, adopted by openeo-superres"
        onnx.checker.check_model(model, full_check=True)
        content = model.SerializeToString(deterministic=True)
        _prove(content, reach)
    except ModelError as error:
        raise ModelError(f"{description.model} can't be adopted. {error}") from error
    except OSError as error:
        raise ModelError(f"{description.model} can't be read: {error.strerror}.") from error
    item = model_item(
        content,
        f"{name}.onnx",
        facts,
        parameters=_parameters(network),
        licence=licence or "other",
        training=_provenance(description, original, consistency=consistency, licence=licence),
    )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for path, written in zip(paths, (content, (json.dumps(item, indent=2) + "\n").encode()), strict=True):
            with replacing(path) as part:
                part.write_bytes(written)
    except OSError as error:
        raise OutputError(f"The model can't be written to {folder}: {error.strerror}.") from error
    return Adopted(load_card(paths[1]), reach, description.margin / description.scale)


def _check_targets(paths: list[Path], description: Description, *, overwrite: bool) -> None:
    for path in paths:
        if path.exists() and any(path.samefile(source) for source in (description.model, description.path)):
            raise OutputError(f"{path} is what would be read; choose another folder.")
        if path.exists() and not overwrite:
            raise OutputError(f"{path} is there already: give --overwrite to replace it, or another folder.")


def _reach(model: onnx.ModelProto, description: Description) -> int:
    """What a pixel depends on in the wrapped graph, one-sided, in 10 m pixels."""
    field = receptive_field(model)
    if field.scale != description.scale:
        raise ModelError(
            f"Its pixels are {field.scale * description.pixel} times finer, but the description says factor "
            f"{description.factor}."
        )
    if 2 % field.period:
        raise ModelError(
            f"It works on cells of {field.period} x {field.period} pixels of 10 m, but tiles start at every "
            "second one: they would not equal the whole."
        )
    return field.reach


def _parameters(network: onnx.ModelProto) -> int:
    """Numbers stored as weights."""
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    return sum(int(np.prod(t.dims)) for t in network.graph.initializer if t.data_type in floats)


def _provenance(
    description: Description, original: bytes, *, consistency: bool, licence: str | None
) -> dict[str, Any]:
    """Where the weights come from, for the card."""
    files = {description.path: description.path.read_bytes(), description.model: original}
    return {
        "method": "adopted",
        "sources": {path.name: hashlib.sha256(content).hexdigest() for path, content in files.items()},
        "description": description.facts,
        "published_margin": description.margin / description.scale,
        "consistency": consistency,
        "license": licence or UNKNOWN_LICENCE,
    }


# ---- what is tried before anything is written


def _noise(bands: int, edge: int) -> NDArray[np.float32]:
    """An image of cells of 2 x 2 equal pixels, ``(1, bands, edge, edge)``, as 20 m bands need it."""
    cells = np.random.default_rng(0).uniform(0, 6000, (1, bands, edge // 2, edge // 2)).astype(np.float32)
    return cells.repeat(2, axis=2).repeat(2, axis=3)


def _check_conversion(original: bytes, network: onnx.ModelProto, bands: int) -> None:
    """Refuse a network that gives other pixels after it was brought to our opset."""
    before = loosen(onnx.load_from_string(original))
    if opset_of(before) == opset_of(network):
        return
    image = _noise(bands, 64)
    runtime = _import_onnxruntime()
    try:
        outputs = []
        for model in (before, network):
            session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
            outputs.append(session.run(None, {session.get_inputs()[0].name: image})[0])
    except Exception as error:  # onnxruntime's own exceptions share no base class of their own
        raise ModelError(f"It can't be run: {error}") from error
    difference = float(np.abs(outputs[0] - outputs[1]).max())
    if not difference <= TOLERANCE:
        raise ModelError(f"Brought to another opset, it gives pixels that differ by {difference:.3f} DN.")


def _prove(content: bytes, reach: int) -> None:
    """Cut an image down to the reach around a cell: the cell must stay the same.

    Raises:
        ModelError: If it does not.
    """
    model = load_model(content, hashlib.sha256(content).hexdigest(), provider="cpu")
    kept = reach + reach % 2
    image = _noise(len(model.bands), 2 * (kept + SURROUNDINGS) + 2)
    cut = slice(SURROUNDINGS, -SURROUNDINGS)
    cells = []
    for part, start in ((image, kept + SURROUNDINGS), (image[:, :, cut, cut], kept)):
        core = slice(model.scale * start, model.scale * (start + 2))
        cells.append(model.run(np.ascontiguousarray(part))[:, :, core, core])
    difference = float(np.abs(cells[0] - cells[1]).max())
    if not difference <= TOLERANCE:
        raise ModelError(
            f"A margin of {reach} pixels was computed for it, but what lies beyond changes a pixel by "
            f"{difference:.3f} DN (at most {TOLERANCE} is accepted)."
        )


def summary(adopted: Adopted) -> str:
    """One paragraph for people: bands, scale, margins, and how to run it."""
    card, verdict = adopted.card, ""
    if adopted.published < adopted.reach and not card.consistent:
        verdict = ", too little: cut so, tiles can show seams"
    path = shlex.quote(str(card.path.with_suffix(".json")))
    run = f"openeo-superres run SOURCE OUTPUT.tif --model {path}"
    return (
        f"{card.name}: {', '.join(card.bands)} to {PIXEL / card.scale:g} m, {card.parameters:,} parameters. "
        f"Its graph reaches {adopted.reach} pixels of 10 m (its description says {adopted.published:g}"
        f"{verdict}); with {ALIGNMENT + FILL_RADIUS} for nodata and 20 m cells, the margin is {card.margin}. "
        f"Run it: {run}"
    )
