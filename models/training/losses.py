"""What training minimises: L1 on standardised values, each band where its truth is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_superres.sensor import BANDS, BANDS_10M, BANDS_20M

from . import degradation

if TYPE_CHECKING:
    from torch import Tensor

    from .networks import SuperResolver

BORDER = 6
"""Output pixels left out of the loss at a crop's edge: there the network sees zero padding."""


def loss_of(model: SuperResolver, pair: degradation.Pair, consistency: float = 0.0) -> Tensor:
    """L1 on standardised values: 10 m bands on the output's grid, 20 m bands where their truth is.

    Args:
        model: The network with its layer.
        pair: Input and targets.
        consistency: Weight of the L1 between the output seen by the sensor and the input.
    """
    output = model(pair.input)
    split = len(BANDS_10M)
    coarse, border = output[:, split:], BORDER
    if pair.coarse_factor == 2:
        coarse, border = degradation.degrade(coarse, BANDS_20M, 2), BORDER // 2
    targets = pair.target10, pair.target20
    loss = _l1((output[:, :split], coarse), targets, (BORDER, border), model.std)
    if consistency:
        inputs = pair.input[:, :split], pair.input[:, split:, ::2, ::2]
        borders = BORDER // 2, BORDER // 2
        loss = loss + consistency * _l1(model.consistency.seen(output), inputs, borders, model.std)
    return loss


def _l1(
    images: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor], borders: tuple[int, int], std: Tensor
) -> Tensor:
    """Mean over ten bands, each standardised, of images of the 10 m and 20 m bands without their borders."""
    parts = zip(images, targets, borders, std.split([len(BANDS_10M), len(BANDS_20M)], dim=1), strict=True)
    means = [
        ((image - target) / deviation)[..., border:-border, border:-border].abs().mean()
        for image, target, border, deviation in parts
    ]
    return (len(BANDS_10M) * means[0] + len(BANDS_20M) * means[1]) / len(BANDS)
