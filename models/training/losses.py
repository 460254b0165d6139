"""What training minimises: L1 on standardised values, each band where its truth is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_superres.sensor import BANDS_10M, BANDS_20M

from . import degradation

if TYPE_CHECKING:
    from torch import Tensor

    from .networks import SuperResolver

BORDER = 6
"""Output pixels left out of the loss at a crop's edge: there the network sees zero padding."""


def loss_of(model: SuperResolver, pair: degradation.Pair, consistency: float = 0.0) -> Tensor:
    """L1 on standardised values: 10 m bands on the output's grid, 20 m bands where their truth is.

    ``mean_b mean |y_b - t_b| / std_b`` over the bands b that have a truth: the L_FR of Michel and Kalinicheva
    (SURE-DOS 2024) for full-resolution pairs, their L_Wald for Wald pairs.

    Args:
        model: The network with its layer.
        pair: Input and targets.
        consistency: Weight of the L1 between the output seen by the sensor and the input.
    """
    output = model(pair.input)
    split = len(BANDS_10M)
    count = pair.target20.shape[1]
    coarse, border = output[:, split : split + count], BORDER
    if pair.coarse_factor == 2:
        coarse, border = degradation.degrade(coarse, BANDS_20M[:count], 2), BORDER // 2
    targets = pair.target10, pair.target20
    loss = _l1((output[:, :split], coarse), targets, (BORDER, border), model.std)
    if consistency:
        inputs = pair.input[:, :split], pair.input[:, split:, ::2, ::2]
        borders = BORDER // 2, BORDER // 2
        loss = loss + consistency * _l1(model.consistency.seen(output), inputs, borders, model.std)
    return loss


def pretraining_loss(
    model: SuperResolver, fine: degradation.Pair, wald: degradation.Pair, consistency: float = 0.0
) -> Tensor:
    """L_pretrain = L_FR + L_Wald of Michel and Kalinicheva (SURE-DOS 2024), each with its consistency error.

    L_FR knows no B11 and B12, which Venµs has not: L_Wald teaches them.
    """
    return loss_of(model, fine, consistency) + loss_of(model, wald, consistency)


def _l1(
    images: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], borders: tuple[int, int], std: Tensor
) -> Tensor:
    """Mean over the bands, each standardised, of images of the 10 m and 20 m bands without their borders."""
    counts = [target.shape[1] for target in targets]
    deviations = std[:, : sum(counts)].split(counts, dim=1)
    means = [
        ((image - target) / deviation)[..., border:-border, border:-border].abs().mean()
        for image, target, border, deviation in zip(images, targets, borders, deviations, strict=True)
    ]
    return (counts[0] * means[0] + counts[1] * means[1]) / sum(counts)
