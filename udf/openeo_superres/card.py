"""Facts of a model, from its card: parsed once, and the weights' hash checked before they are used."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from .errors import ModelError, UnknownModelError
from .udf import Model, coarse_indices, load_model

Kind = TypeVar("Kind")

DEFAULT_MODEL = "edsr_4x32"
SHA256_MULTIHASH = "1220"
"""Prefix of a SHA-256 in the STAC file extension's ``file:checksum``."""


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
    speed: float | None = None
    """10 m pixels per second on one core of the machine that it was measured on."""

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
        return model


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
        card = ModelCard(
            name=_typed(str, item["id"]),
            path=path.parent / _typed(str, asset["href"]),
            sha256=checksum.removeprefix(SHA256_MULTIHASH),
            scale=_typed(int, properties["superres:scale"]),
            margin=_typed(int, properties["superres:margin"]),
            bands=tuple(_typed(str, band["name"]) for band in properties["mlm:input"][0]["bands"]),
            parameters=_typed(int, properties["mlm:total_parameters"]),
            figures=_typed(dict, properties.get("superres:figures", {})),
            speed=_typed(dict, properties.get("superres:speed", {})).get("pixels_per_second"),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is no model card: {type(error).__name__} {error}.") from error
    if not checksum.startswith(SHA256_MULTIHASH):
        raise ModelError(f"{path}: expected a SHA-256 multihash (1220...), got {checksum!r}.")
    return card
