"""Where to train: on CUDA with mixed precision where torch has it, else on the processor."""

from __future__ import annotations

import torch

DEVICES = ("auto", "cpu", "cuda")


def choose(asked: str) -> torch.device:
    """The device that ``asked``, one of ``DEVICES``, means here.

    Raises:
        ValueError: If CUDA is asked for, and torch has none.
    """
    available = torch.cuda.is_available()
    if asked == "cuda" and not available:
        raise ValueError(
            f"CUDA was asked for, but torch {torch.__version__} finds none: use --device cpu, or install "
            "a torch that is built for CUDA and this machine's driver (https://pytorch.org)."
        )
    return torch.device("cuda" if available and asked != "cpu" else "cpu")


def precision_for(device: torch.device) -> str:
    """What the convolutions are computed in unless said otherwise: ``bfloat16`` where CUDA has it."""
    # unlike float16, its range is float32's: no scaling of the gradients
    return "bfloat16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "float32"
