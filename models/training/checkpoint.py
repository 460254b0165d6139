"""Checkpoints: tensors by part and name, and beside them a state as JSON, in one safetensors file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from safetensors import safe_open
from safetensors.torch import save_file

from openeo_superres.output import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    State = dict[str, Any]
    Parts = Mapping[str, Mapping[str, Tensor]]


def write_checkpoint(path: Path, parts: Parts, state: State) -> None:
    """Write it beside, down to the disk, then rename: whatever happens, the one that is there is whole.

    Args:
        path: Of the file. What a killed process left beside it is removed.
        parts: By the part's name, "average" say, its tensors by theirs.
        state: What JSON can hold.
    """
    tensors = {
        f"{part}.{name}": tensor.cpu().contiguous()
        for part, content in parts.items()
        for name, tensor in content.items()
    }
    for leftover in path.parent.glob(f".{path.name}.*.part"):
        leftover.unlink()
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"state": json.dumps(state)})
        with beside.open("rb") as file:
            os.fsync(file.fileno())


def read_checkpoint(path: Path) -> tuple[dict[str, dict[str, Tensor]], State]:
    """Parts and state, as :func:`write_checkpoint` takes them.

    Raises:
        ValueError: If the file says no state.
        OSError, SafetensorError: If it can't be read.
    """
    parts: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = file.get_tensor(key)
    return parts, read_state(path)


def read_state(path: Path) -> State:
    """What a checkpoint says of itself. Raises as :func:`read_checkpoint`."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    if "state" not in metadata:
        raise ValueError(f"{path} is no checkpoint of a training: it doesn't say how it was made.")
    state: State = json.loads(metadata["state"])
    return state
