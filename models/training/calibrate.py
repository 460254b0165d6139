"""Calibrate how far a model's results may be off, band by band, and measure what the intervals cover.

Development scenes are degraded and super-resolved (Wald protocol), 10 m bands by 2 and compared at 10 m, 20 m
bands by 4 and compared at 20 m, where they have a truth on the output's grid. Their patches are split by
chance: on some the scale of the error is fitted, on others the interval calibrated, on the rest it is tested.
No such figure proves anything at 5 m, where there is no reference.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from openeo_superres.card import ModelCard, load_card
from openeo_superres.evaluate import NOISE
from openeo_superres.output import write_text

from .cards import predictor
from .coverage import AREAS, LEVEL, MAIN, Report
from .patches import FACTORS, Split, areas, measure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openeo_superres.evaluate import Image

MAIN_ALONE: dict[str, dict[str, float]] = {MAIN: {}}
METHOD = (
    "split conformal over patches (conformal risk control); half-width = floor + contrast * (range of the "
    "input over 3 x 3 pixels of its grid) + detail * |output - input|"
)


def report(
    card: ModelCard,
    scenes: Mapping[str, tuple[Image, Image]],
    protocols: Mapping[str, Mapping[str, float]] = MAIN_ALONE,
) -> Report:
    """Errors of a model, ready to be calibrated and measured.

    Args:
        card: Of the model.
        scenes: Development scenes at native resolutions.
        protocols: Name -> arguments of :func:`openeo_superres.evaluate.wald_pair`; without any, the sensor's
            own blur and 8 DN of noise.
    """
    predict = predictor(card, threads=1)
    measured: dict[str, dict[str, dict[str, Split]]] = {}
    for protocol, degradation in protocols.items():
        measured[protocol] = {}
        for name, scene in scenes.items():
            bands = measure(scene, predict, **degradation)
            for area, there in areas(name, bands, scene[0].shape[2]).items():
                # the same patches in every protocol: those that are tested on must not be calibrated on
                split = {band: Split.by_chance(patches) for band, patches in there.items()}
                measured[protocol][area] = split
    return Report(measured)


def write_card(card: ModelCard, found: Report) -> None:
    """Put the calibration into a model's card."""
    path = card.path.with_suffix(".json")
    item = json.loads(path.read_text(encoding="utf-8"))
    item["properties"]["superres:trust"] = {
        "level": LEVEL,
        "method": METHOD,
        "bands": found.entries,
        "calibration": {
            "command": f"python -m training.calibrate {card.name}",
            "protocol": {str(resolution): f"Wald x{factor}" for resolution, factor in FACTORS.items()},
            "noise": NOISE,
            "patches": found.patches(),
        },
        "coverage": {area: found.coverage(found.shipped, area) for area in AREAS},
    }
    write_text(path, json.dumps(item, indent=2) + "\n")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m training.calibrate", description=__doc__)
    parser.add_argument("models", nargs="+", help="shipped models, or cards (.json)")
    parser.add_argument("--data", type=Path, default=os.environ.get("SUPERRES_DATA"), help="data folder")
    parser.add_argument("--update-cards", action="store_true", help="put the calibrations into the cards")
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error("say where the data folder is: --data, or environment variable SUPERRES_DATA")
    # torch comes with it
    from .datasets import DEVELOPMENT, development_scene  # noqa: PLC0415

    try:
        cards = [load_card(name) for name in arguments.models]
        scenes = {name: development_scene(name, arguments.data) for name in DEVELOPMENT}
    except (ValueError, OSError) as error:
        parser.error(str(error))
    for card in cards:
        found = report(card, scenes)
        for area in AREAS:
            shares = found.coverage(found.shipped, area).items()
            said = " ".join(f"{name} {share:.1%}" for name, share in shares)
            print(f"{card.name}, {area}: intervals of {LEVEL:.0%} cover {said}", flush=True)
        if arguments.update_cards:
            write_card(card, found)


if __name__ == "__main__":
    main()
