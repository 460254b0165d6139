"""What fine-tuning against a discriminator gains, and what it costs: a network before and after.

Measured on real scenes by what knows the truth (Wald protocols x2 and x4, with noise of 8 DN), and by what
looks at amplitudes, edges and statistics alone, there and at 5 m. No Wald figure proves anything at 5 m,
where there is no reference; nor does a figure that needs none.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openeo_superres.card import load_card
from openeo_superres.evaluate import bicubic, consistency, wald_pair, wald_truth
from openeo_superres.evaluate.edges import find_edges, rise
from openeo_superres.evaluate.judges import available, judge_native, judge_wald
from openeo_superres.evaluate.models import predictor
from openeo_superres.evaluate.protocols import PROTOCOLS
from openeo_superres.evaluate.protocols import measure as measure_wald

from . import publish, scenes, spectra
from .finetuning_chart import plot
from .finetuning_table import CHOSEN, FINE, report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from openeo_superres.evaluate import Image, Predict

Facts = dict[str, Any]

NAME = "finetuning"
PAGE = "finetuning.md"
BASE = "edsr_4x32"
SPECTRA = ("B04", "B07", "B8A", "B12")
"""Bands whose spectra are kept."""


def measure(x10: Image, x20: Image, predictors: Mapping[str, Predict], judges: Sequence[str]) -> Facts:
    """Measure models on a scene.

    Args:
        x10: ``(4, y, x)`` float32 DN.
        x20: ``(6, y / 2, x / 2)`` float32 DN.
        predictors: By label; bicubic and the truth stand beside.
        judges: Which of :data:`openeo_superres.evaluate.judges.JUDGES` to ask.

    Returns:
        Per protocol, and at 5 m ("native"), figures by label; ``spectra`` of some bands, see
        :mod:`studies.spectra`.
    """
    facts: Facts = {}
    for protocol in CHOSEN:
        pair = wald_pair(x10, x20, **PROTOCOLS[protocol])
        outputs = {label: predict(pair.input) for label, predict in predictors.items()}
        table = measure_wald(pair, {label: _given(output) for label, output in outputs.items()})
        facts[protocol] = {**table, "truth": {}}
        truth = wald_truth(pair)
        images = {"bicubic": bicubic(pair.input), **outputs, "truth": truth}
        for label, rises in _rises(images, truth).items():
            facts[protocol][label] |= rises
        for resolution, rows in FINE.items():
            if "opensr" in judges and len(truth) > rows[-1]:
                for label, figures in judge_wald(pair, outputs, resolution).items():
                    facts[protocol][label].setdefault("opensr", {})[str(resolution)] = figures
    image = np.concatenate([x10, x20.repeat(2, axis=1).repeat(2, axis=2)])
    outputs = {label: predict(image) for label, predict in {"bicubic": bicubic, **predictors}.items()}
    facts["native"] = {
        label: {"consistency": _mean(consistency(outputs[label], image)), **rises}
        for label, rises in _rises(outputs, x10).items()
    }
    if "brisque" in judges:
        for label, figures in judge_native(outputs, image).items():
            facts["native"][label]["brisque"] = figures
    found = spectra.measure(x10, x20, predictors)
    facts["spectra"] = {"per_km": found["per_km"], **{band: found["spectra"][band] for band in SPECTRA}}
    return facts


def _given(output: Image) -> Predict:
    return lambda _: output


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return round(float(np.mean(values)), 3)


def _rises(images: Mapping[str, Image], reference: Image) -> dict[str, dict[str, float]]:
    """Mean rise of edges by label, in its pixels: of the bands of each resolution that a reference has."""
    edges = [find_edges(band) for band in reference]
    groups = {key: rows for key, rows in FINE.items() if rows[-1] < len(edges)}
    found = {}
    for label, image in images.items():
        scale = image.shape[1] // reference.shape[1]
        found[label] = {
            f"rise{key}": _mean([rise(image[i], edges[i], scale) for i in rows])
            for key, rows in groups.items()
        }
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m studies.finetuning", description=__doc__)
    parser.add_argument("tuned", help="card (.json) of the fine-tuned network")
    parser.add_argument("--base", default=BASE, help=f"what it was before: model or card (default: {BASE})")
    parser.add_argument(
        "--scene",
        action="append",
        help=f"{' and '.join(scenes.DEVELOPMENT)} (default), sample, or a product on disk; may be repeated",
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder (SUPERRES_DATA)"
    )
    publish.add_arguments(parser)
    arguments = parser.parse_args()
    try:
        publish.check(arguments)
        cards = {card.name: card for card in map(load_card, (arguments.base, arguments.tuned))}
        if len(cards) < 2:
            parser.error(f"both models are called {next(iter(cards))}: give the one before, and one after")
        predictors = {label: predictor(card) for label, card in cards.items()}
        chosen = arguments.scene or list(scenes.DEVELOPMENT)
        images = {scene: scenes.native(scene, arguments.data) for scene in chosen}
        judges = available()
        facts = {
            **publish.heading(cards),
            "judges": judges,
            "scenes": {scene: measure(*pair, predictors, judges) for scene, pair in images.items()},
        }
        text = report(facts)
        print(text)
        publish.deliver(arguments, NAME, page=PAGE, facts=facts, figure=plot(facts), text=text)
    except (ValueError, OSError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
