"""Memory: how large chunks may be on this machine, or on its GPU, and what GDAL may keep of blocks."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from rasterio._env import get_gdal_config, set_gdal_config

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP, LARGEST = 128, 2048
"""Sizes of chunks are multiples of the first, and at most the second, in 10 m pixels: beyond, a margin of 49
is less than a tenth of what is computed, and the results in memory are what is dear."""
SHARE = 0.5
"""Of the memory that chunks may take: the rest is for what is read and written, and for others."""
PATIENCE = 10
"""Longest wait for nvidia-smi in s."""
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Of a container, in bytes, where it has one."""


def of_gpu() -> int | None:
    """Free bytes of the first visible GPU, which onnxruntime takes; None where nvidia-smi can't tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    command = ["nvidia-smi", f"--id={visible}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)  # noqa: S603
        return int(said.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def of_host() -> int | None:
    """Bytes of this machine or container, in use or not: so that one machine always takes the same chunks.

    None where the system can't tell.
    """
    known = []
    with suppress(ValueError, OSError, AttributeError):
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with suppress(ValueError, OSError):  # "max" is no number
            known.append(int(path.read_text(encoding="ascii")))
    return min(known, default=None)


def largest_chunk(memory: int, *, margin: int, bytes_per_pixel: float, chunks: int) -> int:
    """Edge of the largest chunks that fit.

    Args:
        memory: Bytes of the device.
        margin: Of the model, in 10 m pixels.
        bytes_per_pixel: That the network takes per 10 m pixel it computes.
        chunks: That are computed at once.

    Returns:
        Edge in 10 m pixels without overlap, a multiple of ``STEP``, at least one.
    """
    pixels = SHARE * memory / bytes_per_pixel / chunks
    edge = int(pixels**0.5) - 2 * margin
    return min(max(edge // STEP, 1) * STEP, LARGEST)


@contextmanager
def gdal_cache(size: int) -> Iterator[None]:
    """Let GDAL's block cache, which a process has one of, take some bytes for a while."""
    before = get_gdal_config("GDAL_CACHEMAX")
    try:
        with rasterio.Env(GDAL_CACHEMAX=size):  # type: ignore[no-untyped-call]
            yield
    finally:
        # inside of another, an environment leaves GDAL's size as it was last
        set_gdal_config("GDAL_CACHEMAX", before)
