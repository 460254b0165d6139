"""Measure shipped models on the development scenes: the Wald protocols, by band, bicubic beside.

The figures are those of the exported ONNX, as users run it, not of the network in torch.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

from openeo_superres.card import ModelCard, load_card
from openeo_superres.evaluate import (
    Predict,
    WaldPair,
    WaldScores,
    bicubic,
    bicubic_scores,
    gain_db,
    wald_pair,
    wald_profiles,
    wald_scores,
    wald_truth,
)
from openeo_superres.evaluate.spectrum import Restoration, restoration
from openeo_superres.output import replacing
from openeo_superres.sensor import BAND_NAMES, BANDS_10M

from .cards import predictor
from .datasets import DEVELOPMENT, development_scene
from .memory import bytes_per_pixel
from .timing import chunk_runs, process_seconds, processor

PROTOCOLS: dict[str, dict[str, float | int | str]] = {
    "x2": {"factor": 2},
    "x2 no noise": {"factor": 2, "noise": 0.0},
    "x2 MTF^0.8": {"factor": 2, "exponent": 0.8},
    "x2 MTF^1.25": {"factor": 2, "exponent": 1.25},
    "x2 mild blur": {"factor": 2, "psf": "mild", "noise": 0.0},
    "x4": {"factor": 4},
}
"""Name -> arguments of :func:`openeo_superres.evaluate.wald_pair`; noise is 8 DN where nothing is said."""
SPECTRAL = ("frr", "fro", "fru")
"""Measures of :class:`openeo_superres.evaluate.spectrum.Restoration` that go into tables and cards."""


def figures(scores: WaldScores, reference: WaldScores) -> dict[str, object]:
    """Scores as they go into tables and cards: DN, and dB over bicubic."""
    return {
        "rmse": dict(zip(BAND_NAMES, scores.rmse.round(2).tolist(), strict=True)),
        "rmse10": round(scores.mean_rmse(10), 2),
        "rmse20": round(scores.mean_rmse(20), 2),
        "gain10": round(gain_db(reference.mean_rmse(10), scores.mean_rmse(10)), 2),
        "gain20": round(gain_db(reference.mean_rmse(20), scores.mean_rmse(20)), 2),
        "consistency": round(float(np.mean(scores.consistency)), 2),
    }


def spectral_figures(restorations: list[Restoration]) -> dict[str, float]:
    """FRR, FRO and FRU in per cent, mean of the 10 m bands and, where they have a reference, the 20 m bands.

    Args:
        restorations: One per band that has a reference on the output's grid, in the order of the bands.
    """
    split = len(BANDS_10M)
    groups = {"10": restorations[:split], "20": restorations[split:]}
    return {
        # 0.0: there is no negative zero in tables
        f"{measure}{resolution}": round(float(np.mean([getattr(band, measure) for band in bands])), 3) + 0.0
        for resolution, bands in groups.items()
        if bands
        for measure in SPECTRAL
    }


def measure(pair: WaldPair, predictors: dict[str, Predict]) -> dict[str, dict[str, object]]:
    """Figures of bicubic and of each model on one pair."""
    reference = bicubic_scores(pair)
    truth, base = (wald_profiles(pair, image) for image in (wald_truth(pair), bicubic(pair.input)))
    table = {}
    for name, predict in {"bicubic": bicubic, **predictors}.items():
        output = predict(pair.input)
        scores = reference if name == "bicubic" else wald_scores(pair, output)
        bands = zip(wald_profiles(pair, output), truth, base, strict=True)
        spectral = spectral_figures([restoration(*profiles) for profiles in bands])
        table[name] = {**figures(scores, reference), **spectral}
    return table


def print_table(title: str, table: dict[str, dict[str, object]]) -> None:
    """RMSE by band in DN, means, gains, consistency, and the frequency-domain measures in per cent."""
    print(f"\n{title}: RMSE in DN (no proof of anything at 5 m, where there is no reference)")
    spectral = [key for key in next(iter(table.values())) if key[:-2] in SPECTRAL]
    columns = [*BAND_NAMES, "10 m", "dB", "20 m", "dB", "consist.", *(key.upper() for key in spectral)]
    width = max(len(name) for name in table)
    print(" " * width + "".join(f"{column:>9}" for column in columns))
    for name, row in table.items():
        cells = [*row["rmse"].values(), *(row[k] for k in ("rmse10", "gain10", "rmse20", "gain20"))]
        line = "".join(f"{cell:9.2f}" for cell in [*cells, row["consistency"]])
        print(f"{name:{width}}{line}" + "".join(f"{row[key]:9.3f}" for key in spectral))


def speed(card: ModelCard, size: int = 512, repeat: int = 7) -> dict[str, object]:
    """10 m pixels per second of process time on one core, for a chunk of ``size`` with its margin."""
    seconds = process_seconds(chunk_runs({card.name: card}, size), repeat)[card.name]
    return {
        "pixels_per_second": round(size**2 / seconds, -3),
        "cores": 1,
        "chunk": size,
        "processor": processor(),
        "onnxruntime": version("onnxruntime"),
    }


def write_figures(card: ModelCard, results: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
    """Put speed, memory and figures into a model's card, bicubic's beside; scenes not measured now stay."""
    path = card.path.with_suffix(".json")
    item = json.loads(path.read_text())
    item["properties"]["superres:speed"] = speed(card)
    item["properties"]["superres:memory"] = {"bytes_per_pixel": bytes_per_pixel(card)}
    item["properties"].setdefault("superres:figures", {}).update(
        {
            scene: {
                protocol: {name: table[name] for name in ("bicubic", card.name)}
                for protocol, table in protocols.items()
            }
            for scene, protocols in results.items()
        }
    )
    with replacing(path) as part:
        part.write_text(json.dumps(item, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.evaluate", description=__doc__)
    parser.add_argument("models", nargs="+", help="shipped models, or cards (.json)")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument("--scene", action="append", choices=DEVELOPMENT, help="default: every one")
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="default: every one")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--update-cards", action="store_true", help="put figures and speed into the cards of these models"
    )
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    chosen = arguments.scene or DEVELOPMENT
    try:
        asked = [load_card(name) for name in arguments.models]
        cards = {card.name: card for card in [load_card("cubic_mtf"), *asked]}
        predictors = {name: predictor(card) for name, card in cards.items()}
        scenes = {scene: development_scene(scene, arguments.data) for scene in chosen}
        if arguments.json:
            arguments.json.touch()
    except (ValueError, OSError) as error:
        parser.error(str(error))
    results: dict[str, dict[str, dict[str, dict[str, object]]]] = {}
    for scene, (x10, x20) in scenes.items():
        for protocol in arguments.protocol or PROTOCOLS:
            table = measure(wald_pair(x10, x20, **PROTOCOLS[protocol]), predictors)
            results.setdefault(scene, {})[protocol] = table
            print_table(f"{scene}, Wald {protocol}", table)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.update_cards:
        for card in asked:
            write_figures(card, results)


if __name__ == "__main__":
    main()
