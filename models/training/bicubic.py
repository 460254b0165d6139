"""Bicubic upsampling of the ten bands as an ONNX model, to be timed as every other model is."""

from __future__ import annotations

import numpy as np
from onnx import helper

from openeo_superres.card import model_facts
from openeo_superres.contract import Nodes
from openeo_superres.sensor import BAND_NAMES, BANDS_10M, cubic_taps
from openeo_superres.udf import ALIGNMENT, FILL_RADIUS

MARGIN = 4 + FILL_RADIUS + ALIGNMENT
"""In 10 m pixels: two taps on the 20 m grid, and what every model's has."""


def bicubic_onnx() -> bytes:
    """The model's file; beyond the edge of its input there is zero.

    The same operators as in the networks: convolutions with the phases as output channels, then a shuffle;
    ONNX ``Resize`` gives the same pixels, much slower.
    """
    split, count = len(BANDS_10M), len(BAND_NAMES)
    groups = {2: list(range(split)), 4: list(range(split, count))}
    graph, parts = Nodes(), []
    for factor, indices in groups.items():
        image = graph.channels("input", indices)
        image = image if factor == 2 else graph.decimated(image)
        taps = np.repeat(cubic_taps(factor)[None], len(indices), axis=0)
        parts.append((graph.filtered(image, taps), indices))
    model = graph.model(graph.joined(parts), count)
    facts = model_facts(name="bicubic", scale=2, margin=MARGIN, bands=BAND_NAMES, licence="Apache-2.0")
    helper.set_model_props(model, facts)
    return model.SerializeToString(deterministic=True)
