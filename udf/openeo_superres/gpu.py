"""Chunks as large as a GPU can take: fewer of them compute less overlap, and keep it busier."""

from __future__ import annotations

import os
import subprocess

STEP, LARGEST = 256, 2048
"""Sizes of chunks are multiples of the first, and at most the second, in 10 m pixels: beyond, a margin of 49
is less than a tenth of what is computed, and the results in memory are what is dear."""
SHARE = 0.5
"""Of the free memory that chunks may take: the convolutions' workspace is chosen by the driver."""
PATIENCE = 10
"""Longest wait for nvidia-smi in s."""


def free_memory() -> int | None:
    """Free bytes of the first visible GPU, which onnxruntime takes; None where nvidia-smi can't tell."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    command = ["nvidia-smi", f"--id={visible}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)  # noqa: S603
        return int(said.stdout.split()[0]) << 20
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def chunk_size(free: int, *, margin: int, bytes_per_pixel: float, chunks: int) -> int:
    """Edge of the largest chunks that fit.

    Args:
        free: Bytes of the device.
        margin: Of the model, in 10 m pixels.
        bytes_per_pixel: That the network takes per 10 m pixel it computes, as on the CPU.
        chunks: That are computed at once.

    Returns:
        Edge in 10 m pixels without overlap, a multiple of ``STEP``, at least one.
    """
    pixels = SHARE * free / bytes_per_pixel / chunks
    edge = int(pixels**0.5) - 2 * margin
    return min(max(edge // STEP, 1) * STEP, LARGEST)
