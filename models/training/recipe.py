"""What decides the result of a training."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recipe:
    """What decides the result; stored in the checkpoint. To resume, all must agree but how it ends."""

    name: str
    steps: int
    batch: int = 16
    crop: int = 64
    rate: float = 2e-3
    warmup: int = 200
    final_rate: float = 0.02
    quarter: float = 1 / 3
    """Share of Wald x4 steps."""
    average: float = 0.999
    consistency: float = 0.1
    """Weight of the consistency error. The layer takes out what the sensor would see of the detail, all but a
    few percent, so the loss hardly feels it. Without this term it grew, and with it the consistency error of
    edsr_4x32 on T33UUB: from 0.8 DN after 2 000 steps to 3.9 DN after 26 000. A weight of 5 from the start
    held it at 0.3 DN, but cost 0.15 dB after 5 000 steps."""
    final_consistency: float = 2.0
    """The weight over the last ``settling`` of the steps, which brings the error down again. It has a price:
    in the last 900 steps of carn_3x3x64g4sw, 2.0 took the error from 1.9 DN to 0.6, and 0.15 dB from the gain
    on the 10 m bands."""
    settling: float = 0.15
    seed: int = 0
    schedule: str = "cosine"
    """Of the rate, after the warm-up: ``cosine`` falls until the last step, ``constant`` only over the last
    ``settling`` of the steps, linearly (Hägele et al., NeurIPS 2024). So a long training need not know its
    length: it starts with more steps than it will get, and ends when it is resumed with fewer."""
    precision: str = "float32"
    """Of the network's convolutions; weights, layer and average stay float32. On a processor with
    AVX512-BF16, a step of carn_3x3x64g4sw in ``bfloat16`` takes half the time."""

    sen2venus: float = 0.0
    """Share of the steps on patches of SEN2VENµS, with L_FR + L_Wald; the others are Wald steps as always."""

    def begins_like(self, other: Recipe) -> bool:
        """Whether a training by one can go on by the other: they differ at most in how they end."""
        ending = {"steps": self.steps, "final_consistency": self.final_consistency}
        return replace(other, **ending) == self

    @property
    def settles(self) -> float:
        """First step of the last part."""
        return (1 - self.settling) * self.steps


def rate_at(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then down to ``final_rate`` of the rate, as the recipe's schedule says."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    begin = recipe.warmup if recipe.schedule == "cosine" else max(recipe.warmup, recipe.settles)
    progress = min(1.0, max(0.0, (step - begin) / max(1, recipe.steps - begin)))
    falling = 0.5 * (1 + math.cos(math.pi * progress)) if recipe.schedule == "cosine" else 1 - progress
    return recipe.rate * (recipe.final_rate + (1 - recipe.final_rate) * falling)
