"""What outputs have in common: that they appear whole, and what they say of their making."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING

from .errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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


def check_target(
    target: Path,
    inputs: Iterable[Path],
    *,
    overwrite: bool,
    cure: str = "choose another name, or allow overwriting (--overwrite)",
) -> None:
    """Refuse a file that could not be written, or must not be, before any work.

    Args:
        target: In a folder that exists.
        inputs: What is read, and never overwritten; what isn't there by such a name is left out.
        overwrite: Whether an existing file may be replaced.
        cure: What to do where it exists.

    Raises:
        OutputError: If it is such a file.
    """
    if target.is_dir():
        raise OutputError(f"{target} is a folder; expected the name of a file.")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise OutputError(f"The folder {target.parent} can't be written: permission denied.")
    # what is in a zip or at an address is no file by that name
    if target.exists() and any(path.exists() and target.samefile(path) for path in inputs):
        raise OutputError(f"{target} is what would be read; choose another name for the result.")
    # a link that leads nowhere is there, too
    if os.path.lexists(target) and not overwrite:
        raise OutputError(f"{target} exists; {cure}.")


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
