"""The moving average of a network's parameters: what is measured, kept and exported of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn


def follow(average: nn.Module, model: nn.Module, step: int, decay: float) -> None:
    """Move an average towards a model after its ``step``-th step; at first it forgets faster."""
    share = 1 - min(decay, step / (step + 10))
    with torch.no_grad():
        for mean, parameter in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(parameter, share)
