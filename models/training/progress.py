"""What the log says of a network while it is trained: figures on images that it is not trained on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from openeo_superres.evaluate import WaldPair, WaldScores, bicubic_scores, gain_db, wald_pair, wald_scores
from openeo_superres.sensor import BANDS_10M

from . import degradation
from .datasets import complete, development_scene, stacked
from .discriminator import BORDER, HighPass

if TYPE_CHECKING:
    from pathlib import Path

    from .networks import SuperResolver
    from .sen2venus import Dataset

VALIDATION_PATCHES = 32
"""Patches of SEN2VENµS, spread over its validation sites, whose L_FR goes into the log."""


def validation_pair(sen2venus: Dataset, crop: int) -> degradation.Pair | None:
    """FR pairs of SEN2VENµS's validation sites, always the same; None where there are none without nodata.

    Raises:
        ValueError: If a patch cannot be read.
    """
    patches = sen2venus.split("validation")
    if not patches:
        return None
    chosen = np.linspace(0, len(patches) - 1, min(VALIDATION_PATCHES, len(patches))).astype(int)
    images = (patches[index].read() for index in chosen)
    crops = [(x05[:, : 2 * crop, : 2 * crop], x20[:, : crop // 2, : crop // 2]) for x05, _, x20 in images]
    valid = [crop for crop in crops if complete(crop)]
    return degradation.full_resolution_pair(*stacked(valid), np.random.default_rng(0)) if valid else None


def reference_pair(data: Path | None) -> tuple[WaldPair, WaldScores] | None:
    """The development scene of the log, degraded by 2, and bicubic's figures; None where it is not there."""
    if data is None:
        return None
    try:
        pair = wald_pair(*development_scene("T33UUB", data))
    except FileNotFoundError:
        return None
    return pair, bicubic_scores(pair)


def gains_over_bicubic(model: SuperResolver, pair: WaldPair, reference: WaldScores) -> dict[str, float]:
    """Gain over bicubic in dB of 10 m and 20 m bands, and the consistency error in DN."""
    with torch.no_grad():
        output = model(torch.from_numpy(pair.input)[None].to(model.std.device))[0].cpu().numpy()
    scores = wald_scores(pair, output)
    gains = {f"gain{r}": round(gain_db(reference.mean_rmse(r), scores.mean_rmse(r)), 3) for r in (10, 20)}
    return {**gains, "consistency": round(float(scores.consistency.mean()), 2)}


def sharpness(model: SuperResolver, pair: WaldPair) -> float:
    """Finest detail of a prediction's 10 m bands relative to the truth's: ratio of RMS through the filter."""
    with torch.no_grad():
        output = model(torch.from_numpy(pair.input)[None])
        split = len(BANDS_10M)
        truth = torch.cat([torch.from_numpy(pair.target10)[None], output[:, split:]], dim=1)
        inner = (slice(None), slice(split), slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        ours, theirs = (HighPass()(image)[inner].square().mean((2, 3)).sqrt() for image in (output, truth))
    return (ours / theirs).mean().item()


def write_line(log: Path, line: dict[str, Any]) -> None:
    """Add a line to the log, and print it."""
    text = json.dumps(line)
    with log.open("a") as file:
        file.write(text + "\n")
    print(text, flush=True)
