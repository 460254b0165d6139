"""Losses of the relativistic average GAN, from the logits C of real images r and super-resolved ones f.

A discriminator of this kind says how much more real an image is than the others are on average:
``D(a, b) = sigmoid(C(a) - E[C(b)])`` (Jolicoeur-Martineau, 2018, section 4.2; Wang et al., ESRGAN, 2018,
section 3.2). E is the mean over images and pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def _cross_entropy(logits: Tensor, label: float) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def discriminator_loss(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """``-E[log D(r, f)] - E[log(1 - D(f, r))]``: 2 log 2 where it can't tell them apart.

    Args:
        real: Logits C(r), of any shape.
        fake: Logits C(f).
        smoothing: Taken off the label 1 of real images, not added to the 0 of the others (one-sided;
            Salimans et al., 2016): a discriminator less sure of itself leaves more to learn from.
    """
    return _cross_entropy(real - fake.mean(), 1 - smoothing) + _cross_entropy(fake - real.mean(), 0)


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """``-E[log D(f, r)] - E[log(1 - D(r, f))]``: the discriminator's with the parts exchanged, not smoothed.

    Michel and Kalinicheva, SURE-DOS 2024, where the first term lacks its sign.
    """
    return discriminator_loss(fake, real)


def accuracy(real: Tensor, fake: Tensor) -> float:
    """Share of the pixels judged rightly: more real than the others' mean, or less; 0.5 is chance."""
    right = (real > fake.mean()).float().mean() + (fake < real.mean()).float().mean()
    return right.item() / 2
