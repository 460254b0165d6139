"""Facts of a model, from its card: parsed once, and the weights' hash checked before they are used."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import ModelError, UnknownModelError
from .sensor import REFLECTANCE_SCALE, bands_named
from .trust import Trust
from .udf import ALIGNMENT, FILL_RADIUS, PIXEL, Model, coarse_indices, load_model

Kind = TypeVar("Kind")

DEFAULT_MODEL = "edsr_4x32"
SHA256_MULTIHASH = "1220"
"""Prefix of a SHA-256 in the STAC file extension's ``file:checksum``."""
LARGEST = 2 << 30
"""Bytes of an ONNX file; protobuf reads no more."""
LARGEST_CARD = 16 << 20
"""Bytes of a card; real ones have some KiB."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What a caller needs to know of a model before running it."""

    name: str
    path: Path
    """Of the ONNX file."""
    sha256: str
    """Of that file, in hexadecimal."""
    scale: int
    """How many times finer the output's pixels are."""
    margin: int
    """Everything that a pixel's value depends on, one-sided, in 10 m pixels."""
    bands: tuple[str, ...]
    """Names of the bands, in the order of input and output."""
    parameters: int
    """Learnt parameters."""
    figures: dict[str, Any] = field(hash=False)
    """Measured figures by protocol, empty where none were measured."""
    consistent: bool = True
    """Whether the output gives the input back when the sensor sees it again."""
    speed: float | None = None
    """10 m pixels per second on one core of the machine that it was measured on."""
    memory: int | None = None
    """Bytes that running it takes for each 10 m pixel computed, margins included; None if not measured."""
    trust: Trust | None = None
    """How far its results may be off; None if that was not calibrated."""

    @property
    def coarse(self) -> list[int]:
        """Indices of the 20 m bands."""
        return coarse_indices(self.bands)

    def read_weights(self) -> bytes:
        """The ONNX file's bytes, unchecked: :func:`openeo_superres.udf.load_model` checks the hash.

        Raises:
            ModelError: If the file can't be read.
        """
        try:
            # neither a pipe, which may never end, nor what fits no memory
            if not self.path.is_file() or self.path.stat().st_size > LARGEST:
                raise ModelError(
                    f"The weights of model {self.name} can't be read: expected a file of at most 2 GiB at "
                    f"{self.path}."
                )
            return self.path.read_bytes()
        except OSError as error:
            raise ModelError(f"The weights of model {self.name} can't be read: {error}") from error

    def open(self, provider: str = "auto", threads: int | None = None) -> Model:
        """The model, ready to run; opened once per process.

        Args:
            provider: "auto", "cpu" or "cuda".
            threads: Of the session; None for every core.

        Raises:
            ModelError: If the weights can't be read, or say something else than the card.
            SuperresError: If their hash is not the card's, or onnxruntime can't open them.
        """
        model = load_model(self.read_weights(), self.sha256, provider=provider, threads=threads)
        for fact in ("scale", "margin", "bands"):
            ours, theirs = getattr(self, fact), getattr(model, fact)
            if ours != theirs:
                raise ModelError(f"The card of {self.name} says {fact} {ours}, its weights say {theirs}.")
        if self.path.parent != _folder() and self.sha256 not in _PROBED:
            _probe(model)
            _PROBED.add(self.sha256)
        return model


_PROBED: set[str] = set()
"""Hashes of models that users brought and that were tried."""


