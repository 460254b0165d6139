"""What outputs have in common: that they appear whole, and what they say of their making."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .card import ModelCard

SOFTWARE = f"openeo-superres {version('openeo-superres')}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden file beside ``path`` to write: it takes the name if that goes well, else it is removed."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all, over an earlier one.

    Raises:
        OutputError: If it can't be written there.
    """
    try:
        with replacing(path) as part:
            part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} can't be written: {error.strerror or error}.") from error


def model_tags(card: ModelCard) -> dict[str, str]:
    """File-level tags of a raster that a model made, local or on a back-end."""
    return {"PROCESSING_SOFTWARE": SOFTWARE, "MODEL": card.name, "MODEL_SHA256": card.sha256}
