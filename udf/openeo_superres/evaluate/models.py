"""Models to compare, each under a label of its own, and how they run over a whole image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from openeo_superres.card import ModelCard, load_card
from openeo_superres.errors import SuperresError
from openeo_superres.sensor import BAND_NAMES
from openeo_superres.stream import chunk_size
from openeo_superres.udf import superresolve_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .baseline import Image, Predict

BASELINE = "cubic_mtf"
"""The model without learning, which is compared with always."""
RESERVED = ("bicubic", "truth")
"""Labels of what is no model."""
SCALE = 2
"""Of the models that can be compared."""


def labelled(models: Sequence[str]) -> dict[str, ModelCard]:
    """Cards by label: what stands before the first "=", else the model's name. ``cubic_mtf`` is always first.

    A "=" behind a slash, or in the name of a file that is there, belongs to the path.

    Raises:
        SuperresError: If two models have one label, or a model is not for the ten bands at 5 m.
        UnknownModelError: If there is no such model.
        ModelError: If a file is no card.
    """
    cards = {BASELINE: load_card(BASELINE)}
    for model in models:
        label, sign, path = model.partition("=")
        if not sign or "/" in label or Path(model).is_file():
            label, path = "", model
        card = load_card(path)
        label = label or card.name
        if label in RESERVED or cards.get(label, card) != card:
            raise SuperresError(f"Two models would be called {label}: give this one a label, LABEL={path}.")
        if card.scale != SCALE or {*card.bands} != {*BAND_NAMES}:
            raise SuperresError(
                f"{label} has scale {card.scale} and bands {', '.join(card.bands)}; only models of scale "
                f"{SCALE} for the ten bands {', '.join(BAND_NAMES)} can be compared."
            )
        cards[label] = card
    return cards


def predictor(card: ModelCard, provider: str = "cpu", threads: int | None = None) -> Predict:
    """Run a model over a whole image, chunk by chunk where it is large.

    Args:
        card: Of a model for the ten bands, in any order.
        provider: "auto", "cpu" or "cuda".
        threads: Of the network; None for every core.

    Raises:
        SuperresError: If the model can't be opened.
    """
    model = card.open(provider, threads)
    order = [BAND_NAMES.index(band) for band in card.bands]
    size, margin, scale = chunk_size(model, card, threads), card.margin, card.scale

    def predict(image: Image) -> Image:
        _, height, width = image.shape
        around = ((0, 0), (margin, margin), (margin, margin))
        padded = np.pad(image[order], around, constant_values=np.nan)
        result = np.empty((len(order), scale * height, scale * width), np.float32)
        for row in range(0, height, size):
            for col in range(0, width, size):
                chunk = padded[:, row : row + size + 2 * margin, col : col + size + 2 * margin]
                phase = ((margin - row) % 2, (margin - col) % 2)
                part = superresolve_chunk(chunk, model, phase=phase, overlap=margin)
                target = result[:, scale * row :, scale * col :][:, : part.shape[1], : part.shape[2]]
                target[order] = part
        return result

    return predict