def _probe(model: Model) -> None:
    """Try a model on the smallest image that it may be given.

    Raises:
        ModelError: If what it gives has another shape than it says, or is no number.
    """
    edge = 2 * (model.margin - FILL_RADIUS - ALIGNMENT) + 2
    cells = np.random.default_rng(0).uniform(1, 6000, (1, len(model.bands), edge // 2, edge // 2))
    result = model.run(cells.astype(np.float32).repeat(2, axis=2).repeat(2, axis=3))
    expected = (1, len(model.bands), model.scale * edge, model.scale * edge)
    if result.shape != expected or result.dtype != np.float32 or not np.isfinite(result).all():
        raise ModelError(
            f"Model {model.name} was tried and gave {result.dtype} numbers of shape {result.shape}, "
            f"{np.count_nonzero(~np.isfinite(result))} of them not finite; expected finite numbers, float32, "
            f"of shape {expected}."
        )


def _folder() -> Path:
    return Path(str(resources.files("openeo_superres.models")))


def list_models() -> list[str]:
    """Names of the shipped models, sorted."""
    return sorted(path.stem for path in _folder().glob("*.json"))


def load_card(name_or_path: str | Path | ModelCard) -> ModelCard:
    """Read a model's card.

    Args:
        name_or_path: Name of a shipped model, or the path of a card (``.json``) with its ONNX file beside it;
            a card is given back as it is.

    Raises:
        UnknownModelError: If there is neither.
        ModelError: If the file is no card.
    """
    if isinstance(name_or_path, ModelCard):
        return name_or_path
    given = Path(name_or_path)
    path = given.absolute() if given.suffix == ".json" else _folder() / f"{name_or_path}.json"
    # os.path: Path.is_file raises for names that are too long
    if not os.path.isfile(path) or (given.suffix != ".json" and given.name != str(name_or_path)):  # noqa: PTH113
        raise UnknownModelError(
            f"Unknown model {str(name_or_path)!r}. Available: {', '.join(list_models())}, "
            "or the path of a card (.json) with its .onnx beside it."
        )
    stat = path.stat()
    if stat.st_size > LARGEST_CARD:
        raise ModelError(f"{path} is no model card: it has more than {LARGEST_CARD >> 20} MiB.")
    return _parse(path, (stat.st_mtime_ns, stat.st_size))


def _typed(kind: type[Kind], value: Any) -> Kind:
    """Take a value that must be of a kind."""
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


@lru_cache(maxsize=64)
def _parse(path: Path, _version: tuple[int, int]) -> ModelCard:
    """Parse a card once per version of its file."""
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
        properties, asset = item["properties"], item["assets"]["model"]
        checksum = str(asset["file:checksum"])
        bands = tuple(_typed(str, band["name"]) for band in properties["mlm:input"][0]["bands"])
        trust = _typed(dict, properties.get("superres:trust", {}))
        card = ModelCard(
            name=_typed(str, item["id"]),
            path=path.parent / _typed(str, asset["href"]),
            sha256=checksum.removeprefix(SHA256_MULTIHASH),
            scale=_typed(int, properties["superres:scale"]),
            margin=_typed(int, properties["superres:margin"]),
            bands=bands,
            parameters=_typed(int, properties["mlm:total_parameters"]),
            figures=_typed(dict, properties.get("superres:figures", {})),
            consistent=_typed(
                bool, _typed(dict, properties.get("superres:training", {})).get("consistency", True)
            ),
            speed=_typed(dict, properties.get("superres:speed", {})).get("pixels_per_second"),
            memory=_typed(dict, properties.get("superres:memory", {})).get("bytes_per_pixel"),
            trust=Trust.parse(trust, bands) if trust else None,
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is no model card: {type(error).__name__} {error}.") from error
    if not checksum.startswith(SHA256_MULTIHASH):
        raise ModelError(f"{path}: expected a SHA-256 multihash (1220...), got {checksum!r}.")
    return card


# ---- how a model is described: in its ONNX file, and by a card


def model_facts(
    *, name: str, scale: int, margin: int, bands: tuple[str, ...], licence: str
) -> dict[str, str]:
    """Metadata of an ONNX file, without which :func:`openeo_superres.udf.load_model` does not open it."""
    return {
        "name": name,
        "scale": str(scale),
        "margin": str(margin),
        "bands": ",".join(bands),
        "fill": ",".join(f"{band.mean * REFLECTANCE_SCALE:g}" for band in bands_named(bands)),
        "unit": "DN (reflectance x 10000)",
        "license": licence,
    }


def model_item(
    content: bytes,
    href: str,
    facts: dict[str, str],
    *,
    parameters: int,
    training: dict[str, Any],
    licence: str = "Apache-2.0",
) -> dict[str, Any]:
    """A model's card: a STAC item with the Machine Learning Model (MLM) and file extensions.

    Args:
        content: The ONNX file.
        href: Its name, relative to the card's folder.
        facts: Its metadata: see :func:`model_facts`.
        parameters: Learnt ones.
        training: How the weights came to be.
        licence: Its SPDX identifier, or "other".
    """
    names, scale = facts["bands"].split(","), int(facts["scale"])
    shape = {
        "shape": [-1, len(names), -1, -1],
        "dim_order": ["batch", "bands", "y", "x"],
        "data_type": "float32",
    }
    bands = [{"name": name} for name in names]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
        ],
        "id": facts["name"],
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": "2015-06-23T00:00:00Z",
            "end_datetime": "2100-01-01T00:00:00Z",
            "license": licence,
            "mlm:name": facts["name"],
            "mlm:architecture": facts["name"].split("_", maxsplit=1)[0],
            "mlm:tasks": ["super-resolution"],
            "mlm:framework": "ONNX",
            "mlm:total_parameters": parameters,
            "mlm:input": [
                {
                    "name": "input",
                    "bands": bands,
                    "input": shape,
                    "description": "Harmonised DN on the 10 m grid, 20 m bands replicated 2 x 2, no nodata.",
                }
            ],
            "mlm:output": [
                {
                    "name": "output",
                    "tasks": ["super-resolution"],
                    "bands": bands,
                    "result": shape,
                    "description": f"Harmonised DN on the {PIXEL / scale:g} m grid.",
                }
            ],
            "superres:scale": scale,
            "superres:margin": int(facts["margin"]),
            "superres:fill": [float(value) for value in facts["fill"].split(",")],
            "superres:training": training,
        },
        "assets": {
            "model": {
                "href": f"./{href}",
                "type": "application/octet-stream; application=onnx",
                "roles": ["mlm:model"],
                "mlm:artifact_type": "onnx",
                "file:size": len(content),
                "file:checksum": SHA256_MULTIHASH + hashlib.sha256(content).hexdigest(),
            }
        },
        "links": [],
    }
