"""Models to compare: shipped ones and experiments, each under a label of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openeo_superres.card import ModelCard, load_card
from openeo_superres.udf import superresolve_chunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from openeo_superres.evaluate import Image, Predict

HELP = "shipped models or cards (.json); LABEL=CARD gives one a label of its own"


def labelled(models: Sequence[str]) -> dict[str, ModelCard]:
    """Cards by label: what stands before "=", else the model's name. ``cubic_mtf`` comes first, always.

    Raises:
        ValueError: If two models have one label.
        UnknownModelError: If there is no such model.
        ModelError: If a file is no card.
    """
    cards = {"cubic_mtf": load_card("cubic_mtf")}
    for model in models:
        label, _, path = model.rpartition("=")
        card = load_card(path)
        label = label or card.name
        if label == "bicubic" or cards.get(label, card) != card:
            raise ValueError(f"Two models would be called {label}: give this one a label, LABEL={path}.")
        cards[label] = card
    return cards


def predictor(card: ModelCard) -> Predict:
    """Run a model over a whole image."""
    model = card.open(provider="cpu")

    def predict(image: Image) -> Image:
        return superresolve_chunk(image, model)

    return predict
